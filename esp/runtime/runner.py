"""A running query: it fetches, lets its worker work, sends, and makes state and offsets durable together."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esp.astore.binary import from_bytes
from esp.astore.model import Astore
from esp.errors import EspError, FileError, QueryError
from esp.runtime.channels import Bounds
from esp.runtime.connect import Sink, Source, open_sink, open_source
from esp.runtime.dead_letters import dead_letters
from esp.runtime.deployments import Deployments
from esp.runtime.events import DeadBlock, RawBlock
from esp.runtime.kinds.score import ScoreSettings, check_swap
from esp.runtime.query import PlannedWindow, Query, models_used
from esp.runtime.scorer import Scorer
from esp.runtime.state.checkpoint import Checkpoint, CheckpointStore
from esp.runtime.state.tables import Tables
from esp.runtime.task import DEAD, Task, new_meter
from esp.runtime.worker import Barrier, Worker

log = logging.getLogger("esp.runner")
POLL_S = 0.5  # how long a fetch waits for the first record; what is paused or stopped shows after it


@dataclass(slots=True)
class _Snapshot:
    """What a checkpoint will hold of one task."""

    source: str
    partition: int
    next_offset: int
    tables: dict[str, Any]


class QueryRunner:
    """One query in this process; ``run`` is its whole life.

    At-least-once: a checkpoint takes the state of the tasks and the offsets that it equals between two blocks, waits until
    every output before it is acknowledged, makes both durable on local disk and then commits the offsets to the source.
    """

    def __init__(self, query: Query, state_dir: Path, *, is_fresh: bool = False) -> None:
        self.query, self.meter = query, new_meter(query)
        self.folder, self.is_fresh = state_dir / query.name, is_fresh
        self.deployments = Deployments(self.folder / "models")
        self.stores = {
            source: CheckpointStore(state_dir, f"{query.name}/{source}", query.fingerprint(source)) for source in query.sources
        }
        self.scorers: dict[str, Scorer] = {}
        self.worker: Worker
        self.sources: dict[str, Source] = {}
        self.sinks: dict[str, Sink] = {}
        self.assigned: dict[str, set[int]] = {source: set() for source in query.sources}
        self.saved: dict[tuple[str, int], int] = {}  # offsets of the last checkpoint
        self.is_paused = self.is_ready = False
        self.ended: set[str] = set()
        self.finished = asyncio.Event()  # every source is bounded and has ended
        self._durable = asyncio.Lock()
        self._deploying = asyncio.Lock()

    # ---- life -----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Opens the state, binds and warms the models, reaches the connectors; raises before the first event what is wrong."""
        loop, limits = asyncio.get_running_loop(), self.query.settings.limits
        for store in self.stores.values():
            store.lock()
            if self.is_fresh:
                store.clear()
        await asyncio.to_thread(self._bind)
        self.worker = Worker(self.query.name, Bounds(limits.queue_events, limits.queue_bytes), limits.max_batch, self.meter, loop)
        self.worker.start()
        connections = {name: self.query.windows[name].connection for name in self.query.sinks} | {DEAD: self.query.dead}
        for name, settings in connections.items():
            if settings is not None:
                self.sinks[name] = open_sink(settings, where=self._where(name))
                await self.sinks[name].start()
        for name in self.query.sources:
            settings = self.query.windows[name].connection
            assert settings is not None
            self.sources[name] = open_source(settings, group=self.query.settings.group or self.query.name, where=self._where(name))

    def _bind(self) -> None:
        for window, model in models_used(self.query).items():
            astore = self.query.models[model] if self.is_fresh else self.deployments.current(window, self.query.models[model])
            scorer = self.scorers[window] = self._scorer(astore, self.query.windows[window])
            log.info(
                "query %s window %s scores with %s (%s) on %s",
                self.query.name,
                window,
                astore.name,
                astore.short_digest,
                scorer.backend,
            )

    async def run(self, stopping: asyncio.Event) -> None:
        """Streams until ``stopping`` is set or every bounded source has ended; then drains, flushes, checkpoints, commits and leaves."""
        try:
            await self._start()
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(self._send())
                for name, source in self.sources.items():
                    await source.start(
                        lambda parts, name=name: self._assigned(name, parts), lambda parts, name=name: self._revoked(name, parts)
                    )
                fetchers = [group.create_task(self._fetch(name)) for name in self.sources]
                helpers = [
                    group.create_task(self._checkpoint_often()),
                    group.create_task(self._watch()),
                    group.create_task(self._fail_with_worker()),
                ]
                self.is_ready = True
                log.info("query %s is running", self.query.name)
                await _first(stopping, self.finished)
                await _cancel(fetchers)
                await self.checkpoint()
                log.info("query %s has drained: everything is sent, saved and committed", self.query.name)
                await _cancel([*helpers, sender])
        except BaseExceptionGroup as failures:
            raise _first_cause(failures) from None
        finally:
            self.is_ready = False
            await self._close()

    async def _close(self) -> None:
        for connector in (*self.sources.values(), *self.sinks.values()):
            with contextlib.suppress(EspError, OSError):
                await connector.stop()
        if self.worker is not None:
            await self.worker.stop()
        for store in self.stores.values():
            store.unlock()

    # ---- the stream -----------------------------------------------------------------------------------------------

    async def _fetch(self, name: str) -> None:
        source = self.sources[name]
        while not source.ended:
            blocks = await source.poll(POLL_S)
            for block in blocks:
                self.worker.put(name, block)
            if self.worker.inbox.is_full:
                await self._wait_for_room(name)
        await self.worker.call(lambda: self._end(name))
        self.ended.add(name)
        if len(self.ended) == len(self.sources):
            self.finished.set()

    async def _wait_for_room(self, name: str) -> None:
        """Pauses the partitions but goes on polling, so that the group does not think us dead."""
        source, room = self.sources[name], self.worker.inbox.room
        source.pause(self.assigned[name])
        while not room.is_set():
            for block in await source.poll(0):
                self.worker.put(name, block)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await room.wait()
        if not self.is_paused:
            source.resume(self.assigned[name])

    def _end(self, name: str) -> None:
        for (source, _), task in self.worker.tasks.items():
            if source == name:
                self.worker.emit(task.end())

    async def _send(self) -> None:
        while True:
            for item in await self.worker.outbox.take_all():
                if isinstance(item, Barrier):
                    await asyncio.gather(*(sink.flush() for sink in self.sinks.values()))
                    item.reached.set_result(None)
                else:
                    await self._send_one(*item)

    async def _send_one(self, name: str, block: RawBlock | DeadBlock) -> None:
        if isinstance(block, DeadBlock):
            log.warning(
                "query %s window %s: dead event at %s/%d offset %d: %s",
                self.query.name, block.window, block.raw.topic, block.raw.partition, block.raw.offset[block.row[0]], block.reasons[0],
            )  # fmt: skip
            if DEAD not in self.sinks:
                return
            block = dead_letters(block, self.query.name)
        await self.sinks[name].send(block)

    # ---- partitions come and go -----------------------------------------------------------------------------------

    async def _assigned(self, name: str, partitions: set[int]) -> dict[int, int | None]:
        """Restores the tasks of partitions and answers the offsets that their state has come to."""
        offsets: dict[int, int | None] = {}
        for partition in sorted(partitions):
            checkpoint = await asyncio.to_thread(self.stores[name].load, partition)
            tables = Tables()
            if checkpoint is not None:
                tables.load(checkpoint.tables)
                offsets[partition] = checkpoint.offsets[name, partition]
            task = await self.worker.call(lambda p=partition, t=tables: self._open_task(name, p, t, offsets.get(p) or 0))
            self.saved[name, partition] = task.next_offset
            self.assigned[name].add(partition)
            offsets.setdefault(partition, None)
        log.info("query %s source %s: partitions %s assigned", self.query.name, name, sorted(partitions))
        if self.is_paused:
            self.sources[name].pause(partitions)
        return offsets

    def _open_task(self, name: str, partition: int, tables: Tables, next_offset: int) -> Task:
        task = Task(self.query, name, partition, self.scorers, tables=tables, next_offset=next_offset, meter=self.meter)
        self.worker.tasks[name, partition] = task
        return task

    async def _revoked(self, name: str, partitions: set[int]) -> None:
        """Lets partitions go: what is fetched is worked off, sent, saved and committed first."""
        if not partitions:
            return
        keys = {(name, partition) for partition in partitions}
        await self.checkpoint(keys)
        await self.worker.call(lambda: [self.worker.tasks.pop(key).close() for key in keys if key in self.worker.tasks])
        self.assigned[name] -= partitions
        log.info("query %s source %s: partitions %s revoked", self.query.name, name, sorted(partitions))

    # ---- checkpoints ----------------------------------------------------------------------------------------------

    async def checkpoint(self, keys: Iterable[tuple[str, int]] | None = None) -> None:
        """Makes durable what has been worked off (of some tasks, or all): outputs acknowledged, then state with offsets, then the commit."""
        await self._checkpoint(keys, lambda: None)

    async def _checkpoint(self, keys: Iterable[tuple[str, int]] | None, then: Callable[[], None]) -> None:
        """``then`` runs in the worker at the point of the stream that the checkpoint stands for."""
        async with self._durable:
            reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def snapshot() -> list[_Snapshot]:
                taken = self._snapshots(keys)
                self.worker.outbox.put(Barrier(reached))
                then()
                return taken

            taken = await self.worker.call(snapshot)
            await reached
            await asyncio.to_thread(self._save, taken)
            for name in {snapshot.source for snapshot in taken}:
                await self.sources[name].commit({s.partition: s.next_offset for s in taken if s.source == name})
            self.meter.checkpoints += bool(taken)

    def _snapshots(self, keys: Iterable[tuple[str, int]] | None) -> list[_Snapshot]:
        chosen = self.worker.tasks if keys is None else set(keys) & self.worker.tasks.keys()
        tasks = [(key, self.worker.tasks[key]) for key in chosen]
        return [
            _Snapshot(*key, task.next_offset, task.tables.dump(changed_only=self.stores[key[0]].wants_changes(key[1])))
            for key, task in tasks
            if task.next_offset != self.saved.get(key)
        ]

    def _save(self, taken: list[_Snapshot]) -> None:
        for snapshot in taken:
            checkpoint = Checkpoint({(snapshot.source, snapshot.partition): snapshot.next_offset}, snapshot.tables)
            self.stores[snapshot.source].save(snapshot.partition, checkpoint)
            self.saved[snapshot.source, snapshot.partition] = snapshot.next_offset

    async def _checkpoint_often(self) -> None:
        while True:
            await asyncio.sleep(self.query.settings.checkpoint / 1e9)
            await self.checkpoint()

    # ---- what the administrator does ------------------------------------------------------------------------------

    async def deploy(self, window: str, data: bytes, digest: str = "") -> Mapping[str, str]:
        """Puts a model in the place of a window's: checked, warmed beside the old one, swapped between two blocks, made durable.

        ``digest`` is what the sender says that the data are. Raises FileError, GraphError, QueryError or BackendError, and nothing has changed then.
        """
        planned = self.query.windows.get(window)
        if planned is None or not isinstance(planned.settings, ScoreSettings) or planned.stream is None:
            scoring = ", ".join(models_used(self.query)) or "none"
            raise QueryError(f"'{window}' is no score window of query '{self.query.name}'", mend=f"score windows: {scoring}")
        async with self._deploying:
            old, settings = self.scorers[window], planned.settings
            scorer = await asyncio.to_thread(self._prepare, data, digest, old.astore, planned)
            await self._checkpoint(None, lambda: self.scorers.__setitem__(window, scorer))
            named = self.query.models[settings.model]
            await asyncio.to_thread(self.deployments.record, window, scorer.astore.digest, named)
        log.info(
            "query %s window %s: %s swapped for %s", self.query.name, window, old.astore.short_digest, scorer.astore.short_digest
        )
        return {
            "window": f"{self.query.name}/{window}",
            "old": old.astore.digest,
            "new": scorer.astore.digest,
            "backend": scorer.backend,
        }

    def _prepare(self, data: bytes, digest: str, old: Astore, planned: PlannedWindow) -> Scorer:
        uploaded = from_bytes(data, "upload", verify=True)
        if digest and digest != uploaded.digest:
            raise FileError(f"the upload has the digest {uploaded.digest}, {digest} was announced", mend="send it again")
        check_swap(old, uploaded, planned)
        return self._scorer(self.deployments.store(uploaded.digest, data), planned)

    def _scorer(self, astore: Astore, planned: PlannedWindow) -> Scorer:
        assert isinstance(planned.settings, ScoreSettings)
        scorer = Scorer.bind(astore, planned.settings.backend, self.query.settings.limits.max_batch)
        scorer.warm()
        return scorer

    async def pause(self) -> None:
        """Fetches no more; what is under way goes on to the sinks."""
        self.is_paused = True
        for name, source in self.sources.items():
            source.pause(self.assigned[name])
        log.info("query %s is paused", self.query.name)

    async def resume(self) -> None:
        self.is_paused = False
        for name, source in self.sources.items():
            source.resume(self.assigned[name])
        log.info("query %s goes on", self.query.name)

    async def drain(self) -> None:
        """Pauses, then returns when all that was fetched is sent, saved and committed."""
        await self.pause()
        await self.checkpoint()
        log.info("query %s is drained", self.query.name)

    # ---- watching -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Keeps lag and state size fresh, and says when a peer is lost or found again."""
        reachable = True
        while True:
            await asyncio.sleep(1.0)
            for name, source in self.sources.items():
                self.meter.lag[name] = await source.lag()
            self.meter.state_size_bytes = sum(task.tables.size_bytes for task in list(self.worker.tasks.values()))
            if self.is_connected != reachable:
                reachable = self.is_connected
                log.log(
                    logging.INFO if reachable else logging.WARNING,
                    "query %s: broker %s",
                    self.query.name,
                    "is back" if reachable else "is lost",
                )

    async def _fail_with_worker(self) -> None:
        await self.worker.failed

    @property
    def is_connected(self) -> bool:
        return all(connector.connected for connector in (*self.sources.values(), *self.sinks.values()))

    def _where(self, name: str) -> str:
        return f"{self.query.path}: {'query.dead' if name == DEAD else f'windows.{name}'}"


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(waiting)


async def _cancel(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels tasks and waits until they are gone; the first failure of their own is raised."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _first_cause(failure: BaseException) -> BaseException:
    """The failure that a user should read: the first of ours, else the first."""
    flat = _flat(failure)
    return next((cause for cause in flat if isinstance(cause, EspError)), flat[0])


def _flat(failure: BaseException) -> list[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        return [cause for part in failure.exceptions for cause in _flat(part)]
    return [failure]
