"""A sink whose topic gets more partitions: it goes on over all of them, each key where Kafka's Java client would put it."""

import asyncio
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from esp.errors import FencedError
from esp.runtime.connect import connection
from esp.runtime.events import RawBlock, raw_block
from esp.runtime.kafka import watch
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.kafka.transactions import TaskProducer
from tests.conftest import Kafka
from tests.engine_process import Topics
from tests.runtime.memory_stream import until

pytestmark = pytest.mark.kafka
BEFORE, AFTER = 2, 5
KEYS = [b"key %d" % number for number in range(60)]


def block(stage: bytes) -> RawBlock:
    return raw_block([stage + key for key in KEYS], topic="in", partition=0, keys=list(KEYS))


def placed(kafka: Kafka, topics: Topics, name: str, partitions: int, stage: bytes) -> list[set[bytes]]:
    """Where librdkafka's twin of the Java client's partitioner puts the same."""
    topics.partitions = partitions
    producer = Producer(kafka.client(partitioner="murmur2_random"))
    for key in KEYS:
        producer.produce(f"{topics.tag}.{name}", stage + key, key)
    assert producer.flush(60) == 0
    return [set(part) for part in topics.committed_values(name)]


def lost(err: FencedError) -> None:
    raise AssertionError(err)


@pytest.mark.parametrize("records", ["columns", "client"])
@pytest.mark.parametrize("is_exact", [False, True], ids=["at least once", "exactly once"])
def test_partitions_that_are_added_are_taken_up_while_it_runs(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, records: str, is_exact: bool
) -> None:
    monkeypatch.setattr(watch, "WATCH_S", 0.1)
    topics = Topics(kafka.bootstrap, f"t{uuid.uuid4().hex[:10]}", ("out", "few", "many"), BEFORE)

    def widen(name: str) -> None:
        topics.admin.create_partitions([NewPartitions(f"{topics.tag}.{name}", AFTER)])[f"{topics.tag}.{name}"].result(60)

    options = {"topic": f"{topics.tag}.out", "brokers": kafka.bootstrap, "records": records, "partition_by": "key"}
    settings = connection({"connector": "kafka", **options}, "q")
    assert isinstance(settings, KafkaConnection)

    async def run() -> None:
        sink, task = KafkaSink(settings, "q"), TaskProducer(settings, topics.tag, 60_000, "q", lost)
        await sink.start()
        await task.start()
        task.carry({"out": sink})
        used = task.sinks["out"] if is_exact else sink
        await used.send(block(b"before "))
        await used.flush()
        widen("out")
        await until(lambda: sink.partitions == used.partitions == AFTER)
        await used.send(block(b"after "))
        await used.flush()
        await task.commit("g", settings.topic, 0, 1, "")
        assert await task.close() is False
        await sink.stop()

    asyncio.run(run())
    few = placed(kafka, topics, "few", BEFORE, b"before ")
    widen("many")
    many = placed(kafka, topics, "many", AFTER, b"after ")
    topics.partitions = AFTER
    found = topics.committed_values("out")
    assert sum(map(len, found)) == 2 * len(KEYS)
    assert [set(part) for part in found] == [{*early, *late} for early, late in zip([*few, *[set()] * (AFTER - BEFORE)], many)]
