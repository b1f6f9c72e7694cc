"""Durability: checkpoints take state and offsets at one point of the stream, wait for its outputs, and make both last."""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Protocol, TypeVar, cast

from esp.errors import EspError, FencedError, StateError, TransportError
from esp.runtime.connect import Connection, FileConnection, KafkaConnection, MemoryConnection, Source
from esp.runtime.connector import ELSEWHERE
from esp.runtime.events import RawBlock
from esp.runtime.kafka.ledger import Ledger
from esp.runtime.kafka.source import KafkaSource
from esp.runtime.marks import Marks
from esp.runtime.query import Query
from esp.runtime.state.chain import Checkpoint, Link
from esp.runtime.state.checkpoint import CheckpointStore
from esp.runtime.state.progress import Restore
from esp.runtime.state.tables import Tables
from esp.runtime.worker import Barrier, Worker

log = logging.getLogger("esp.durability")
T = TypeVar("T")
TaskKey = tuple[str, int]  # source, partition


class Outlet(Protocol):
    """Takes the outputs of one task in the place of the sinks."""

    async def send(self, name: str, block: RawBlock) -> None: ...


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a checkpoint will hold of one task."""

    key: TaskKey
    steps: int
    next_offset: int
    tables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Cut:
    """One point of the stream: the tasks that are there, and the state of those that have moved on."""

    keys: list[TaskKey]
    taken: list[_Snapshot]


class Durability:
    """The checkpoints of a query's tasks, one store a source.

    At-least-once: outputs are acknowledged before the state that made them is written, and that before its offsets are
    committed. So what a crash takes away is made again from the state and the offsets that belong together.
    ``failure`` is why the last checkpoint could not be written, until one can.
    """

    def __init__(self, query: Query, state_dir: Path) -> None:
        self.name = query.name
        folder = state_dir / query.name / "sources"
        self.stores = {
            source: CheckpointStore(
                folder / source, query.name, query.fingerprint(source), origin(query.windows[source].connection)
            )
            for source in query.sources
        }
        self.stateless: set[str] = set()  # sources behind which no window keeps anything
        self.ledgers: dict[str, Ledger] = {}  # of the sources whose tasks are kept in Kafka
        self.marks = Marks(query.name, {source: query.downstream(source) for source in query.sources})
        self.restores: dict[TaskKey, Restore] = {}
        self.count = 0
        self.failure: StateError | None = None
        self._identities: dict[TaskKey, str] = {}  # of the topic that each task's offsets count
        self._steps: dict[TaskKey, int] = {}  # how far each task was at its last checkpoint
        self._offsets: dict[TaskKey, int] = {}  # the offset of each task's last checkpoint
        self._durable: dict[TaskKey, int] = {}  # the offset that each task would go on from, were it restored now
        self._committed: dict[TaskKey, int] = {}
        self._unsaved: set[TaskKey] = set()  # dumped, and not on disk: changes alone are not enough for the next dump
        self._awaited: Barrier | None = None
        self._is_abandoned = False
        self._one_at_a_time = asyncio.Lock()

    def open(self, is_fresh: bool) -> None:
        """Keeps other engines off this state; StateError when one has it. ``is_fresh`` forgets what is there."""
        for store in self.stores.values():
            store.lock()
            if is_fresh:
                store.clear()

    def close(self) -> None:
        for store in self.stores.values():
            store.unlock()

    async def restore(self, key: TaskKey, source: Source) -> tuple[Tables, int | None]:
        """The state of a task and the offset that it equals; empty and None where there is no checkpoint, ELSEWHERE where it is of another topic.

        What is kept in Kafka is fenced first, so that the owner before can change it no more.
        """
        name, partition = key
        self._unsaved.discard(key)
        self._committed.pop(key, None)
        self._offsets.pop(key, None)
        self._durable.pop(key, None)
        self._steps[key], self._identities[key] = 0, source.identity
        progress, begin = self.restores.setdefault(key, Restore()), monotonic()
        try:
            tables, offset = await self._restore(key, source, progress)
            await self._mark(key, source)
        finally:
            progress.seconds, progress.is_done = monotonic() - begin, True
        if progress.way:
            line = "query %s source %s: partition %d is restored from %s: offset %s, %d rows, %d bytes in %.1f s"
            size = progress.done_bytes
            log.info(line, self.name, name, partition, progress.way, offset, len(tables), size, progress.seconds)
        return tables, offset

    async def _mark(self, key: TaskKey, source: Source) -> None:
        """Looks by which models the partition was scored before it came."""
        if self.marks.of(key[0]) and isinstance(source, KafkaSource):
            offset, metadata = await source.committed(key[1]) or (0, "")
            self.marks.take(key, metadata, offset)

    async def _restore(self, key: TaskKey, source: Source, progress: Restore) -> tuple[Tables, int | None]:
        name, partition = key
        if name in self.ledgers:
            found = await self.ledgers[name].take(partition, cast(KafkaSource, source), progress)
        else:
            found = await asyncio.to_thread(self.stores[name].restore, partition, progress)
        if found is None:
            return Tables(), None
        if source.identity and found.identity and found.identity != source.identity:
            return found.tables, ELSEWHERE
        offset = self._durable[key] = await self._furthest(key, source, found.offsets[key])
        if name not in self.ledgers:
            progress.way, self._offsets[key] = "local disk", offset
        return found.tables, offset

    async def _furthest(self, key: TaskKey, source: Source, offset: int) -> int:
        """Where windows keep nothing, what another engine has worked off and committed since need not be worked off again."""
        if key[0] not in self.stateless or not isinstance(source, KafkaSource):
            return offset
        committed = await source.committed(key[1])
        return offset if committed is None else max(offset, committed[0])

    def outlet(self, key: TaskKey) -> Outlet | None:
        """Where the outputs of a task go, where that is not to the sinks themselves."""
        ledger = self.ledgers.get(key[0])
        return None if ledger is None else ledger.producer(key[1])

    async def flush(self) -> None:
        """Returns when all outputs that outlets took are acknowledged."""
        await asyncio.gather(*(ledger.flush() for ledger in self.ledgers.values()))

    def is_lost(self, key: TaskKey) -> bool:
        """Whether another engine has taken over a task that is still held here."""
        return key[0] in self.ledgers and self.ledgers[key[0]].is_lost(key[1])

    def settle(self) -> None:
        """The first tasks are there: those that come later have their state from other engines, and none begins afresh."""
        for ledger in self.ledgers.values():
            ledger.is_fresh = False

    async def release(self, keys: Collection[TaskKey]) -> None:
        """Lets tasks go that have been closed."""
        self.marks.forget(keys)
        for name, ledger in self.ledgers.items():
            await ledger.release([partition for source, partition in keys if source == name])

    async def close_ledgers(self) -> None:
        await asyncio.gather(*(ledger.close() for ledger in self.ledgers.values()), return_exceptions=True)

    def offset(self, key: TaskKey) -> int | None:
        """The offset of a task's last checkpoint."""
        return self._durable.get(key)

    async def checkpoint(self, worker: Worker, sources: Mapping[str, Source], keys: Collection[TaskKey] | None = None) -> None:
        """Makes durable what has been worked off, of some tasks or all.

        Raises StateError when it cannot be written (the state before stands, the next one takes all in), TransportError when
        the outputs cannot be confirmed.
        """
        async with self._one_at_a_time:
            barrier = Barrier(asyncio.get_running_loop().create_future(), asyncio.Event())
            try:
                cut = await worker.call(partial(self._cut, worker, barrier, keys))
                await self._save(barrier, cut.taken)
            finally:
                barrier.passed.set()
            await self._commit(sources, cut.keys)

    async def checkpoint_then(self, worker: Worker, sources: Mapping[str, Source], then: Callable[[], None]) -> None:
        """The same of all tasks, and ``then`` runs in the worker at that very point of the stream, once it is durable and committed.

        Nothing is worked off between; so a restart finds either the state before with what stood then, or this state with what
        ``then`` has made of it. If anything fails before, ``then`` does not run. Where ``then`` raises EspError or OSError, it
        must have changed nothing: that is raised here, and the stream goes on.
        """
        async with self._one_at_a_time:
            loop, verdict = asyncio.get_running_loop(), SimpleQueue[bool]()
            cut: asyncio.Future[_Cut] = loop.create_future()
            barrier = Barrier(loop.create_future(), asyncio.Event())

            def stand() -> EspError | OSError | None:
                worker.answer(cut, self._cut(worker, barrier, None))
                try:
                    if verdict.get():
                        then()
                except (EspError, OSError) as err:
                    return err  # raised in here it would end the worker
                return None

            standing = asyncio.create_task(worker.call(stand))
            try:
                either: list[asyncio.Future[Any]] = [standing, cut]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    await self._save(barrier, cut.result().taken)
                    await self._commit(sources, cut.result().keys)
                    verdict.put(True)
                failure = await standing
            finally:
                barrier.passed.set()
                verdict.put(False)  # where it has been decided already, nobody asks again
                await asyncio.gather(standing, return_exceptions=True)
            if failure is not None:
                raise failure

    def abandon(self) -> None:
        """Nothing is sent any more: tells it to whoever waits for outputs to be acknowledged, now or later."""
        self._is_abandoned = True
        if self._awaited is not None and not self._awaited.reached.done():
            self._awaited.reached.set_exception(self._ended())

    def _ended(self) -> EspError:
        return TransportError(f"query '{self.name}' has ended, and its last outputs were not confirmed", mend="start it again")

    def _cut(self, worker: Worker, barrier: Barrier, keys: Collection[TaskKey] | None) -> _Cut:
        """Runs in the worker: copies the state of the tasks that have moved on, and marks the place in the outputs."""
        there = {key: task for key, task in worker.tasks.items() if keys is None or key in keys}
        taken = []
        for key, task in there.items():
            ledger = self.ledgers.get(key[0])
            if task.steps == self._steps[key] and not (ledger is not None and ledger.is_astray(key[1])):
                continue
            store = ledger or self.stores[key[0]]
            changed_only = key not in self._unsaved and store.wants_changes(key[1])
            self._unsaved.add(key)
            taken.append(_Snapshot(key, task.steps, task.next_offset, task.tables.dump(changed_only)))
        worker.outbox.put(barrier)
        return _Cut(list(there), taken)

    async def _save(self, barrier: Barrier, taken: list[_Snapshot]) -> None:
        if self._is_abandoned:
            raise self._ended()
        self._awaited = barrier
        await barrier.reached
        self._awaited = None
        links = await asyncio.gather(*(self._transact(snapshot) for snapshot in taken if snapshot.key[0] in self.ledgers))
        barrier.passed.set()
        here = [snapshot for snapshot in taken if snapshot.key[0] not in self.ledgers]
        try:
            await _to_the_end(self._write, here)
        except StateError as err:
            self.failure = err
            raise
        self.failure = None
        self.count += bool(here or any(links))
        await _to_the_end(self._mirror, [link for link in links if link is not None])

    async def _transact(self, snapshot: _Snapshot) -> tuple[TaskKey, Link | None] | None:
        """One transaction of a task; None when it is no longer ours."""
        (source, partition), key = snapshot.key, snapshot.key
        try:
            link = await self.ledgers[source].commit(partition, self._checkpoint_of(snapshot))
        except FencedError:
            return None
        self._unsaved.discard(key)
        self._steps[key], self._durable[key] = snapshot.steps, snapshot.next_offset
        return key, link

    def _checkpoint_of(self, snapshot: _Snapshot) -> Checkpoint:
        key = snapshot.key
        return Checkpoint({key: snapshot.next_offset}, snapshot.tables, self._identities.get(key, ""), self.marks.of(key[0]))

    def _mirror(self, links: list[tuple[TaskKey, Link | None]]) -> None:
        """Keeps on local disk what has been committed, for a quick restart; where that fails nothing is lost."""
        for (source, partition), link in links:
            if link is None:
                continue
            try:
                self.stores[source].mirror(partition, link)
            except StateError as err:
                log.warning("query %s: a restart will read the changelog: %s", self.name, err)

    def _write(self, taken: list[_Snapshot]) -> None:
        for snapshot in taken:
            source, partition = key = snapshot.key
            self.stores[source].save(partition, self._checkpoint_of(snapshot))
            self._unsaved.discard(key)
            self._steps[key], self._offsets[key] = snapshot.steps, snapshot.next_offset
            self._durable[key] = snapshot.next_offset

    async def _commit(self, sources: Mapping[str, Source], keys: Collection[TaskKey]) -> None:
        """Commits the offsets of checkpoints that the group does not know yet, those found at a restart among them."""
        due = {key: offset for key in keys if (offset := self._offsets.get(key)) is not None and self._committed.get(key) != offset}
        for name in {source for source, _ in due}:
            if isinstance(source := sources[name], KafkaSource):
                source.says = self.marks.text(name)
            await sources[name].commit({partition: offset for (source, partition), offset in due.items() if source == name})
        self._committed |= due


async def _to_the_end(work: Callable[[T], None], items: T) -> None:
    """Runs what uses a store in a thread; who is cancelled meanwhile still waits, for nobody else may use the store before."""
    working = asyncio.ensure_future(asyncio.to_thread(work, items))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.gather(working, return_exceptions=True)
        raise


def origin(connection: Connection | None) -> str:
    """Where a source's records come from, so far as offsets count them: the address of a broker may change, its topic may not."""
    match connection:
        case FileConnection():
            return f"file:{os.path.abspath(connection.path)}"
        case KafkaConnection() | MemoryConnection():
            return f"{connection.connector}:{connection.topic}"
    return ""
