"""Durability: checkpoints take state and offsets at one point of the stream, wait for its outputs, and make both last."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esp.runtime.connect import Source
from esp.runtime.query import Query
from esp.runtime.state.checkpoint import Checkpoint, CheckpointStore
from esp.runtime.state.tables import Tables
from esp.runtime.task import Task
from esp.runtime.worker import Barrier, Worker

TaskKey = tuple[str, int]  # source, partition


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a checkpoint will hold of one task."""

    key: TaskKey
    next_offset: int
    tables: Mapping[str, Any]


class Durability:
    """The checkpoints of a query's tasks, one store a source.

    At-least-once: outputs are acknowledged before the state that made them is written, and that before its offsets are
    committed. So what a crash takes away is made again from the state and the offsets that belong together.
    """

    def __init__(self, query: Query, state_dir: Path) -> None:
        self.stores = {
            source: CheckpointStore(state_dir, f"{query.name}/{source}", query.fingerprint(source)) for source in query.sources
        }
        self.saved: dict[TaskKey, int] = {}  # the offset of each task's last checkpoint
        self.count = 0
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

    def restore(self, key: TaskKey) -> tuple[Tables, int | None]:
        """The state of a task and the offset that it equals; empty and None where there is no checkpoint."""
        source, partition = key
        checkpoint, tables = self.stores[source].load(partition), Tables()
        if checkpoint is None:
            self.saved[key] = 0
            return tables, None
        tables.load(checkpoint.tables)
        self.saved[key] = checkpoint.offsets[source, partition]
        return tables, self.saved[key]

    async def checkpoint(
        self,
        worker: Worker,
        sources: Mapping[str, Source],
        keys: Collection[TaskKey] | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Makes durable what has been worked off, of some tasks or all; ``then`` runs in the worker at that point of the stream."""
        async with self._one_at_a_time:
            barrier = Barrier(asyncio.get_running_loop().create_future())

            def cut() -> list[_Snapshot]:
                taken = self._snapshots(worker.tasks, keys)
                worker.outbox.put(barrier)
                if then is not None:
                    then()
                return taken

            taken = await worker.call(cut)
            await barrier.reached
            await asyncio.to_thread(self._save, taken)
            for name in {snapshot.key[0] for snapshot in taken}:
                await sources[name].commit({taken.key[1]: taken.next_offset for taken in taken if taken.key[0] == name})

    def _snapshots(self, tasks: Mapping[TaskKey, Task], keys: Collection[TaskKey] | None) -> list[_Snapshot]:
        moved = [(key, task) for key, task in tasks.items() if keys is None or key in keys]
        return [
            _Snapshot(key, task.next_offset, task.tables.dump(changed_only=self.stores[key[0]].wants_changes(key[1])))
            for key, task in moved
            if task.next_offset != self.saved[key]
        ]

    def _save(self, taken: list[_Snapshot]) -> None:
        for snapshot in taken:
            source, partition = snapshot.key
            self.stores[source].save(partition, Checkpoint({snapshot.key: snapshot.next_offset}, snapshot.tables))
            self.saved[snapshot.key] = snapshot.next_offset
        self.count += bool(taken)
