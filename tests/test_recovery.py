"""Engines in processes of their own over a real Kafka: killed, stopped, deployed to, joined by another, left by their broker."""

import json
import signal
import uuid
from collections.abc import Iterable, Iterator
from itertools import count as count_from
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from esp.client import AdminClient
from esp.errors import UsageError
from tests.broker import Broker
from tests.conftest import Kafka
from tests.engine_process import EngineProcess, Topics, wait_until
from tests.runtime import streams

pytestmark = pytest.mark.kafka

PARTITIONS = 3
COPY = """
[query]
name = "{tag}"
checkpoint = "{checkpoint}"

[windows.in]
kind = "source"
schema = "id:int64"
connect = {{ connector = "kafka", topic = "{tag}.in", brokers = "{brokers}" }}

[windows.out]
kind = "sink"
from = "in"
connect = {{ connector = "kafka", topic = "{tag}.out", brokers = "{brokers}" }}
"""


@pytest.fixture
def tag() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def records(events: list[streams.Event]) -> list[tuple[int, bytes]]:
    return list(records_of(events))


def records_of(events: Iterable[streams.Event]) -> Iterator[tuple[int, bytes]]:
    return ((streams.partition_of(event["device"], PARTITIONS), streams.value(event)) for event in events)


def check(topics: Topics, sent: list[streams.Event], is_once: bool = False) -> None:
    wanted = streams.expected(sent, PARTITIONS, is_ended=False)
    streams.check(wanted, topics.values("scores"), topics.values("tallies"), topics.values("late"), is_once)


