"""Both paths on topics that other clients wrote, record by record, and other clients on what is written here."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from esp.runtime.events import RawBlock, raw_block
from esp.runtime.headers import decode_headers, encode_headers
from tests.broker import libraries
from tests.conftest import Kafka, skip
from tests.runtime.backfill.ranges import ends_of
from tests.runtime.kafka.members import Member
from tests.runtime.kafka.test_kafka import STAMP, consume, expected, make_sink, produce, send_all, some_rows

confluent_kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka
COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


def read(kafka: Kafka, topic: str, count: int, **settings: Any) -> list[Any]:
    """The records of a topic by either path, which are the same."""

    async def run(records: str) -> list[Any]:
        async with Member(kafka.bootstrap, topic, group=records, records=records, **settings) as member:
            return sorted((*record[:4], decode_headers(record[4]), record[5]) for record in await member.read(count))

    columns, client = asyncio.run(run("columns")), asyncio.run(run("client"))
    assert columns == client
    return columns


def java(*args: str) -> str:
    """Runs Records.java on the broker's own libraries."""
    if subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=True).stdout.find("jdk.compiler") < 0:
        skip("no JDK: a JRE cannot run Records.java")
    command = ["java", "-Xmx256m", "-cp", f"{libraries()}/*", str(Path(__file__).parent / "Records.java"), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert not done.returncode, done.stderr[-2000:]
    return done.stdout


def test_what_librdkafka_wrote(kafka: Kafka) -> None:
    topic, wanted = kafka.topic(), []
    for i, compression in enumerate(COMPRESSIONS):
        rows = some_rows(seed=10 + i, n=200)
        producer = confluent_kafka.Producer(kafka.client(**{"compression.type": compression, "linger.ms": 20}))
        for row in rows:
            producer.produce(topic, partition=0, **row)
        producer.flush(120)
        wanted += expected(rows, first=200 * i)
    assert read(kafka, topic, len(wanted)) == wanted


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_aiokafka_wrote(kafka: Kafka, compression: str) -> None:
    topic, rows = kafka.topic(), [row for row in some_rows(seed=20, n=400) if row["key"] is not None or row["value"] is not None]

    async def write() -> None:
        kind = None if compression == "none" else compression
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=kind, max_batch_size=100_000) as producer:
            for row in rows:
                stamp, rest = row["timestamp"], {name: row[name] for name in ("key", "value", "headers")}
                await producer.send(topic, partition=0, timestamp_ms=stamp, **rest)

    asyncio.run(write())
    assert read(kafka, topic, len(rows)) == expected(rows)


def test_what_the_java_client_wrote(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=3)
    java("write", kafka.bootstrap, topic, *COMPRESSIONS)
    found = read(kafka, topic, 500)
    assert sorted(record[5] for record in found) == sorted(STAMP + i for i in range(100) for _ in COMPRESSIONS)
    for record in found:
        i = record[5] - STAMP
        assert record[2] == (b"key-%d" % i if i % 3 == 0 else b"" if i % 3 == 1 else None)
        assert (record[3] is None) == (i % 10 == 9)
        assert record[3] is None or record[3].endswith(b"-" + b"x" * i)
        assert record[4] == [("h", b"\1\2")] * (i % 4 == 0) + [("\u00e4", None)] * (i % 8 == 0)


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_the_java_client_reads_what_is_written_here_and_chooses_the_same_partitions(kafka: Kafka, compression: str | None) -> None:
    topic, theirs = kafka.topic(partitions=5), kafka.topic(partitions=5)
    keys = [b"key-%d" % i if i % 3 == 0 else b"" if i % 3 == 1 else None for i in range(100)]
    block = raw_block(
        [None if i % 10 == 9 else b"v" * i for i in range(100)], keys=keys, ts_ms=[STAMP + i for i in range(100)],
        headers=[encode_headers([("h", b"\1"), ("\u00e4", None)]) if i % 4 == 0 else b"" for i in range(100)], partition=2,
    )  # fmt: skip
    asyncio.run(send_all(make_sink(kafka, topic, compression=compression, partition_by="key"), block))
    lines = [line.split() for line in java("read", kafka.bootstrap, topic, "100").splitlines()]
    assert sorted(int(line[2]) - STAMP for line in lines) == list(range(100))
    for _partition, _offset, stamp, key, value, *headers in lines:
        i = int(stamp) - STAMP
        assert key == ("null" if keys[i] is None else "x" + (keys[i] or b"").hex())
        assert value == ("null" if i % 10 == 9 else "x" + (b"v" * i).hex())
        assert headers == ["x68=x01", "xc3a4=null"] * (i % 4 == 0)
    if compression is None:
        java("write", kafka.bootstrap, theirs, "none")
        chosen = {
            int(line[2]): line[0] for line in (line.split() for line in java("read", kafka.bootstrap, theirs, "100").splitlines())
        }
        ours = {int(line[2]): line[0] for line in lines if line[3] != "null"}
        assert ours == {stamp: partition for stamp, partition in chosen.items() if keys[stamp - STAMP] is not None}
        assert {line[0] for line in lines if line[3] == "null"} == {"2"}


