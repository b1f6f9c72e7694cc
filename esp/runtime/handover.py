"""Handing partitions over: what waits is thrown away, what was worked off is made durable in time, and what comes back is taken up."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Set
from functools import partial
from time import perf_counter

from esp.errors import StateError
from esp.runtime.connect import Source
from esp.runtime.durability import Durability, TaskKey
from esp.runtime.meters import QueryMeter
from esp.runtime.worker import Worker

log = logging.getLogger("esp.handover")


class Handover:
    """Gives the tasks of partitions up within their source's ``handover_s``, and takes up again those that nobody else has had.

    A rebalance takes all partitions of a source and gives most of them back. So tasks whose state is durable are set aside with
    the offset that it equals; what comes back at once, with that offset as the group's commit, goes on from memory.
    """

    def __init__(
        self, query: str, worker: Worker, durability: Durability, sources: Mapping[str, Source], meter: QueryMeter,
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        self.query, self.worker, self.durability, self.sources, self.meter = query, worker, durability, sources, meter
        self.wake = wake  # lets what waits in the worker look whether its records are still wanted
        self._aside: dict[TaskKey, int] = {}

    async def give_up(self, name: str, partitions: set[int]) -> None:
        """Lets partitions go. Where their state or offsets do not get durable in time, who takes them over goes on from the checkpoint before."""
        keys, start = {(name, number) for number in partitions}, perf_counter()
        self.worker.unwanted |= keys
        self.wake()
        is_saved = await self._save(name, keys)
        letting_go = asyncio.ensure_future(self.worker.call(partial(self._let_go, keys, is_saved)))
        letting_go.add_done_callback(_seen)
        # where it is not saved the worker may be amid a long batch; it lets go behind it, before anything that is put after this
        staying = await letting_go if is_saved else dict[TaskKey, int]()
        self._aside |= staying
        await self.durability.release(keys - staying.keys())
        self.meter.revoked["saved" if is_saved else "unsaved"] += len(partitions)
        self.meter.handover.add(perf_counter() - start)

    async def _save(self, name: str, keys: set[TaskKey]) -> bool:
        budget_s, line = self.sources[name].handover_s, "query %s source %s: partitions %s go without a last checkpoint: %s"
        try:
            async with asyncio.timeout(budget_s):
                await self.durability.checkpoint(self.worker, self.sources, keys)
        except TimeoutError:
            reason = f"it was not done within {budget_s:g} s; who takes them over goes on from the one before"
            log.error(line, self.query, name, sorted(number for _, number in keys), reason)
            return False
        except StateError as err:
            log.error(line, self.query, name, sorted(number for _, number in keys), err)
            return False
        return True

    def _let_go(self, keys: set[TaskKey], is_saved: bool) -> dict[TaskKey, int]:
        """Runs in the worker, behind all that was fetched of the partitions: tells which tasks stay, and closes the others."""
        self.worker.unwanted -= keys
        tasks = self.worker.tasks
        staying = {key: tasks[key].next_offset for key in keys & tasks.keys() if is_saved and self._is_durable(key)}
        self.close(keys - staying.keys())
        return staying

    def _is_durable(self, key: TaskKey) -> bool:
        return self.worker.tasks[key].next_offset == self.durability.offset(key)

    def close(self, keys: set[TaskKey]) -> None:
        """Runs in the worker: ends tasks."""
        for key in keys & self.worker.tasks.keys():
            self.worker.tasks.pop(key).close()

    def leave(self, sources: Set[str]) -> None:
        """Leaves what waits of these sources to the next start, which reads it again."""
        going = {key for key in list(self.worker.tasks) if key[0] in sources} - self.worker.unwanted
        for source in sorted({source for source, _ in going}):
            log.warning("query %s source %s: what waits for its schema is left to the next start", self.query, source)
        self.worker.unwanted |= going
        self.wake()

    async def lose(self, key: TaskKey) -> None:
        """Closes a task that another engine has taken over: what waits is thrown away, and nothing is saved."""
        self.worker.unwanted.add(key)
        self.wake()
        await self.worker.call(partial(self._let_go, {key}, False))

    async def take_up(self, name: str, partitions: set[int]) -> dict[int, int]:
        """Takes up the tasks that may go on as they were left, and answers their offsets; closes the others that were set aside."""
        aside = {number: offset for (source, number), offset in self._aside.items() if source == name}
        self._aside = {key: offset for key, offset in self._aside.items() if key[0] != name}
        commits = await self.sources[name].unmoved(partitions & aside.keys()) if partitions & aside.keys() else {}
        kept = {
            number: aside[number] for number, offset in commits.items() if self._may_stay((name, number), aside[number], offset)
        }
        if aside:
            gone = aside.keys() - kept.keys()
            await self.worker.call(partial(self._sort, name, set(kept), gone))
            await self.durability.release({(name, number) for number in gone})
        self.meter.assigned["kept"] += len(kept)
        self.meter.assigned["restored"] += len(partitions) - len(kept)
        return kept

    def _may_stay(self, key: TaskKey, left: int, committed: int | None) -> bool:
        """Where offsets go with transactions, the group may show ours a moment late; nobody else can have made one that we do not hear of."""
        return committed == left or (key[0] in self.durability.ledgers and not self.durability.is_lost(key))

    def _sort(self, name: str, kept: set[int], gone: set[int]) -> None:
        self.close({(name, number) for number in gone})
        for number in kept:
            self.worker.tasks[name, number].go_on()


def _seen(future: "asyncio.Future[dict[TaskKey, int]]") -> None:
    """A worker that has ended is told elsewhere."""
    if not future.cancelled():
        future.exception()
