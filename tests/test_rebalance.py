"""Engines of one group over a real Kafka: partitions move between them under load, within a time, and only those that must."""

import json
import re
import uuid
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from tests.conftest import Kafka
from tests.engine_process import EngineProcess, Topics, wait_until
from tests.runtime import streams

pytestmark = pytest.mark.kafka

COPY = """
[query]
name = "{tag}"
checkpoint = "{checkpoint}"
limits = {{ max_batch = {max_batch}, queue_events = 4096 }}

[windows.in]
kind = "source"
schema = "id:int64"
connect = {{ connector = "kafka", topic = "{tag}.in", brokers = "{brokers}"{options} }}

[windows.out]
kind = "sink"
from = "in"
connect = {{ connector = "kafka", topic = "{tag}.out", brokers = "{brokers}" }}
"""


@pytest.fixture
def tag() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def copy_query(path: Path, tag: str, brokers: str, options: str = "", checkpoint: str = "100ms", max_batch: int = 64) -> Path:
    path.write_text(COPY.format(tag=tag, brokers=brokers, checkpoint=checkpoint, options=options, max_batch=max_batch))
    return path


def numbers(first: int, n: int) -> list[tuple[int, bytes]]:
    return list(islice(endless(first), n))


def endless(first: int = 0) -> Iterator[tuple[int, bytes]]:
    return ((number % 4, b'{"id": %d}' % number) for number in count(first))


def ids(topics: Topics) -> list[int]:
    return sorted(json.loads(value)["id"] for value in topics.values("out"))


def held(engine: EngineProcess) -> set[int]:
    """The partitions that an engine has, by the last line of its log that tells of them."""
    found = re.findall(r"partitions \[([\d, ]*)\] (assigned|revoked)", engine.text)
    return {int(number) for number in found[-1][0].split(", ") if number} if found and found[-1][1] == "assigned" else set()


def are_shared(*engines: EngineProcess) -> bool:
    """Whether each of four partitions is with one of them, and as evenly as can be."""
    shares = [held(engine) for engine in engines]
    return (
        sorted(number for share in shares for number in share) == [0, 1, 2, 3] and max(map(len, shares)) - min(map(len, shares)) < 2
    )


def moves(engine: EngineProcess) -> dict[str, float]:
    found = re.findall(r'esp_\w+_partitions_total\{query="\w+",state="(\w+)"\} (\S+)', engine.metrics())
    return {state: float(count) for state, count in found}


def test_engines_come_and_go_under_load_and_nothing_is_lost(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), 4)
    query = copy_query(tmp_path / "copy.toml", tag, kafka.bootstrap)
    load = topics.load("in", endless())
    with EngineProcess(query, tmp_path / "a") as a:
        wait_until(lambda: held(a) == {0, 1, 2, 3}, "all partitions with one")
        with EngineProcess(query, tmp_path / "b") as b:
            wait_until(lambda: are_shared(a, b), "two that share")
            before = held(a), held(b)
            with EngineProcess(query, tmp_path / "c") as c:
                wait_until(lambda: are_shared(a, b, c), "three that share")
                assert held(a) <= before[0]  # what stays is not moved about
                assert held(b) <= before[1]
                wait_until(lambda: topics.count("out") > 2000, "outputs")
                assert c.stop() == 0
            wait_until(lambda: are_shared(a, b), "two again")
            assert b.stop() == 0
        wait_until(lambda: held(a) == {0, 1, 2, 3}, "all partitions with one again")
        sent = load.end()
        wait_until(lambda: topics.committed("in", tag) == dict(enumerate(topics.ends("in"))), "the end of the stream")
        counted = moves(a)
        assert a.stop() == 0
        assert "never retrieved" not in a.text + b.text + c.text
        assert "Traceback" not in a.text + b.text + c.text
    assert ids(topics) == list(
        range(sent)
    )  # all left in good order: not even a double, though the first one's checkpoints were old
    assert counted["unsaved"] == 0
    assert counted["kept"] >= 2 + 1 + 1 + 2  # of the shares that it had before and after each of the four rebalances
    assert counted["restored"] + counted["kept"] == sum(len(found.split(",")) for found in assignments(a))


def assignments(engine: EngineProcess) -> list[str]:
    return re.findall(r"partitions \[([\d, ]+)\] assigned", engine.text)


