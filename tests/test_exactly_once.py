"""Exactly once, by engines in processes of their own over a real Kafka: what readers of committed records see is what must come, whatever dies."""

import json
import shutil
import signal
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from esp.client import AdminClient
from tests.broker import Broker
from tests.conftest import Kafka
from tests.engine_process import EngineProcess, Topics, wait_until
from tests.runtime import streams

pytestmark = pytest.mark.kafka

PARTITIONS = 3
SOURCE = ", client = { session_timeout_ms = 6000, heartbeat_interval_ms = 500 }"


@pytest.fixture
def tag() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def records(events: list[streams.Event]) -> list[tuple[int, bytes]]:
    return list(records_of(events))


def records_of(events: Iterable[streams.Event]) -> Iterator[tuple[int, bytes]]:
    return ((streams.partition_of(event["device"], PARTITIONS), streams.value(event)) for event in events)


def check_exactly(topics: Topics, sent: list[streams.Event], is_once: bool = True) -> None:
    """A reader of committed records sees every output (once)."""
    wanted = streams.expected(sent, PARTITIONS, is_ended=False)
    read = {name: [value for part in topics.committed_values(name) for value in part] for name in ("scores", "tallies", "late")}
    streams.check(wanted, read["scores"], read["tallies"], read["late"], is_once)


def ends(topics: Topics) -> dict[int, int]:
    return dict(enumerate(topics.ends("events")))


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_an_engine_that_is_killed_again_and_again_and_loses_its_disk_gives_every_output(
    kafka: Kafka, tag: str, tmp_path: Path, delivery: str
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(
        tmp_path, streams.kafka(tag, kafka.bootstrap, SOURCE), name=tag, checkpoint="200ms", max_batch=16, delivery=delivery
    )
    count, state = 0, tmp_path / "state"
    for kill in range(3):
        with EngineProcess(query, state) as engine:
            engine.wait_for("is running")
            scores, saved = topics.count("scores"), sum(topics.committed("events", tag).values())
            load = topics.load("events", records_of(islice(streams.endless(1), count, None)), pace_s=0.002)
            wait_until(partial(goes_on, topics, tag, scores + 60, saved), "scores, and a checkpoint")
            engine.kill()
            count += load.end()
        if kill == 1:
            shutil.rmtree(state)
    sent = streams.events(1, count + 300)
    topics.send("events", records(sent[count:]))
    with EngineProcess(query, state) as engine:
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert "restored from" in engine.text
        assert engine.stop() == 0
        assert "never retrieved" not in engine.text
        assert "Traceback" not in engine.text
    check_exactly(topics, sent, is_once=delivery == "exactly_once")


def has_more(topics: Topics, scores: int) -> bool:
    return topics.count("scores") > scores


def goes_on(topics: Topics, group: str, scores: int, saved: int) -> bool:
    """Whether there are more scores, and offsets further on, than these."""
    return has_more(topics, scores) and sum(topics.committed("events", group).values()) > saved


def test_an_engine_that_was_held_up_and_taken_over_from_writes_nothing_more_and_comes_back(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    # a checkpoint of the one is so seldom that it is held up amid a transaction
    one, other = (
        streams.query_file(
            tmp_path / name, streams.kafka(tag, kafka.bootstrap, SOURCE), name=tag, checkpoint=checkpoint, max_batch=16,
            delivery="exactly_once",
        )
        for name, checkpoint in (("one", "300s"), ("other", "1s"))
    )  # fmt: skip
    one.write_text(one.read_text().replace("[query]\n", '[query]\ntransaction_timeout = "600s"\n'))
    sent = streams.events(1, n=900)
    with EngineProcess(one, tmp_path / "a") as a, EngineProcess(other, tmp_path / "b") as b:
        for engine in (a, b):
            engine.wait_for(r"partitions \[\d(, \d)?\] assigned")
        topics.send("events", records(sent[:600]))
        wait_until(lambda: min(topics.ends("scores", "read_uncommitted")) > 0, "outputs of each partition")
        a.process.send_signal(signal.SIGSTOP)
        b.wait_for(r"partitions \[0, 1, 2\] assigned")
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the work of the one that is left")
        a.process.send_signal(signal.SIGCONT)
        a.wait_for(r"(?s)is given up.*partitions \[\d(, \d)?\] assigned")
        topics.send("events", records(sent[600:]))
        assert a.stop() == 0
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert b.stop() == 0
        for engine in (a, b):
            assert "never retrieved" not in engine.text
            assert "Traceback" not in engine.text
    check_exactly(topics, sent)


def test_a_deployment_amid_transactions_gives_every_event_one_model(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(
        tmp_path, streams.kafka(tag, kafka.bootstrap, SOURCE), name=tag, checkpoint="200ms", max_batch=16, delivery="exactly_once"
    )
    old, new = (streams.model(tmp_path / name, seed) for name, seed in (("tiny.astore", 1), ("new.astore", 2)))
    with EngineProcess(query, tmp_path / "state") as engine:
        engine.wait_for("is running")
        load = topics.load("events", records_of(streams.endless(1)), pace_s=0.004)
        wait_until(partial(has_more, topics, 30), "scores")
        AdminClient(engine.url).deploy(tmp_path / "new.astore", f"{tag}/scored")
        count = load.end()
        sent = streams.events(1, count + 100)
        topics.send("events", records(sent[count:]))  # for the new one
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert engine.stop() == 0
    digests = [old.short_digest, new.short_digest]
    wanted = dict(zip(digests, (streams.expected(sent, PARTITIONS, False, seed).scores for seed in (1, 2))))
    parts = [[json.loads(value) for value in part] for part in topics.committed_values("scores")]
    for part in parts:
        assert [row["model"] for row in part] == sorted((row["model"] for row in part), key=digests.index)
    rows = [row for part in parts for row in part]
    assert sorted(row["id"] for row in rows) == sorted(wanted[digests[0]])
    assert {row["model"] for row in rows} == set(digests)
    assert all(row["label"] == wanted[row["model"]][row["id"]][1] for row in rows)


def test_a_broker_that_dies_amid_transactions_costs_nothing_and_doubles_nothing(
    own_broker: Broker, tag: str, tmp_path: Path
) -> None:
    topics = Topics(own_broker.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(
        tmp_path,
        streams.kafka(tag, own_broker.bootstrap, SOURCE),
        name=tag,
        checkpoint="200ms",
        max_batch=16,
        delivery="exactly_once",
    )
    sent = streams.events(1, n=900)
    with EngineProcess(query, tmp_path / "state") as engine:
        engine.wait_for("is running")
        for first in range(0, 900, 300):
            seen = topics.count("scores")
            topics.send("events", records(sent[first : first + 300]))
            wait_until(partial(has_more, topics, seen), "scores")
            if first < 600:
                own_broker.kill()
                own_broker.start()
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert engine.stop() == 0
        assert "never retrieved" not in engine.text
        assert "Traceback" not in engine.text
    check_exactly(topics, sent)
