"""A backfill beside its live query on a real Kafka: the same outputs for the same events, and nothing of the live one is touched."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.command import Esp, esp_in
from tests.conftest import Kafka
from tests.runtime import streams
from tests.runtime.backfill.ranges import TALLIES, Live, stamp_ms

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
PARTS = (400, 500, 300)


@pytest.fixture(scope="module")
def scoring(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Sequences, scores and windows over them."""
    live = Live(kafka.bootstrap, tmp_path_factory.mktemp("scoring"))
    live.query = streams.query_file(live.folder / "q", streams.kafka(live.tag, kafka.bootstrap), name=live.tag, checkpoint="50ms")
    with live.run(PARTS):
        yield live


@pytest.fixture(scope="module")
def tallying(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Windows of a second alone."""
    live = Live(kafka.bootstrap, tmp_path_factory.mktemp("tallying"), names=("events", "tallies", "late", "dead"))
    live.query = live.folder / "query.toml"
    live.query.write_text(TALLIES.format(name=live.tag, **streams.kafka(live.tag, kafka.bootstrap)))
    with live.run(PARTS):
        yield live


@pytest.fixture
def esp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Esp:
    return esp_in(tmp_path, monkeypatch, capfd)


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