def test_a_full_queue_holds_no_rebalance_up_and_no_record_comes_twice(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), 4)
    query = copy_query(
        tmp_path / "copy.toml", tag, kafka.bootstrap, max_batch=1, options=", max_partition_fetch_bytes = 1024", checkpoint="1h"
    )
    sent = 1000

    def share_behind() -> bool:
        """Whether the two share, while the engines are kept 30,000 records and more behind, however fast they are."""
        nonlocal sent
        while sent - topics.count("out") < 30_000:
            topics.send("in", numbers(sent, 10_000))
            sent += 10_000
        return are_shared(a, b) and topics.count("out") < sent

    topics.send("in", numbers(0, sent))
    with EngineProcess(query, tmp_path / "a") as a:
        wait_until(lambda: min(topics.ends("out")) > 0, "outputs of each partition")
        with EngineProcess(query, tmp_path / "b") as b:
            wait_until(share_behind, "two that share")
            counted = moves(a)
            wait_until(lambda: topics.count("out") >= sent, "all outputs")
            assert (a.stop(), b.stop()) == (0, 0)
    assert ids(topics) == list(range(sent))
    assert (counted["unsaved"], counted["kept"]) == (0, 2)


def records(events: Iterable[streams.Event]) -> Iterator[tuple[int, bytes]]:
    return ((streams.partition_of(event["device"], 4), streams.value(event)) for event in events)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_state_goes_where_its_partition_goes_and_stays_in_memory_where_that_stays(
    kafka: Kafka, tag: str, tmp_path: Path, delivery: str
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, 4)
    query = streams.query_file(
        tmp_path, streams.kafka(tag, kafka.bootstrap), name=tag, checkpoint="200ms", max_batch=16, delivery=delivery
    )

    def is_done(count: int) -> bool:
        return sum(topics.committed("events", tag).values()) == count

    with EngineProcess(query, tmp_path / "a") as a:
        topics.send("events", list(records(streams.events(1, 500))))
        wait_until(lambda: held(a) == {0, 1, 2, 3} and min(topics.ends("scores")) > 0, "outputs of each partition")
        load = topics.load("events", records(islice(streams.endless(1), 500, None)))
        with EngineProcess(query, tmp_path / "b") as b:
            wait_until(lambda: are_shared(a, b), "two that share")
            theirs = held(b)
            assert moves(a)["kept"] == 2
            first = 500 + load.end()
            topics.send("events", list(records(streams.events(1, first + 500)[first:])))
            wait_until(lambda: is_done(first + 500), "what both work off")
            assert b.stop() == 0
        wait_until(lambda: held(a) == {0, 1, 2, 3}, "all partitions with one again")
        assert moves(a)["kept"] == 2 + 2
        sent = streams.events(1, first + 1000)
        topics.send("events", list(records(sent[first + 500 :])))
        wait_until(lambda: is_done(first + 1000), "the end of the stream")
        assert a.stop() == 0
    restored = re.findall(r"partition (\d) is restored from", a.text)
    assert {int(number) for number in restored} == theirs  # what was away, and nothing else
    wanted = streams.expected(sent, 4, is_ended=False)
    read = [[value for part in topics.committed_values(name) for value in part] for name in ("scores", "tallies", "late")]
    streams.check(wanted, *read, is_once=True)


def test_a_static_member_that_is_killed_gets_its_partitions_back_and_the_others_keep_theirs(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), 4)
    paths = {
        name: copy_query(
            tmp_path / f"{name}.toml", tag, kafka.bootstrap, f', instance = "{name}", client = {{ session_timeout_ms = 180000 }}'
        )
        for name in "ab"
    }
    with EngineProcess(paths["a"], tmp_path / "a") as a:
        with EngineProcess(paths["b"], tmp_path / "b") as b:
            wait_until(lambda: are_shared(a, b), "two that share")
            load = topics.load("in", endless())
            wait_until(lambda: topics.count("out") > 500, "outputs")
            rebalances, theirs = len(assignments(a)), held(b)
            b.kill()
        with EngineProcess(paths["b"], tmp_path / "b") as b:
            wait_until(lambda: held(b) == theirs, "the same partitions")
            sent = load.end()
            wait_until(lambda: len(set(ids(topics))) == sent, "all outputs")
            assert len(assignments(a)) == rebalances
            assert "revoked" not in b.text
            assert b.stop() == 0
        assert a.stop() == 0
