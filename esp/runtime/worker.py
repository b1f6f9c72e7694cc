"""The worker thread of a query: it owns the tasks and does everything between a fetch and a send."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter, thread_time, time
from typing import Any, TypeVar, cast

from esp.errors import EspError
from esp.runtime.channels import Bounds, FromWorker, ToWorker
from esp.runtime.costs import Costs
from esp.runtime.dead_letters import posted
from esp.runtime.events import DeadBlock, RawBlock, joined
from esp.runtime.meters import QueryMeter
from esp.runtime.task import DEAD, Outputs, Task
from esp.runtime.unread import Damage, Moved, Unread, Unwanted

R = TypeVar("R")
TAKE_BATCHES = 4  # of max_batch events, that the worker takes at once
LIGHT_S, LIGHT_BYTES = 1e-3, 64 << 10  # what the event loop works off itself, when the worker has nothing to do


@dataclass(frozen=True, slots=True)
class _Records:
    source: str
    raw: RawBlock | Unread | Moved
    at_s: float


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[], Any]
    done: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class Barrier:
    """A mark in the outputs: all that was put before it must be acknowledged when ``reached`` is set.

    What was put behind it is not sent before ``passed`` is set: it belongs to the next transaction.
    """

    reached: "asyncio.Future[None]"
    passed: asyncio.Event


Output = tuple[str, Any, Any] | Barrier  # sink window, block, the task's outlet


class Worker:
    """Runs the tasks of one query in a thread of its own; everything reaches it through one channel, in order."""

    def __init__(
        self, name: str, bounds: Bounds, max_batch: int, meter: QueryMeter, clock: Callable[[], float] = time
    ) -> None:  # fmt: skip
        self.tasks: dict[tuple[str, int], Task] = {}  # (source, partition); changed by the worker thread alone
        self.name, self.bounds, self.max_batch, self.meter = name, bounds, max_batch, meter
        self.clock = clock  # the latency of records is told by it
        self.waiting: frozenset[str] = frozenset()  # sources that may wait for others as they read: never on the loop
        self.unwanted: set[tuple[str, int]] = set()  # tasks that go: what waits for them is not worked off
        self.thread: threading.Thread | None = None
        self._costs: defaultdict[str, Costs] = defaultdict(Costs)  # by source
        self._is_broken = self._is_here = False
        self._current = ("", -1)  # the task whose records are worked off

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.inbox: ToWorker[_Records | _Call] = ToWorker(self.bounds, loop)
        self.outbox: FromWorker[Output] = FromWorker(self.bounds, loop)
        self.failed: asyncio.Future[None] = loop.create_future()
        self.thread = threading.Thread(target=self._run, name=f"esp-{self.name}", daemon=True)
        self.thread.start()

    def works_in_vain(self) -> bool:
        """Whether the task whose records are worked off goes."""
        return self._current in self.unwanted

    async def watch(self) -> None:
        """Raises what made the thread end, if something does."""
        await asyncio.shield(self.failed)

    async def put(self, source: str, raws: "Sequence[RawBlock | Unread | Moved]") -> None:
        """Hands over records, a block each partition; look at ``inbox.room`` before fetching more.

        What is known to be light, while the worker has nothing to do, is worked off here and now, and the loop gets its turn after
        each: two hand-overs from thread to thread would take longer than the work.
        """
        for raw in raws:
            item = _Records(source, raw, perf_counter())
            if self._is_light(source, raw) and self._work_here(item):
                await asyncio.sleep(0)
            else:
                self.inbox.put(item, len(raw), raw.size_bytes)

    def _is_light(self, source: str, raw: RawBlock | Unread | Moved) -> bool:
        if source in self.waiting or self._is_broken or self.outbox.is_full:
            return False
        return raw.size_bytes <= LIGHT_BYTES and self._costs[source].of(len(raw)) < LIGHT_S

    def _work_here(self, item: _Records) -> bool:
        """Works records off in the loop's thread, unless the worker is at work."""
        with self.inbox.kept() as is_idle:
            if not is_idle:
                return False
            self._is_here = True
            try:
                self._records((item.source, item.raw.partition), [item])
            except Exception as err:
                self._is_broken = True
                _set_exception(self.failed, err)
            finally:
                self._is_here = False
            return True

    async def call(self, function: Callable[[], R]) -> R:
        """Runs a function in the worker thread, between two blocks, after everything that was put before it.

        A function that fails ends the worker, for it may have left a task half-way. Raises what ended it, EspError once stopped.
        """
        done: asyncio.Future[Any] = self.loop.create_future()
        self.inbox.put(_Call(function, done))
        try:
            await asyncio.wait((done, self.failed), return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                if self.failed.cancelled():
                    raise EspError(f"query '{self.name}' has ended", mend="start it again")
                self.failed.result()
            return cast(R, done.result())
        finally:
            done.cancel()

    def close(self) -> None:
        """Lets the thread end, and tells those that wait for an answer; what nobody will send any more is dropped."""
        if self.thread is not None:
            self.outbox.close()
            self.inbox.close()
            if not self.failed.cancel() and not self.failed.cancelled():
                self.failed.exception()  # it has been told, or everything ends anyway

    async def stop(self) -> None:
        """Closes, and waits until the thread has ended."""
        self.close()
        if self.thread is not None:
            await asyncio.to_thread(self.thread.join)

    def _run(self) -> None:
        try:
            while (items := self.inbox.take(TAKE_BATCHES * self.max_batch)) and not (self.outbox.is_closed or self._is_broken):
                for is_call, group in groupby(items, lambda item: isinstance(item, _Call)):
                    if is_call:
                        for item in group:
                            self._answer(cast(_Call, item))
                    else:
                        for key, some in _by_task(group).items():
                            self._records(key, some)
        except BaseException as err:
            self._post(_set_exception, self.failed, err)

    def answer(self, future: "asyncio.Future[R]", result: R) -> None:
        """Sets the result of one of the loop's futures, from the worker thread."""
        self._post(_set_result, future, result)

    def _answer(self, call: _Call) -> None:
        try:
            self._post(_set_result, call.done, call.function())
        except Exception as err:
            self._post(_set_exception, call.done, err)
            raise

    def _records(self, key: tuple[str, int], items: list[_Records]) -> None:
        """Reads records of one task and works them off; small blocks are joined, for many would cost more than they hold."""
        task = self.tasks.get(key)
        if task is None:
            return  # the partition has gone to another process, which reads these records itself
        small: list[RawBlock] = []
        start_s, self._current = thread_time(), key
        for item in items:
            if key in self.unwanted:
                return
            self.meter.queue.add(perf_counter() - item.at_s, len(item.raw))
            for found in task.reader.read(item.raw):
                if isinstance(found, Damage):
                    self._process(key, task, small)
                    if key in self.unwanted:
                        return
                    self.emit(task.give_up(found), task.outlet)
                elif isinstance(found, Moved):
                    self._process(key, task, small)
                    if key in self.unwanted:
                        return
                    task.move_to(found.offset)
                elif len(found):
                    if sum(map(len, small)) + len(found) > self.max_batch:
                        self._process(key, task, small)
                    small.append(found)
        self._process(key, task, small)
        self._costs[key[0]].add(sum(len(item.raw) for item in items), thread_time() - start_s)

    def _process(self, key: tuple[str, int], task: Task, blocks: list[RawBlock]) -> None:
        """Runs blocks through the task as one, and forgets them."""
        if not blocks:
            return
        whole = joined(blocks)
        blocks.clear()
        for start in range(0, len(whole), self.max_batch):
            if key in self.unwanted:
                return
            raw = whole if len(whole) <= self.max_batch else whole.take(slice(start, start + self.max_batch))
            self.meter.batch.add(len(raw))
            try:
                self.emit(task.process(raw), task.outlet)
            except Unwanted:
                return
            self.meter.latency.add_ages(raw.ts_ms, self.clock() * 1e3)

    def emit(self, outputs: Outputs, outlet: Any = None) -> None:
        """Hands outputs over to the sender; in the worker thread it waits while too much is on its way."""
        put = self.outbox.put_here if self._is_here else self.outbox.put
        dead: list[DeadBlock] = []
        for sink, block in outputs:
            if isinstance(block, DeadBlock):
                dead.append(block)
            else:
                put((sink, block, outlet), len(block), block.size_bytes)
        if dead:
            letters = posted(dead, self.name)
            put((DEAD, letters, outlet), len(letters), letters.size_bytes)

    def _post(self, function: Callable[..., None], *args: Any) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function, *args)


def _by_task(items: "Iterable[_Records | _Call]") -> dict[tuple[str, int], list[_Records]]:
    """The records that wait, by source and partition."""
    waiting: dict[tuple[str, int], list[_Records]] = {}
    for item in items:
        assert isinstance(item, _Records)
        waiting.setdefault((item.source, item.raw.partition), []).append(item)
    return waiting


def _set_result(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: "asyncio.Future[Any]", err: BaseException) -> None:
    if not future.done():
        future.set_exception(err)