@pytest.mark.parametrize("compression", ["snappy", "lz4", "zstd"])
def test_librdkafka_reads_what_is_written_here_compressed(kafka: Kafka, compression: str) -> None:
    topic, rows = kafka.topic(), some_rows(seed=30, n=400)
    block = raw_block(
        [row["value"] for row in rows], keys=[row["key"] for row in rows], ts_ms=[row["timestamp"] for row in rows],
        headers=[encode_headers(row["headers"]) for row in rows],
    )  # fmt: skip
    asyncio.run(send_all(make_sink(kafka, topic, compression=compression, max_batch_bytes=50_000), block))
    found = [
        (m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1]) for m in consume(kafka, topic, 400)
    ]
    assert found == expected(rows)


def test_append_time_is_the_brokers(kafka: Kafka) -> None:
    topic = kafka.topic(config={"message.timestamp.type": "LogAppendTime"})
    produce(kafka, topic, some_rows(seed=1, n=50))
    assert min(record[5] for record in read(kafka, topic, 50)) > STAMP + 10**9


def test_aborted_transactions_are_left_out_where_committed_ones_are_wanted(kafka: Kafka) -> None:
    topic = kafka.topic()
    writers = [confluent_kafka.Producer(kafka.client(**{"transactional.id": f"{topic}-{i}"})) for i in range(2)]
    for writer in writers:
        writer.init_transactions(120)
    committed, number = [], 0
    for round_ in range(6):
        for writer in writers:
            writer.begin_transaction()
        for i, writer in enumerate(writers):
            for _ in range(7):
                writer.produce(topic, b"%d" % number, partition=0)
                if (round_ + i) % 3:
                    committed.append(b"%d" % number)
                number += 1
            writer.flush(120)
        for i, writer in enumerate(writers):
            writer.commit_transaction(120) if (round_ + i) % 3 else writer.abort_transaction(120)
    only = read(kafka, topic, len(committed), client={"isolation_level": "read_committed"})
    assert [record[3] for record in only] == committed
    assert len(read(kafka, topic, number)) == number


def test_a_group_goes_on_in_the_middle_of_a_batch(kafka: Kafka) -> None:
    topic, rows = kafka.topic(), some_rows(seed=5, n=100)
    producer = confluent_kafka.Producer(kafka.client(**{"compression.type": "lz4", "linger.ms": 60_000}))  # one batch
    for row in rows:
        producer.produce(topic, partition=0, **row)
    producer.flush(120)
    assert read(kafka, topic, 37, offsets={0: 63}) == expected(rows)[63:]


def test_records_that_compaction_left_out_leave_gaps(kafka: Kafka) -> None:
    """Deleting up to an offset inside a batch leaves what compaction does: a log whose first batch begins before its first offset."""
    topic, rows = kafka.topic(), some_rows(seed=6, n=100)
    produce(kafka, topic, rows)
    admin = confluent_kafka.admin.AdminClient(kafka.client())
    admin.delete_records([confluent_kafka.TopicPartition(topic, 0, 41)])[confluent_kafka.TopicPartition(topic, 0, 41)].result(120)
    assert read(kafka, topic, 59) == expected(rows)[41:]


def test_a_source_tells_its_position_behind_control_batches(kafka: Kafka) -> None:
    topic = kafka.topic()
    writer = confluent_kafka.Producer(kafka.client(**{"transactional.id": topic}))
    writer.init_transactions(120)
    writer.begin_transaction()
    writer.produce(topic, b"x", partition=0)
    writer.commit_transaction(120)
    assert ends_of(kafka.bootstrap, topic, 1) == [2]  # the marker is there

    async def run() -> None:
        async with Member(kafka.bootstrap, topic) as member:
            await member.read(1)
            assert await member.source.lag() == {0: 0}
            assert TopicPartition(topic, 0) in member.source._consumer.assignment()  # type: ignore[attr-defined]

    asyncio.run(run())


def test_a_block_of_many_records_goes_through_whole(kafka: Kafka) -> None:
    topic, n = kafka.topic(), 200_000
    block: RawBlock = raw_block([b"%d" % i for i in range(n)])
    asyncio.run(send_all(make_sink(kafka, topic), block))

    async def run() -> list[Any]:
        async with Member(kafka.bootstrap, topic, max_partition_fetch_bytes=300_000) as member:
            return [record[3] for record in await member.read(n)]

    assert asyncio.run(run()) == [b"%d" % i for i in range(n)]
