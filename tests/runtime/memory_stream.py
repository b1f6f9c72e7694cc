"""The small query over topics in memory, run and stopped from a test."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esp.runtime.connect import MemoryTopic
from esp.runtime.connect import memory as memory_connector
from esp.runtime.query import Query, load_query
from esp.runtime.runner import QueryRunner
from tests.runtime import streams

PARTITIONS = 3


@dataclass
class Stream:
    """A query over topics in memory, its state in a folder; it may be run again and again."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    name: str = "motion"
    tag: str = "t"
    sent: list[streams.Event] = field(default_factory=list)

    def topic(self, name: str) -> MemoryTopic:
        return memory_connector.TOPICS.setdefault(f"{self.tag}.{name}", MemoryTopic(f"{self.tag}.{name}", PARTITIONS))

    def send(self, made: list[streams.Event]) -> None:
        """Appends events, about ten a block."""
        for first in range(0, len(made), 30):
            for number in range(PARTITIONS):
                part = [event for event in made[first : first + 30] if streams.partition_of(event["device"], PARTITIONS) == number]
                self.topic("events").append([streams.value(event) for event in part], partition=number)
        self.sent += made

    async def all_committed(self, stopping: asyncio.Event) -> None:
        """Until the group has committed all that was sent."""
        await until(lambda: self.committed == self.ends)

    def query(self) -> Query:
        return load_query(streams.query_file(self.folder, streams.memory(self.tag, PARTITIONS), name=self.name, **self.options))

    def runner(self) -> QueryRunner:
        return QueryRunner(self.query(), self.folder / "state")

    def values(self, name: str) -> list[bytes | None]:
        return self.topic(name).values()

    def check(self, is_ended: bool, is_once: bool = False) -> None:
        wanted = streams.expected(self.sent, PARTITIONS, is_ended)
        streams.check(wanted, self.values("scores"), self.values("tallies"), self.values("late"), is_once)

    @property
    def committed(self) -> dict[int, int]:
        return self.topic("events").commits.get(self.name, {})

    @property
    def ends(self) -> dict[int, int]:
        return {number: log.next_offset for number, log in enumerate(self.topic("events").logs) if log.next_offset}


async def while_running(runner: QueryRunner, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs the query beside some work, which gets the event that stops it; the query stops at the latest when the work is done."""
    stopping = asyncio.Event()
    running = asyncio.create_task(runner.run(stopping))
    working = asyncio.ensure_future(work(stopping))
    try:
        async with asyncio.timeout(300):
            await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            await working
            stopping.set()
            await running
    finally:
        working.cancel()
        running.cancel()
        await asyncio.gather(working, running, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    """Looks again and again, for what gives no sign."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.002)
