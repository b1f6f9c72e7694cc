"""The embedded broker of the demonstration: what our sink writes, our source reads."""

import asyncio
import struct
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from esp.errors import StartError
from esp.runtime.connect import connection, open_sink
from esp.runtime.events import raw_block
from esp.runtime.headers import decode_headers, encode_headers
from tests.runtime.kafka.members import Member

pytest.importorskip("confluent_kafka")
from esp.demo.broker import EmbeddedBroker


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        broker.create_topic("t", 3)
        yield broker


def test_records_go_through_the_embedded_broker(embedded: EmbeddedBroker) -> None:
    async def run() -> None:
        sink = open_sink(connection({"connector": "kafka", "topic": "t", "brokers": embedded.bootstrap}, "q"), where="q")
        await sink.start()
        for partition in range(3):
            await sink.send(raw_block([b"%d" % i for i in range(1000)], partition=partition))
        await sink.flush()
        await sink.stop()
        async with Member(embedded.bootstrap, "t") as member:
            read = sorted(record[:4:3] for record in await member.read(3000))
            assert read == sorted((partition, b"%d" % i) for partition in range(3) for i in range(1000))
            await member.commit()
            assert await member.source.lag() == {0: 0, 1: 0, 2: 0}

    asyncio.run(run())


def test_a_topic_is_made_once(embedded: EmbeddedBroker) -> None:

    with pytest.raises(StartError, match="did not make the topic 't'"):
        embedded.create_topic("t", 2)


def test_a_topic_that_nobody_made_is_missed(embedded: EmbeddedBroker) -> None:
    async def run() -> None:
        async with Member(embedded.bootstrap, "other"):
            pass

    with pytest.raises(StartError, match="there is no topic 'other'"):
        asyncio.run(run())


@pytest.mark.parametrize(("records", "name"), [("columns", "x\udcff\udcfey"), ("client", "x??y")])
def test_a_header_name_that_is_no_text_ends_no_stream(embedded: EmbeddedBroker, records: str, name: str) -> None:
    odd = encode_headers([("x\udcff\udcfey", b"h")])

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap)
        await producer.start()
        for name in ("good", "x??y", "more"):
            batch = producer.create_batch()
            for i in range(3):
                batch.append(timestamp=1, key=None, value=b"%d" % i, headers=[(name if i == 1 else "a", b"h")])
            whole = batch._builder.build().replace(b"??", b"\xff\xfe")
            struct.pack_into(">I", whole, 17, calc_crc32c(whole[21:]))  # the checksum of a batch, and what it is of
            batch._build = lambda whole=whole: bytes(whole)
            await (await producer.send_batch(batch, "t", partition=0))
        await producer.stop()

    async def run() -> None:
        await produce()
        sink = open_sink(
            connection({"connector": "kafka", "topic": "t", "brokers": embedded.bootstrap, "records": records}, "q"), where="q"
        )
        await sink.start()
        async with Member(embedded.bootstrap, "t", records=records) as member:
            read = [(record[1], record[3], record[4]) for record in await member.read(9)]
            assert [record[:2] for record in read] == [(i, b"%d" % (i % 3)) for i in range(9)]
            assert read[4][2] == odd
            await sink.send(raw_block([b"v"], headers=[odd]))
            await sink.flush()
            assert decode_headers((await member.read(10))[-1][4]) == [(name, b"h")]
        await sink.stop()

    asyncio.run(run())
