"""Exactly once, by engines in processes of their own over a real Kafka: what readers of committed records see is what must come, whatever dies."""

import shutil
import signal
import uuid
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Kafka
from tests.engine_process import EngineProcess, Topics, wait_until
from tests.runtime import streams

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 3
SOURCE = ", client = { session_timeout_ms = 6000, heartbeat_interval_ms = 500 }"


@pytest.fixture
def tag() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def records(events: list[streams.Event]) -> list[tuple[int, bytes]]:
    return [(streams.partition_of(event["device"], PARTITIONS), streams.value(event)) for event in events]


def check_exactly(topics: Topics, sent: list[streams.Event]) -> None:
    """A reader of committed records sees every output once."""
    wanted = streams.expected(sent, PARTITIONS, is_ended=False)
    read = {name: [value for part in topics.committed_values(name) for value in part] for name in ("scores", "tallies", "late")}
    streams.check(wanted, read["scores"], read["tallies"], read["late"], is_once=True)


def ends(topics: Topics) -> dict[int, int]:
    return {number: len(part) for number, part in enumerate(topics.by_partition("events"))}


def test_an_engine_that_is_killed_again_and_again_gives_every_output_once(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(
        tmp_path, streams.kafka(tag, kafka.bootstrap, SOURCE), name=tag, checkpoint="200ms", max_batch=16, delivery="exactly_once"
    )
    sent, state = streams.events(1, n=1500), tmp_path / "state"
    for kill in range(3):
        with EngineProcess(query, state) as engine:
            engine.wait_for("is running")
            seen = topics.count("scores")
            sending = topics.send_beside("events", records(sent[400 * kill : 400 * (kill + 1)]), pace_s=0.002)
            wait_until(partial(has_more, topics, seen + 60), "scores")
            engine.kill()
            sending.join()
        if kill == 1:
            shutil.rmtree(state)
    topics.send("events", records(sent[1200:]))
    with EngineProcess(query, state) as engine:
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert "restored from" in engine.text
        assert engine.stop() == 0
        assert "never retrieved" not in engine.text
        assert "Traceback" not in engine.text
    check_exactly(topics, sent)


def has_more(topics: Topics, scores: int) -> bool:
    return topics.count("scores") > scores


def test_an_engine_that_was_held_up_and_taken_over_from_writes_nothing_more_and_comes_back(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(
        tmp_path, streams.kafka(tag, kafka.bootstrap, SOURCE), name=tag, checkpoint="3s", max_batch=16, delivery="exactly_once"
    )
    sent = streams.events(1, n=900)
    # checkpoints are seldom, so that it is held up amid a transaction
    with EngineProcess(query, tmp_path / "a") as a, EngineProcess(query, tmp_path / "b") as b:
        for engine in (a, b):
            engine.wait_for("is running")
        seen = topics.count("scores")
        sending = topics.send_beside("events", records(sent[:600]), pace_s=0.01)
        wait_until(partial(has_more, topics, seen), "scores")
        a.process.send_signal(signal.SIGSTOP)
        b.wait_for(r"partitions \[0, 1, 2\] assigned")
        sending.join()
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the work of the one that is left")
        a.process.send_signal(signal.SIGCONT)
        a.wait_for("is given up")
        topics.send("events", records(sent[600:]))
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        for engine in (a, b):
            assert engine.stop() == 0
            assert "never retrieved" not in engine.text
            assert "Traceback" not in engine.text
    check_exactly(topics, sent)
