"""Durability: checkpoints take state and offsets at one point of the stream, wait for its outputs, and make both last."""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from esp.errors import EspError, StateError, TransportError
from esp.runtime.connect import Connection, FileConnection, KafkaConnection, MemoryConnection, Source
from esp.runtime.connector import ELSEWHERE
from esp.runtime.query import Query
from esp.runtime.state.checkpoint import Checkpoint, CheckpointStore
from esp.runtime.state.tables import Tables
from esp.runtime.worker import Barrier, Worker

TaskKey = tuple[str, int]  # source, partition


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
        self.count = 0
        self.failure: StateError | None = None
        self._identities: dict[TaskKey, str] = {}  # of the topic that each task's offsets count
        self._steps: dict[TaskKey, int] = {}  # how far each task was at its last checkpoint
        self._offsets: dict[TaskKey, int] = {}  # the offset of each task's last checkpoint
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

    def restore(self, key: TaskKey, identity: str = "") -> tuple[Tables, int | None]:
        """The state of a task and the offset that it equals; empty and None where there is no checkpoint.

        ``identity`` is that of the topic now; ELSEWHERE for the offset where it was another one.
        """
        source, partition = key
        checkpoint, tables = self.stores[source].load(partition), Tables()
        self._unsaved.discard(key)
        self._committed.pop(key, None)
        self._offsets.pop(key, None)
        self._steps[key], self._identities[key] = 0, identity
        if checkpoint is None:
            return tables, None
        tables.load(checkpoint.tables)
        if identity and checkpoint.identity and checkpoint.identity != identity:
            return tables, ELSEWHERE
        self._offsets[key] = checkpoint.offsets[key]
        return tables, self._offsets[key]

    async def checkpoint(self, worker: Worker, sources: Mapping[str, Source], keys: Collection[TaskKey] | None = None) -> None:
        """Makes durable what has been worked off, of some tasks or all.

        Raises StateError when it cannot be written (the state before stands, the next one takes all in), TransportError when
        the outputs cannot be confirmed.
        """
        async with self._one_at_a_time:
            barrier = Barrier(asyncio.get_running_loop().create_future())
            cut = await worker.call(partial(self._cut, worker, barrier, keys))
            await self._save(barrier, cut.taken)
            await self._commit(sources, cut.keys)

    async def checkpoint_then(self, worker: Worker, sources: Mapping[str, Source], then: Callable[[], None]) -> None:
        """The same of all tasks, and ``then`` runs in the worker at that very point of the stream, once it is durable.

        Nothing is worked off between; so a restart finds either the state before with what stood then, or this state with what
        ``then`` has made of it. If anything fails before, ``then`` does not run. Where ``then`` raises EspError or OSError, it
        must have changed nothing: that is raised here, and the stream goes on.
        """
        async with self._one_at_a_time:
            loop, verdict = asyncio.get_running_loop(), SimpleQueue[bool]()
            cut: asyncio.Future[_Cut] = loop.create_future()
            barrier = Barrier(loop.create_future())

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
                    verdict.put(True)
                failure = await standing
            finally:
                verdict.put(False)  # where it has been decided already, nobody asks again
                await asyncio.gather(standing, return_exceptions=True)
            await self._commit(sources, cut.result().keys)
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
            if task.steps == self._steps[key]:
                continue
            changed_only = key not in self._unsaved and self.stores[key[0]].wants_changes(key[1])
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
        try:
            await asyncio.to_thread(self._write, taken)
        except StateError as err:
            self.failure = err
            raise
        self.failure = None

    def _write(self, taken: list[_Snapshot]) -> None:
        for snapshot in taken:
            source, partition = key = snapshot.key
            self.stores[source].save(
                partition, Checkpoint({key: snapshot.next_offset}, snapshot.tables, self._identities.get(key, ""))
            )
            self._unsaved.discard(key)
            self._steps[key], self._offsets[key] = snapshot.steps, snapshot.next_offset
        self.count += bool(taken)

    async def _commit(self, sources: Mapping[str, Source], keys: Collection[TaskKey]) -> None:
        """Commits the offsets of checkpoints that the group does not know yet, those found at a restart among them."""
        due = {key: offset for key in keys if (offset := self._offsets.get(key)) is not None and self._committed.get(key) != offset}
        for name in {source for source, _ in due}:
            await sources[name].commit({partition: offset for (source, partition), offset in due.items() if source == name})
        self._committed |= due


def origin(connection: Connection | None) -> str:
    """Where a source's records come from, so far as offsets count them: the address of a broker may change, its topic may not."""
    match connection:
        case FileConnection():
            return f"file:{os.path.abspath(connection.path)}"
        case KafkaConnection() | MemoryConnection():
            return f"{connection.connector}:{connection.topic}"
    return ""
