"""A backfill beside its live query on a real Kafka: the same outputs for the same events, and nothing of the live one is touched."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.command import Esp
from tests.runtime import streams
from tests.runtime.backfill.ranges import PARTITIONS, PARTS, Live, stamp_ms

pytestmark = pytest.mark.kafka


def test_sequences_scores_windows_and_dead_letters_of_a_range_come_out_as_they_did_live(scoring: Live, esp: Esp) -> None:
    before = [scoring.topics.committed("events", scoring.tag), *(scoring.ends(name) for name in scoring.names)]
    answer = esp(
        "run", scoring.query, "--from-offset", scoring.offsets(1), "--until", scoring.offsets(2), "--warm-up", "all",
        "--suffix", "-redo", "--create-topics", "--state", scoring.folder / "state", "--name", "redo",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert answer.out.startswith(f"{scoring.tag}-backfill-redo: 500 events in ")
    for name in ("scores", "tallies", "late"):
        assert scoring.redone(name, "-redo") == scoring.made(name, 1)
        assert sum(map(len, scoring.made(name, 1))) > 5
    renamed = [
        [(key, value, [(k, v.replace(b"-backfill-redo", b"")) for k, v in headers], stamp) for key, value, headers, stamp in part]
        for part in scoring.redone("dead", "-redo")
    ]
    assert renamed == scoring.made("dead", 1)
    assert before == [scoring.topics.committed("events", scoring.tag), *(scoring.ends(name) for name in scoring.names)]
    assert scoring.topics.committed("events", f"{scoring.tag}-backfill-redo") == dict(enumerate(scoring.marks[2]["events"]))


def test_windows_of_a_range_of_time_come_out_as_they_did_live_once_they_are_warm(tallying: Live, esp: Esp) -> None:
    first, last = PARTS[0], PARTS[0] + PARTS[1]
    answer = esp(
        "run", tallying.query, "--from-time", iso(first), "--until", iso(last), "--warm-up", "1100ms", "--suffix", "-time",
        "--create-topics",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert ": 500 events in " in answer.out
    for name in ("tallies", "late"):
        assert tallying.redone(name, "-time") == tallying.made(name, 1)
        assert sum(map(len, tallying.made(name, 1))) > 5


def iso(number: int) -> str:
    """The time of an event's record."""
    return datetime.fromtimestamp(stamp_ms(number) / 1000, UTC).isoformat()


def test_the_live_query_goes_on_undisturbed_while_its_past_is_scored_by_another_model(
    scoring: Live, esp: Esp, tmp_path: Path
) -> None:
    streams.model(tmp_path / "other.astore", seed=2)
    past, ends = list(scoring.events), ",".join(f"{number}={end}" for number, end in enumerate(scoring.ends("events")))
    sending = threading.Thread(target=scoring.send, args=(300, 9))
    sending.start()
    answer = esp(
        "run", scoring.query, "--until", ends, "--close-windows", "--model", f"scored={tmp_path / 'other.astore'}",
        "--suffix", "-other", "--create-topics",
    )  # fmt: skip
    sending.join()
    assert answer.status == 0, answer.err
    wanted = streams.expected(past, PARTITIONS, is_ended=True, seed=2)
    redone = ([record[1] for part in scoring.redone(name, "-other") for record in part] for name in ("scores", "tallies", "late"))
    streams.check(wanted, *redone, is_once=True)
    scoring.settle()
    scoring.check()