def test_an_engine_killed_twice_in_mid_stream_loses_nothing_and_every_window_is_whole(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    connectors = streams.kafka(tag, kafka.bootstrap, ', instance = "engine"')
    query = streams.query_file(tmp_path, connectors, name=tag, checkpoint="50ms", max_batch=16)
    count = 0
    for _ in range(2):
        before = topics.count("scores")
        with EngineProcess(query, tmp_path / "state") as engine:
            engine.wait_for("is running")
            load = topics.load("events", records_of(islice(streams.endless(1), count, None)))
            wait_until(lambda: topics.count("scores") > before + 120, "scores")  # noqa: B023
            engine.kill()
            count += load.end()
        sent = streams.events(1, count + 100)
        topics.send("events", records(sent[count:]))  # so that there is more than it can have seen
        count = len(sent)
    assert len(streams.distinct(topics.values("scores"), "id")) < len(streams.expected(sent, PARTITIONS, False).scores)
    with EngineProcess(query, tmp_path / "state") as engine:
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert engine.stop() == 0
    check(topics, sent)


def ends(topics: Topics) -> dict[int, int]:
    return dict(enumerate(topics.ends("events")))


def test_a_stop_under_load_drains_and_a_deployment_under_load_gives_every_event_one_model(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(tmp_path, streams.kafka(tag, kafka.bootstrap), name=tag, checkpoint="200ms", max_batch=16)
    with EngineProcess(query, tmp_path / "state") as engine:
        engine.wait_for("is running")
        load = topics.load("events", records_of(streams.endless(1)))
        wait_until(lambda: topics.count("scores") > 100, "scores")
        assert engine.stop() == 0
        count = load.end()
        first = streams.events(1, count + 100)
        topics.send("events", records(first[count:]))
        assert "never retrieved" not in engine.text
        assert "Traceback" not in engine.text
    worked_off = topics.committed("events", tag)
    done = [event for event, place in zip(first, _places(first)) if place < worked_off.get(_partition(event), 0)]
    assert 0 < len(done) < len(first)
    check(topics, done, is_once=True)

    old, new = streams.model(tmp_path / "tiny.astore"), streams.model(tmp_path / "new.astore", seed=2)
    other = tmp_path / "other.astore"
    other.write_bytes((tmp_path / "new.astore").read_bytes()[:-3])
    with EngineProcess(query, tmp_path / "state") as engine:
        engine.wait_for("is running")
        client, before = AdminClient(engine.url), topics.count("scores")
        load = topics.load("events", records_of(streams.endless(2, first=len(first))))
        wait_until(lambda: topics.count("scores") > before + 100, "scores")
        with pytest.raises(UsageError, match="the engine refused"):
            client._call("PUT", f"/v1/queries/{tag}/windows/scored/model", other.read_bytes())
        answer = client.deploy(tmp_path / "new.astore", f"{tag}/scored")
        assert (answer["old"], answer["new"]) == (old.digest, new.digest)
        count = load.end()
        second = streams.events(2, count + 100, first=len(first))
        topics.send("events", records(second[count:]))  # for the new one
        wait_until(lambda: topics.committed("events", tag) == ends(topics), "the end of the stream")
        assert engine.stop() == 0
        assert "never retrieved" not in engine.text
    _check_models(topics, first + second, [old.short_digest, new.short_digest])


def _partition(event: streams.Event) -> int:
    return streams.partition_of(event["device"], PARTITIONS)


def _places(events: list[streams.Event]) -> Iterator[int]:
    """The offset of each event."""
    seen = [0] * PARTITIONS
    for partition in map(_partition, events):
        yield seen[partition]
        seen[partition] += 1


def _check_models(topics: Topics, sent: list[streams.Event], digests: list[str]) -> None:
    """Every event scored once, by the old or the new model, in each partition first by the one and then by the other."""
    wanted = dict(zip(digests, (streams.expected(sent, PARTITIONS, False, seed).scores for seed in (1, 2))))
    rows = [[json.loads(value) for value in part] for part in topics.by_partition("scores")]
    for part in rows:
        models = [row["model"] for row in part]
        assert models == sorted(models, key=digests.index)
    flat = [row for part in rows for row in part]
    assert sorted(row["id"] for row in flat) == sorted(wanted[digests[0]])
    assert {row["model"] for row in flat} == set(digests)
    for row in flat:
        _, label, probability = wanted[row["model"]][row["id"]]
        assert (row["label"], pytest.approx(row["probability"], abs=1e-5)) == (label, probability)


def copy_query(folder: Path, tag: str, brokers: str, checkpoint: str = "100ms") -> Path:
    path = folder / "copy.toml"
    path.write_text(COPY.format(tag=tag, brokers=brokers, checkpoint=checkpoint))
    return path


def numbers(first: int, n: int) -> list[tuple[int, bytes]]:
    return list(islice(endless(first), n))


def endless(first: int = 0) -> Iterator[tuple[int, bytes]]:
    return ((number % 4, b'{"id": %d}' % number) for number in count_from(first))


def ids(topics: Topics) -> list[Any]:
    return sorted(json.loads(value)["id"] for value in topics.values("out"))


def test_two_engines_share_the_partitions_and_one_takes_over_what_the_other_leaves(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), 4)
    query = copy_query(tmp_path, tag, kafka.bootstrap)
    with EngineProcess(query, tmp_path / "a") as a, EngineProcess(query, tmp_path / "b") as b:
        for engine in (a, b):
            engine.wait_for(r"partitions \[\d, \d\] assigned")
        load = topics.load("in", endless())
        wait_until(lambda: topics.count("out") > 300, "outputs")
        assert a.stop() == 0
        b.wait_for(r"partitions \[0, 1, 2, 3\] assigned")
        count = load.end()
        wait_until(lambda: topics.count("out") >= count, "all outputs")
        assert b.stop() == 0
        assert "never retrieved" not in a.text + b.text
    assert ids(topics) == list(range(count))  # both left in good order: not even a double


def test_a_broker_that_is_killed_is_awaited_and_a_second_signal_ends_the_wait(own_broker: Broker, tag: str, tmp_path: Path) -> None:
    topics = Topics(own_broker.bootstrap, tag, ("in", "out"), 4)
    query = copy_query(tmp_path, tag, own_broker.bootstrap, checkpoint="1h")  # so that the stop has something to commit
    with EngineProcess(query, tmp_path / "state") as engine:
        engine.wait_for("is running")
        topics.send("in", numbers(0, 500))
        wait_until(lambda: topics.count("out") >= 500, "outputs")
        wait_until(lambda: engine.ready()[0], "being ready")
        own_broker.kill()
        wait_until(lambda: not engine.ready()[0], "the engine's notice of it")
        own_broker.start()
        wait_until(lambda: engine.ready()[0], "the broker")
        topics.send("in", numbers(500, 500))
        wait_until(lambda: len(set(ids(topics))) >= 1000, "outputs after the fault")
        assert set(ids(topics)) == set(range(1000))
        own_broker.kill()
        wait_until(lambda: not engine.ready()[0], "the engine's notice of it")
        engine.process.send_signal(signal.SIGTERM)
        engine.wait_for("draining; a second signal ends at once")
        assert engine.stop() == 1
        assert "ended at once, without a last checkpoint" in engine.text
        assert "never retrieved" not in engine.text
