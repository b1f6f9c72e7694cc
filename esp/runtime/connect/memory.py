"""The memory connector: topics that live in this process, for tests and for programs that embed the engine."""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pydantic

from esp.errors import TransportError
from esp.runtime.connector import Assigned, Connection, Revoked
from esp.runtime.events import I64, RawBlock, raw_block
from esp.runtime.peer import FINE


@dataclass(slots=True)
class _Log:
    """One partition: its blocks in offset order, and the offset that comes next."""

    blocks: list[RawBlock] = field(default_factory=list)
    next_offset: int = 0

    def append(self, block: RawBlock) -> None:
        offsets = np.arange(self.next_offset, self.next_offset + len(block), dtype=np.int64)
        self.blocks.append(replace(block, offset=offsets))
        self.next_offset += len(block)

    def read(self, offset: int, limit: int) -> RawBlock | None:
        """The rest of the block that holds ``offset``, at most ``limit`` records."""
        place = bisect_right(self.blocks, offset, key=lambda block: block.next_offset)
        if place == len(self.blocks):
            return None
        first = max(0, offset - int(self.blocks[place].offset[0]))
        return self.blocks[place].take(slice(first, first + limit))

    def drop_before(self, offset: int) -> None:
        while self.blocks and self.blocks[0].next_offset <= offset:
            self.blocks.pop(0)


class MemoryTopic:
    """A log in memory: whoever embeds the engine appends to it and reads what a sink has left in it.

    ``ended`` tells a source that nothing follows. Commits are kept a group, as a broker would. With ``retain`` off, blocks
    that a source has committed are let go.
    """

    def __init__(self, name: str, partitions: int = 1, *, retain: bool = True) -> None:
        self.name, self.retain, self.ended = name, retain, False
        self.logs = [_Log() for _ in range(partitions)]
        self.commits: dict[str, dict[int, int]] = {}
        self._waiters: set[asyncio.Event] = set()

    def append(
        self, values: Sequence[bytes | None], *, partition: int = 0, keys: Sequence[bytes | None] | None = None,
        headers: Sequence[bytes] | None = None, ts_ms: "Sequence[int] | I64 | None" = None,
    ) -> None:  # fmt: skip
        """Adds records at the end of a partition."""
        self.append_block(raw_block(values, topic=self.name, partition=partition, keys=keys, headers=headers, ts_ms=ts_ms))

    def append_block(self, block: RawBlock) -> None:
        """Adds the records of a block to its partition (modulo the partitions here); their offsets are given here."""
        if not len(block):
            return
        partition = block.partition % len(self.logs)
        self.logs[partition].append(replace(block, topic=self.name, partition=partition))
        self.wake()

    def end(self) -> None:
        """Says that no more comes."""
        self.ended = True
        self.wake()

    def blocks(self) -> list[RawBlock]:
        """All that the topic holds, partition by partition."""
        return [block for log in self.logs for block in log.blocks]

    def values(self) -> list[bytes | None]:
        """The values of all records, partition by partition."""
        return [block.value(row) for block in self.blocks() for row in range(len(block))]

    def wake(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    def watch(self, waiter: asyncio.Event) -> None:
        self._waiters.add(waiter)

    def unwatch(self, waiter: asyncio.Event) -> None:
        self._waiters.discard(waiter)


TOPICS: dict[str, MemoryTopic] = {}  # the topics of this process by name


class MemoryConnection(Connection):
    """A topic of this process, made when it is first named; ``MemoryConnection.log`` gives it."""

    source_only = frozenset({"bounded", "max_records"})

    connector: Literal["memory"]
    topic: str = pydantic.Field(min_length=1, description="name of the topic in this process")
    partitions: int = pydantic.Field(1, ge=1, le=4096, description="partitions of a topic that is not there yet")
    retain: bool = pydantic.Field(True, description="keep what has been committed")
    bounded: bool = pydantic.Field(True, description="the source ends where the topic was ended")
    max_records: int = pydantic.Field(4096, ge=1, description="records in a block, at most")

    @property
    def has_one_partition(self) -> bool:
        return len(self.log.logs) == 1

    @property
    def log(self) -> MemoryTopic:
        """The topic itself."""
        if self.topic not in TOPICS:
            TOPICS[self.topic] = MemoryTopic(self.topic, self.partitions, retain=self.retain)
        return TOPICS[self.topic]


class MemorySource:
    """Reads all partitions of a memory topic."""

    peer = FINE
    identity = ""
    handover_s: float | None = None

    def __init__(self, settings: MemoryConnection, group: str = "", where: str = "") -> None:
        self.topic, self.bounded, self.where = settings.log, settings.bounded, where
        self.group, self.max_records = group, settings.max_records
        self._position: dict[int, int] = {}
        self._paused: set[int] = set()
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.bounded and self.topic.ended and not any(self._lags().values())

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        self.topic.watch(self._news)
        answers = await assigned(set(range(len(self.topic.logs))))
        committed = self.topic.commits.get(self.group, {})
        for partition in range(len(self.topic.logs)):
            offset = answers.get(partition)
            self._position[partition] = committed.get(partition, 0) if offset is None else offset
            self._check_start(partition)

    def _check_start(self, partition: int) -> None:
        blocks, offset = self.topic.logs[partition].blocks, self._position[partition]
        if blocks and offset < int(blocks[0].offset[0]):
            raise TransportError(
                f"offset {offset} is gone, the first one is {blocks[0].offset[0]}",
                where=f"{self.where}: {self.topic.name}/{partition}",
                mend="set retain = true",
            )

    async def poll(self, timeout_s: float) -> list[RawBlock]:
        self._news.clear()
        found = self._take()
        if not found and not self.ended:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return []
            found = self._take()
        return found

    def _take(self) -> list[RawBlock]:
        found = []
        for partition in self._readable():
            block = self.topic.logs[partition].read(self._position[partition], self.max_records)
            if block is not None:
                self._position[partition] = block.next_offset
                found.append(block)
        return found

    def _readable(self) -> Iterable[int]:
        return (partition for partition in self._position if partition not in self._paused)

    def pause(self, partitions: Set[int]) -> None:
        self._paused |= partitions

    def resume(self, partitions: Set[int]) -> None:
        self._paused -= partitions
        self._news.set()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        self.topic.commits.setdefault(self.group, {}).update(offsets)
        if not self.topic.retain:
            for partition, offset in offsets.items():
                self.topic.logs[partition].drop_before(offset)

    async def unmoved(self, partitions: Set[int]) -> dict[int, int | None]:
        return {}

    async def lag(self) -> dict[int, int]:
        return self._lags()

    def _lags(self) -> dict[int, int]:
        return {partition: self.topic.logs[partition].next_offset - offset for partition, offset in self._position.items()}

    async def stop(self) -> None:
        self.topic.unwatch(self._news)


class MemorySink:
    """Appends to a memory topic."""

    peer = FINE

    def __init__(self, settings: MemoryConnection, where: str = "") -> None:
        self.topic = settings.log

    async def start(self) -> None:
        pass

    async def send(self, block: RawBlock) -> None:
        self.topic.append_block(block)

    async def flush(self) -> None:
        pass

    async def stop(self) -> None:
        pass
