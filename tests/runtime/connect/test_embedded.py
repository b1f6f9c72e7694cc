"""The embedded broker of the demonstration: what our sink writes, our source reads."""

import asyncio
from collections.abc import Iterator

import pytest

from esp.errors import StartError
from esp.runtime.connect import connection, open_sink
from esp.runtime.events import raw_block
from tests.runtime.connect.members import Member

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
