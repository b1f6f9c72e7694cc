"""The memory connector: topics of this process behave as a broker's would."""

import asyncio
import uuid

import pytest

from esp.errors import TransportError
from esp.runtime.connect import MemoryConnection, MemoryTopic, Source, connection, open_sink, open_source
from esp.runtime.events import raw_block


def made(**settings: object) -> MemoryConnection:
    found = connection({"connector": "memory", "topic": uuid.uuid4().hex, **settings}, "q")
    assert isinstance(found, MemoryConnection)
    return found


async def started(settings: MemoryConnection, group: str = "g", offsets: dict[int, int | None] | None = None) -> Source:
    source = open_source(settings, group=group, where="q")

    async def assigned(partitions: set[int]) -> dict[int, int | None]:
        return dict.fromkeys(partitions) | (offsets or {})

    async def revoked(partitions: set[int]) -> None:
        raise AssertionError(partitions)

    await source.start(assigned, revoked)
    return source


async def drained(source: Source) -> list[tuple[int, int, bytes | None]]:
    found = []
    while not source.ended:
        for block in await source.poll(1.0):
            found += [(block.partition, int(block.offset[row]), block.value(row)) for row in range(len(block))]
    return found


def fill(topic: MemoryTopic) -> None:
    topic.append([b"a", b"b"], partition=0)
    topic.append([b"c", None], partition=1, keys=[b"k", None])
    topic.append([b"d"], partition=0)


def test_all_partitions_are_read_to_the_end() -> None:
    async def run() -> None:
        settings = made(partitions=2, max_records=1)
        fill(settings.log)
        settings.log.end()
        found = await drained(await started(settings))
        assert sorted(found, key=lambda row: row[:2]) == [(0, 0, b"a"), (0, 1, b"b"), (0, 2, b"d"), (1, 0, b"c"), (1, 1, None)]

    asyncio.run(run())


def test_a_group_goes_on_from_its_commit_unless_told_otherwise() -> None:
    async def run() -> None:
        settings = made(partitions=2)
        fill(settings.log)
        settings.log.end()
        first = await started(settings)
        await first.commit({0: 2, 1: 1})
        await first.stop()
        assert await drained(await started(settings)) == [(0, 2, b"d"), (1, 1, None)]
        assert await drained(await started(settings, offsets={0: 1, 1: 2})) == [(0, 1, b"b"), (0, 2, b"d")]
        assert len(await drained(await started(settings, group="other"))) == 5

    asyncio.run(run())


def test_a_source_waits_for_what_comes_later() -> None:
    async def run() -> None:
        settings = made()
        source = await started(settings)
        assert await source.poll(0.01) == []
        waiting = asyncio.create_task(source.poll(30))
        await asyncio.sleep(0)
        settings.log.append([b"late"])
        assert [block.value(0) for block in await waiting] == [b"late"]
        ending = asyncio.create_task(source.poll(30))
        await asyncio.sleep(0)
        settings.log.end()
        assert await ending == []
        assert source.ended

    asyncio.run(run())


def test_a_paused_partition_gives_nothing() -> None:
    async def run() -> None:
        settings = made(partitions=2)
        fill(settings.log)
        source = await started(settings)
        source.pause({0})
        assert [block.partition for block in await source.poll(0.01)] == [1]
        assert await source.lag() == {0: 3, 1: 0}
        source.resume({0})
        assert [block.partition for block in await source.poll(0.01)] == [0]

    asyncio.run(run())


def test_committed_blocks_are_let_go_when_nothing_is_retained() -> None:
    async def run() -> None:
        settings = made(retain=False)
        fill(settings.log)  # one partition: a b | c null | d
        source = await started(settings)
        await source.commit({0: 3})
        assert settings.log.values() == [b"c", None, b"d"]
        with pytest.raises(TransportError, match="offset 0 is gone, the first one is 2"):
            await started(settings, offsets={0: 0})

    asyncio.run(run())


def test_a_sink_keeps_keys_and_partitions() -> None:
    async def run() -> None:
        settings = made(partitions=2)
        sink = open_sink(settings, where="q")
        await sink.start()
        await sink.send(raw_block([b"x", None], partition=3, keys=[None, b"k"], ts_ms=[5, 6]))
        await sink.send(raw_block([], partition=0))
        await sink.flush()
        await sink.stop()
        (block,) = settings.log.blocks()
        assert (block.partition, block.value(0), block.value(1), block.key(0), block.key(1)) == (1, b"x", None, None, b"k")
        assert block.ts_ms.tolist() == [5, 6]
        assert block.offset.tolist() == [0, 1]

    asyncio.run(run())
