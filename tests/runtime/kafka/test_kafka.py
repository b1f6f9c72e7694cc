"""The Kafka connector against Apache Kafka; confluent-kafka stands on the other side of the topics."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from esp.errors import StartError, TransportError
from esp.runtime.connect import Sink, connection, open_sink
from esp.runtime.dead_letters import dead_letters
from esp.runtime.events import DeadBlock, raw_block
from esp.runtime.headers import decode_headers, encode_headers
from tests.conftest import Kafka
from tests.runtime.kafka.members import Member

confluent_kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka
STAMP = 1_700_000_000_000


def produce(kafka: Kafka, topic: str, rows: list[dict[str, Any]], partition: int = 0) -> None:
    """Writes records with confluent-kafka, as one batch where they fit in one: a slow machine would send what there is before."""
    producer = confluent_kafka.Producer(kafka.client(**{"linger.ms": 60_000}))
    for row in rows:
        producer.produce(topic, partition=partition, **row)
        producer.poll(0)
    assert producer.flush(120) == 0


def consume(kafka: Kafka, topic: str, count: int, partitions: int = 1) -> list[Any]:
    """Reads so many records with confluent-kafka, checksums checked, and none more."""
    consumer = confluent_kafka.Consumer(kafka.client(**{"group.id": "reader", "check.crcs": True, "enable.auto.commit": False}))
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found: list[Any] = []
    while len(found) < count:
        found += [record for record in consumer.consume(count, 0.2) if record.error() is None]
    ends = [
        consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), timeout=120)[1]
        for partition in range(partitions)
    ]
    consumer.close()
    assert sum(ends) == count
    return found


def make_sink(kafka: Kafka, topic: str, **settings: Any) -> Sink:
    return open_sink(
        connection({"connector": "kafka", "topic": topic, "brokers": kafka.bootstrap, **settings}, "q"), where="q: out"
    )


async def send_all(sink: Sink, *blocks: Any) -> None:
    await sink.start()
    for block in blocks:
        await sink.send(block)
    await sink.flush()
    await sink.stop()


def some_rows(seed: int, n: int) -> list[dict[str, Any]]:
    pick = random.Random(seed)
    return [
        {
            "key": pick.choice([None, b"", b"k%d" % i]),
            "value": pick.choice([None, b"", pick.randbytes(pick.randrange(2000))]),
            "headers": pick.choice([[], [("a", b"1"), ("a", None)], [("schluessel-\u00e4", pick.randbytes(100))]]),
            "timestamp": STAMP + i,
        }
        for i in range(n)
    ]


def expected(rows: list[dict[str, Any]], partition: int = 0, first: int = 0) -> list[Any]:
    return [(partition, first + i, row["key"], row["value"], row["headers"], row["timestamp"]) for i, row in enumerate(rows)]


def decoded(records: list[Any]) -> list[Any]:
    return [(*record[:4], decode_headers(record[4]), record[5]) for record in records]


def test_what_others_produce_comes_with_keys_nulls_headers_and_stamps(kafka: Kafka) -> None:
    topic, rows = kafka.topic(), some_rows(seed=1, n=500)
    produce(kafka, topic, rows)

    async def run() -> list[Any]:
        async with Member(kafka.bootstrap, topic) as member:
            return decoded(await member.read(500))

    assert asyncio.run(run()) == expected(rows)


def test_what_is_sent_others_read_with_keys_nulls_headers_and_stamps(kafka: Kafka) -> None:
    topic, rows = kafka.topic(partitions=2), some_rows(seed=2, n=500)
    blocks = [
        raw_block(
            [row["value"] for row in part], partition=3, keys=[row["key"] for row in part],
            headers=[encode_headers(row["headers"]) for row in part], ts_ms=[row["timestamp"] for row in part],
        )
        for part in (rows[:1], rows[1:300], rows[300:])
    ]  # fmt: skip
    asyncio.run(send_all(make_sink(kafka, topic, max_batch_bytes=20_000), *blocks))
    found = consume(kafka, topic, 500, partitions=2)
    read = [(m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1]) for m in found]
    assert read == expected(rows, partition=1)


def test_many_blocks_from_many_senders_arrive_once_and_in_order(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=4)

    async def run() -> None:
        sink = make_sink(kafka, topic, max_in_flight_bytes=4096)
        await sink.start()

        async def sender(partition: int) -> None:
            for first in range(0, 2000, 50):
                await sink.send(raw_block([b"%d" % i for i in range(first, first + 50)], partition=partition))
                await sink.flush()

        await asyncio.gather(*(sender(partition) for partition in range(4)))
        await sink.stop()

    asyncio.run(run())
    found = consume(kafka, topic, 8000, partitions=4)
    for partition in range(4):
        assert [m.value() for m in found if m.partition() == partition] == [b"%d" % i for i in range(2000)]


@pytest.mark.parametrize("compression", ["gzip", None])
def test_batches_may_be_compressed(kafka: Kafka, compression: str | None) -> None:
    topic = kafka.topic()
    asyncio.run(send_all(make_sink(kafka, topic, compression=compression), raw_block([b"x" * 50_000] * 10)))
    assert [m.value() for m in consume(kafka, topic, 10)] == [b"x" * 50_000] * 10


def test_a_record_that_the_topic_does_not_take_is_named_with_its_size(kafka: Kafka) -> None:
    topic = kafka.topic(config={"max.message.bytes": "10000"})

    async def run() -> None:
        sink = make_sink(kafka, topic)
        await sink.start()
        await sink.send(raw_block([b"x" * 1000] * 100))  # a batch is never larger than what the topic takes
        await sink.flush()
        with pytest.raises(
            TransportError, match=rf"a record of 20000 bytes is more than topic '{topic}' takes \(its limit is 10000\)"
        ):
            await sink.send(raw_block([b"small", b"x" * 20_000]))
        await sink.stop()

    asyncio.run(run())
    assert len(consume(kafka, topic, 100)) == 100


def test_dead_letters_of_any_size_go_to_a_topic_that_takes_less(kafka: Kafka) -> None:
    topic, sizes = kafka.topic(config={"max.message.bytes": "10000"}), [9_600, 9_990, 5, 300_000]
    dead = DeadBlock(raw_block([b"x" * size for size in sizes]), np.arange(4), ("no number: " + "x" * 10_000,) * 4, "w")
    asyncio.run(send_all(make_sink(kafka, topic), dead_letters(dead, "moves")))
    found = consume(kafka, topic, 4)
    assert [m.value() for m in found] == [None, None, b"x" * 5, None]
    assert [dict(m.headers()).get("esp-cut") for m in found] == [b"9600", b"9990", None, b"300000"]
    assert [dict(m.headers())["esp-offset"] for m in found] == [b"0", b"1", b"2", b"3"]


def test_a_refusal_by_the_broker_reaches_flush_and_all_later_sends(kafka: Kafka) -> None:
    topic = kafka.topic(config={"max.message.bytes": "10000"})

    async def run() -> None:
        sink = make_sink(kafka, topic, compression="gzip")  # compressed records are the broker's to judge
        await sink.start()
        await sink.send(raw_block([random.Random(3).randbytes(30_000)]))
        with pytest.raises(TransportError, match="more than topic"):
            await sink.flush()
        with pytest.raises(TransportError, match="more than topic"):
            await sink.send(raw_block([b"small"]))
        await sink.stop()

    asyncio.run(run())


def test_a_group_goes_on_from_its_commit_or_from_the_offset_it_is_told(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=2)
    for partition in range(2):
        produce(kafka, topic, [{"value": b"%d" % i} for i in range(10)], partition)

    async def values(count: int, **settings: Any) -> list[Any]:
        async with Member(kafka.bootstrap, topic, **settings) as member:
            await member.read(count)
            assert await member.source.lag() == {0: 0, 1: 0}
            return sorted((record[0], record[3]) for record in member.records)

    async def run() -> None:
        async with Member(kafka.bootstrap, topic) as member:
            await member.read(20)
            await member.source.commit({0: 7, 1: 9})
        assert await values(4) == [(0, b"7"), (0, b"8"), (0, b"9"), (1, b"9")]
        assert await values(3, offsets={0: 8}) == [(0, b"8"), (0, b"9"), (1, b"9")]

    asyncio.run(run())


def test_a_new_group_starts_where_the_setting_says(kafka: Kafka) -> None:
    topic = kafka.topic()
    produce(kafka, topic, [{"value": b"%d" % i, "timestamp": STAMP + 1000 * i} for i in range(5)])

    async def values(group: str, start: Any, count: int) -> list[Any]:
        async with Member(kafka.bootstrap, topic, group=group, start=start) as member:
            produce(kafka, topic, [{"value": b"new", "timestamp": STAMP + 10_000}])
            return [record[3] for record in await member.read(count)]

    assert asyncio.run(values("latest", "latest", 1)) == [b"new"]
    assert asyncio.run(values("time", "2023-11-14T22:13:23Z", 4))[:3] == [b"3", b"4", b"new"]  # that is STAMP + 3 s
    assert asyncio.run(values("after", "2030-01-01T00:00:00Z", 1)) == [b"new"]


def test_an_offset_that_is_gone_is_a_failure_unless_a_reset_is_set(kafka: Kafka) -> None:
    topic = kafka.topic()
    produce(kafka, topic, [{"value": b"only"}])

    async def read(**settings: Any) -> list[Any]:
        async with Member(kafka.bootstrap, topic, offsets={0: 77}, **settings) as member:
            return [record[3] for record in await member.read(1)]

    with pytest.raises(TransportError, match=rf"{topic}/0/77: offset 77 is no longer .* on_lost"):
        asyncio.run(read())
    assert asyncio.run(read(on_lost="earliest")) == [b"only"]


def test_a_paused_partition_waits_while_others_go_on(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=2)

    async def run() -> None:
        async with Member(kafka.bootstrap, topic) as member:
            member.source.pause({0})
            for partition in range(2):
                produce(kafka, topic, [{"value": b"x"}] * 10, partition)
            await member.read(10)
            assert {record[0] for record in member.records} == {1}
            member.source.pause({1})
            assert await member.source.poll(0.01) == []
            member.source.resume({0, 1})
            await member.read(20)

    asyncio.run(run())


def test_partitions_move_between_members_and_every_record_is_read(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=4)
    for partition in range(4):
        produce(kafka, topic, [{"value": b"%d" % i} for i in range(100)], partition)

    async def run() -> None:
        async with Member(kafka.bootstrap, topic, max_records=10) as first:
            await first.read(150)
            joining = asyncio.create_task(Member(kafka.bootstrap, topic).__aenter__())
            while not joining.done():
                await first.step(0.05)
            second = await joining
            while len(first.partitions) != 2 or len(second.partitions) != 2:
                await asyncio.gather(first.step(0.05), second.step(0.05))
            assert first.partitions | second.partitions == {0, 1, 2, 3}
            assert ("revoked", {0, 1, 2, 3}) in first.events
            while len(first.records) + len(second.records) < 400:
                await asyncio.gather(first.step(0.05), second.step(0.05))
            read = sorted(record[:2] for record in first.records + second.records)
            assert read == [(partition, offset) for partition in range(4) for offset in range(100)]
            await second.commit()
            await second.__aexit__()
            while len(first.partitions) != 4:
                await first.step(0.05)

    asyncio.run(run())


def test_a_failure_of_the_engine_while_it_takes_over_reaches_poll(kafka: Kafka) -> None:
    topic = kafka.topic()

    class Failing(Member):
        async def _assigned(self, partitions: set[int]) -> dict[int, int | None]:
            raise TransportError("no state")

    async def run() -> None:
        member = Failing(kafka.bootstrap, topic)
        with pytest.raises(TransportError, match="no state"):
            await member.__aenter__()
        await member.__aexit__()

    asyncio.run(run())


def test_a_topic_that_is_not_there_is_named_or_made(kafka: Kafka) -> None:
    topic = "made-" + kafka.topic()

    async def start(**settings: Any) -> None:
        await send_all(make_sink(kafka, topic, **settings), raw_block([b"x"], partition=2))

    with pytest.raises(StartError, match=rf"there is no topic '{topic}'; create it"):
        asyncio.run(start())
    asyncio.run(start(create={"partitions": 3, "config": {"retention.ms": "60000"}}))
    asyncio.run(start(create={"partitions": 9}))
    assert [m.partition() for m in consume(kafka, topic, 2, partitions=3)] == [2, 2]
    with pytest.raises(StartError, match="cannot be created"):
        asyncio.run(send_all(make_sink(kafka, topic + "-2", create={"replication": 5})))


def test_the_producer_is_idempotent(kafka: Kafka) -> None:
    topic = kafka.topic()

    async def run() -> tuple[int, int]:
        sink: Any = make_sink(kafka, topic)
        await sink.start()
        await sink.send(raw_block([b"x"]))
        await sink.flush()
        manager = sink._producer._txn_manager
        await sink.stop()
        return manager.producer_id, sink._producer._sender._acks

    producer_id, acks = asyncio.run(run())
    assert producer_id >= 0
    assert acks == -1  # all
