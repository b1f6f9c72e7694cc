"""A group member for the Kafka tests: a source with callbacks that remember what they were told."""

from typing import Any

from esp.runtime.connect import Source, connection, open_source
from esp.runtime.events import RawBlock
from esp.runtime.unread import Moved

Record = tuple[int, int, bytes | None, bytes | None, bytes, int]


class Member:
    """Reads a topic; keeps records by partition and offset, and commits what it holds when partitions go."""

    def __init__(
        self, bootstrap: str, topic: str, group: str = "g", offsets: dict[int, int] | None = None, **settings: Any
    ) -> None:
        table = {"connector": "kafka", "topic": topic, "brokers": bootstrap, **settings}
        self.source: Source = open_source(connection(table, "q.toml"), group=group, where="q.toml: windows.in")
        self.offsets = offsets or {}
        self.events: list[tuple[str, set[int]]] = []
        self.partitions: set[int] = set()
        self.records: list[Record] = []
        self.next: dict[int, int] = {}

    async def __aenter__(self) -> "Member":
        await self.source.start(self._assigned, self._revoked)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.source.stop()

    async def _assigned(self, partitions: set[int]) -> dict[int, int | None]:
        self.events.append(("assigned", partitions))
        self.partitions = partitions
        return {partition: self.offsets.get(partition) for partition in partitions}

    async def _revoked(self, partitions: set[int]) -> None:
        self.events.append(("revoked", partitions))
        self.partitions = set()
        await self.commit()

    async def commit(self) -> None:
        await self.source.commit(self.next)
        self.next = {}

    async def step(self, timeout_s: float = 0.2) -> None:
        """One poll."""
        for found in await self.source.poll(timeout_s):
            if isinstance(found, Moved):
                continue
            block = found if isinstance(found, RawBlock) else found.block()
            if not len(block):
                continue
            self.records += rows(block)
            self.next[block.partition] = block.next_offset

    async def read(self, count: int) -> list[Record]:
        """Polls until so many records have come in all."""
        while len(self.records) < count:
            await self.step()
        return self.records


def rows(block: RawBlock) -> list[Record]:
    n = range(len(block))
    return [(block.partition, int(block.offset[i]), block.key(i), block.value(i), block.headers(i), int(block.ts_ms[i])) for i in n]
