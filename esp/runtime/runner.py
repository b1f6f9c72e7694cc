"""A running query: it fetches, lets its worker work, sends, and makes state and offsets durable together."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from esp.errors import EspError, StateError
from esp.runtime.backfill import Backfill
from esp.runtime.channels import Bounds
from esp.runtime.connect import Connection, Sink, Source, open_sink, open_source
from esp.runtime.draining import drained
from esp.runtime.durability import Durability, Outlet, TaskKey
from esp.runtime.events import RawBlock
from esp.runtime.handover import Handover
from esp.runtime.kafka.source import KafkaSource
from esp.runtime.ledgers import ledgers, remembering
from esp.runtime.models import AtCheckpoint, Models
from esp.runtime.peer import Peer
from esp.runtime.query import Query
from esp.runtime.restoring import show
from esp.runtime.state.progress import Restore
from esp.runtime.state.tables import Tables
from esp.runtime.task import DEAD, Task, new_meter
from esp.runtime.waiting import cancel, first_cause, unless, until
from esp.runtime.worker import Barrier, Worker

log = logging.getLogger("esp.runner")
POLL_S = 0.5  # how long a fetch waits for the first record
RESTORES = 4  # tasks that are restored at once
LONGEST_RETRY_S = 30.0  # from one attempt to write a checkpoint to the next


class QueryRunner:
    """One query in this process; ``run`` is its whole life, the other methods are what the administrator does to it."""

    def __init__(
        self, query: Query, state_dir: Path, *, is_fresh: bool = False, backfill: Backfill | None = None, models_dir: Path | None = None
    ) -> None:  # fmt: skip
        self.query, self.is_fresh, self.meter, self.backfill = query, is_fresh, new_meter(query), backfill
        limits = query.settings.limits
        self.worker = Worker(query.name, Bounds(limits.queue_events, limits.queue_bytes), limits.max_batch, self.meter)
        self.worker.waiting = query.waiting
        self.durability = Durability(query, state_dir)
        self.meter.restores = self.durability.restores
        self.models = Models(query, (models_dir or state_dir) / query.name / "models")
        self.scorers, self.durability.marks.here = self.models.scorers, self.models.marks
        self.meter.behind = self.durability.marks.behind
        self.sources: dict[str, Source] = {}
        self.sinks: dict[str, Sink] = {}
        self.handover = Handover(query.name, self.worker, self.durability, self.sources, self.meter, query.registries.wake)
        query.registries.is_vain = self.worker.works_in_vain
        self.assigned: dict[str, set[int]] = {source: set() for source in query.sources}
        self.is_paused = self.is_ready = self.is_running = False
        self.on_running: Callable[[], object] = lambda: None  # called when the stream begins
        self.forgets_changelog = is_fresh
        self.crowded: set[str] = set()  # sources that wait for room
        self._lost: asyncio.Queue[TaskKey] = asyncio.Queue()
        self._polls = {source: asyncio.Lock() for source in query.sources}

    # ---- life -----------------------------------------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event) -> None:
        """Streams until ``stopping`` is set or every bounded source has ended; then drains, flushes, checkpoints, commits and leaves.

        Raises EspError when it cannot start, or when a peer refuses for good.
        """
        try:
            if await unless(stopping, self._start()):
                await self._stream(stopping)
        except BaseExceptionGroup as failures:
            raise first_cause(failures) from None
        finally:
            self.is_ready = self.is_running = False
            await self._close()

    async def _stream(self, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(work) for work in (self._send(), self.worker.watch(), self._give_up_lost())]
            if await unless(stopping, self._start_sources()):
                self.durability.settle()
                helpers += [group.create_task(work) for work in (self._checkpoint_often(), self._watch())]
                fetchers = [group.create_task(self._fetch(name)) for name in self.sources]
                self.is_ready = self.is_running = True
                self.on_running()
                if self.backfill is not None:
                    self.backfill.begin(self.worker.tasks)
                log.info("query %s is running", self.query.name)
                await until(stopping, fetchers)
                self.is_ready = self.is_running = False
                has_ended = all(source.ended for source in self.sources.values()) and all(task.done() for task in fetchers)
                await cancel(fetchers)
                await drained(self.query.name, self.checkpoint(), lambda: self.is_connected, self._leave_waiting)
                if self.backfill is not None and has_ended:
                    self.backfill.finish()
                log.info("query %s has drained: everything is sent, saved and committed", self.query.name)
                await asyncio.gather(*(source.stop() for source in self.sources.values()))
            await cancel(helpers)

    async def _start(self) -> None:
        """Opens the state, binds and warms the models, reaches the sinks; raises before the first event what is wrong."""
        self.durability.open(self.is_fresh)
        if self.backfill is not None:
            self.query = await self.backfill.settle(self.is_fresh)
        await asyncio.to_thread(self.models.start, self.is_fresh)
        await asyncio.to_thread(self.query.registries.start)
        self.worker.start(asyncio.get_running_loop())
        windows = self.query.windows
        for name in (*self.query.sinks, DEAD):
            connection = self.query.dead if name == DEAD else windows[name].connection
            if connection is not None:
                self.sinks[name] = open_sink(connection, where=self._where(name))
                await self.sinks[name].start()
        for name in self.query.sources:
            connection = windows[name].connection
            assert connection is not None
            self.sources[name] = self._open_source(name, connection)
        self.durability.ledgers |= ledgers(self.query, self.scorers, self.sinks, self.durability.stores, self._lost.put_nowait)
        for name, ledger in self.durability.ledgers.items():
            if isinstance(source := self.sources[name], KafkaSource):
                source.beside = ledger.stalled
        if self.backfill is None:
            self.durability.stateless |= {name for name in self.sources if not remembering(self.query, name, self.scorers)}
        self.meter.transactions |= {name: ledger.counts for name, ledger in self.durability.ledgers.items()}
        await asyncio.gather(*(ledger.open(self.forgets_changelog) for ledger in self.durability.ledgers.values()))

    def _open_source(self, name: str, connection: Connection) -> Source:
        if self.backfill is not None:
            return self.backfill.open_source(name, self._where(name))
        return open_source(connection, group=self.query.settings.group or self.query.name, where=self._where(name))

    async def _start_sources(self) -> None:
        for name, source in self.sources.items():
            await source.start(partial(self._assigned, name), partial(self._revoked, name))

    def _leave_waiting(self) -> None:
        if self.query.waiting and any(peer.trouble for peer in self.query.registries.peers().values()):
            self.handover.leave(self.query.waiting)

    async def _close(self) -> None:
        """Lets everything go; what connectors could not say before, nobody waits for any more."""
        self.durability.abandon()
        self.worker.close()
        self.query.registries.hang_up()
        connectors: list[Source | Sink] = [*self.sources.values(), *self.sinks.values()]
        try:
            for result in await asyncio.gather(*(connector.stop() for connector in connectors), return_exceptions=True):
                if isinstance(result, BaseException):
                    log.warning("query %s: a connector did not end well: %s", self.query.name, result)
            await self.worker.stop()
        finally:
            await self.durability.close_ledgers()
            self.durability.close()

    # ---- the stream -----------------------------------------------------------------------------------------------

    async def _fetch(self, name: str) -> None:
        """Hands the records of a source to the worker, until a bounded one has ended."""
        source = self.sources[name]
        while not await self._has_ended(source):
            async with self._polls[name]:
                await self.worker.put(name, await source.poll(POLL_S))
            if self.worker.inbox.is_full:
                await self._wait_for_room(name)
            await asyncio.sleep(0)  # a source that always has something must not keep the loop to itself
        if self.backfill is None or self.backfill.asked.closes_windows:
            await self.worker.call(partial(self._end, name))

    async def _has_ended(self, source: Source) -> bool:
        """Whether a source has come to its end; what the worker finds damaged in its last records takes it back once more."""
        if not source.ended:
            return False
        await self.worker.call(_nothing)
        return source.ended

    async def _wait_for_room(self, name: str) -> None:
        """Pauses the partitions but goes on polling, so that the group does not think us dead."""
        source, room = self.sources[name], self.worker.inbox.room
        self.crowded.add(name)
        source.pause(self.assigned[name])
        while not room.is_set():
            await self.worker.put(name, await source.poll(0))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await room.wait()
        self.crowded.discard(name)
        if not self.is_paused:
            source.resume(self.assigned[name])

    def _end(self, name: str) -> None:
        for (source, _), task in self.worker.tasks.items():
            if source == name:
                self.worker.emit(task.end(), task.outlet)

    async def _send(self) -> None:
        while True:
            for item in await self.worker.outbox.take_all():
                if isinstance(item, Barrier):
                    await asyncio.gather(self.durability.flush(), *(sink.flush() for sink in self.sinks.values()))
                    if not item.reached.done():
                        item.reached.set_result(None)
                    await item.passed.wait()
                else:
                    await self._send_one(*item)

    async def _send_one(self, name: str, block: RawBlock, outlet: Outlet | None) -> None:
        if outlet is not None:
            await outlet.send(name, block)
        elif name in self.sinks:
            await self.sinks[name].send(block)

    # ---- partitions come and go -----------------------------------------------------------------------------------

    async def _assigned(self, name: str, partitions: set[int]) -> dict[int, int | None]:
        """Restores the tasks of partitions, but for those that are still here, and answers the offsets that their state has come to."""
        offsets: dict[int, int | None] = {**await self.handover.take_up(name, partitions)}
        coming = sorted(partitions - offsets.keys())
        self.durability.restores |= {(name, number): Restore() for number in coming}
        showing, few = asyncio.create_task(show(self.query.name, self.durability.restores)), asyncio.Semaphore(RESTORES)

        async def restored(number: int) -> int | None:
            async with few:
                tables, offset = await self.durability.restore((name, number), self.sources[name])
                await self.worker.call(partial(self._open_task, name, number, tables, None if offset is None else max(offset, 0)))
            return offset

        try:
            offsets |= dict(zip(coming, await asyncio.gather(*map(restored, coming))))
        finally:
            await cancel([showing])
        self.assigned[name] |= partitions
        if self.is_paused or name in self.crowded:
            self.sources[name].pause(partitions)
        log.info("query %s source %s: partitions %s assigned", self.query.name, name, sorted(partitions))
        return offsets

    def _open_task(self, name: str, number: int, tables: Tables, next_offset: int | None) -> None:
        span = None if self.backfill is None else self.backfill.spans[name][number]
        first = next_offset if next_offset is not None else 0 if span is None else span.first
        self.worker.tasks[name, number] = Task(
            self.query, name, number, self.scorers, tables=tables, next_offset=first, meter=self.meter, span=span,
            outlet=self.durability.outlet((name, number)),
        )  # fmt: skip

    async def _revoked(self, name: str, partitions: set[int]) -> None:
        """Lets partitions go: what was worked off is sent, saved and committed first."""
        await self.handover.give_up(name, partitions)
        self.assigned[name] -= partitions
        log.info("query %s source %s: partitions %s revoked", self.query.name, name, sorted(partitions))

    async def _give_up_lost(self) -> None:
        """Closes tasks that another engine has fenced, and lets the group say anew who has which partitions."""
        while True:
            key = await self._lost.get()
            source = self.sources[key[0]]
            if self.durability.is_lost(key) and isinstance(source, KafkaSource):
                await self.handover.lose(key)
                source.rejoin()

    # ---- what the administrator does ------------------------------------------------------------------------------

    async def checkpoint(self) -> None:
        """Makes durable all that has been worked off: outputs acknowledged, then state with its offsets, then the commit."""
        await self.durability.checkpoint(self.worker, self.sources)

    async def deploy(self, window: str, data: bytes, digest: str = "") -> Mapping[str, str]:
        """Puts a model in the place of a window's: checked, warmed beside the old one, swapped between two blocks, made durable.

        ``digest`` is what the sender says that the data are. Raises FileError, GraphError, QueryError, BackendError or
        StateError, and nothing has changed then.
        """
        self._require_deployable(window)
        return await self.models.deploy(window, data, digest, self._at_checkpoint())

    async def hold(self, window: str, data: bytes, digest: str = "") -> Mapping[str, str]:
        """The first half of a deployment, of which nobody sees anything until ``swap``; ``models.drop`` takes it back."""
        self._require_deployable(window)
        return await self.models.hold(window, data, digest)

    async def stand(self, window: str) -> None:
        """Between the halves: what was worked off is durable, and the stream stands still until ``swap`` or ``models.drop``."""
        self._require_deployable(window)
        await self.models.stand(window, self._at_checkpoint())

    async def swap(self, window: str) -> Mapping[str, str]:
        """The second half of a deployment."""
        self._require_deployable(window)
        return await self.models.swap(window, self._at_checkpoint())

    def _at_checkpoint(self) -> AtCheckpoint:
        return partial(self.durability.checkpoint_then, self.worker, self.sources)

    def _require_deployable(self, window: str) -> None:
        self.models.scoring(window)
        self._require_running()
        if not self.is_connected:
            raise EspError(
                f"the broker (or schema registry) of query '{self.query.name}' is gone", mend="deploy again when it is back"
            )

    def _require_running(self) -> None:
        if not self.is_running:
            raise EspError(f"query '{self.query.name}' is not running", mend="wait until /readyz says that it is")

    async def pause(self) -> None:
        """Fetches no more; what is under way goes on to the sinks."""
        self.is_paused = True
        for name, source in self.sources.items():
            source.pause(self.assigned[name])
        log.info("query %s is paused", self.query.name)

    async def resume(self) -> None:
        """Fetches again."""
        self.is_paused = False
        for name, source in self.sources.items():
            if name not in self.crowded:
                source.resume(self.assigned[name])
        log.info("query %s goes on", self.query.name)

    async def drain(self) -> None:
        """Pauses, then returns when all that was fetched is sent, saved and committed."""
        self._require_running()
        await self.pause()
        for poll in self._polls.values():
            async with poll:  # what it was about to give is handed over now
                pass
        await self.checkpoint()
        log.info("query %s is drained", self.query.name)

    # ---- watching -------------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        return not any(peer.trouble for peer in self._peers().values())

    @property
    def reasons(self) -> list[str]:
        """Why the query is not ready, and what else is amiss; none where all is well."""
        if self.meter.is_restoring:
            return ["the state of its tasks is restored"]
        if not self.is_running:
            return ["it is starting, draining or has ended"]
        troubles = [f"{name}: {peer.trouble}" for name, peer in self._peers().items() if peer.trouble]
        failure = self.durability.failure
        return [*troubles, *([str(failure)] if failure is not None else []), *self.durability.marks.reasons()]

    def _peers(self) -> dict[str, Peer]:
        """How each connector stands, by its window, each changelog by its source's, and each schema registry."""
        connectors: dict[str, Source | Sink] = {**self.sources, **self.sinks}
        changelogs = {
            f"{name}.changelog": ledger.peer for name, ledger in self.durability.ledgers.items() if ledger.settings.changelog
        }
        return {name: connector.peer for name, connector in connectors.items()} | changelogs | self.query.registries.peers()

    @property
    def checkpoints(self) -> int:
        """How many have been made durable."""
        return self.durability.count

    async def _checkpoint_often(self) -> None:
        """Checkpoints at the query's interval; while none can be written, tries on ever more seldom, for the stream itself is well."""
        interval_s = self.query.settings.checkpoint / 1e9
        failures = 0
        while True:
            await asyncio.sleep(min(interval_s * 2**failures, max(interval_s, LONGEST_RETRY_S)))
            try:
                await self.checkpoint()
            except StateError as err:
                failures = min(failures + 1, 10)
                self.is_ready = False
                log.error("query %s goes on, but a restart would go back to its last checkpoint: %s", self.query.name, err)
                continue
            if failures:
                failures, self.is_ready = 0, True
                log.info("query %s: checkpoints can be written again", self.query.name)

    async def _watch(self) -> None:
        """Keeps lag, state size and what is known of the peers fresh."""
        while True:
            await asyncio.sleep(1.0)
            self.meter.state_size_bytes = sum(task.tables.size_bytes for task in list(self.worker.tasks.values()))
            for name, source in self.sources.items():
                self.meter.lag[name] = await source.lag()
            self.meter.peers = self._peers()

    def _where(self, name: str) -> str:
        return f"{self.query.path}: {'query.dead' if name == DEAD else f'windows.{name}.connect'}"


def _nothing() -> None:
    """What a call does that only waits for its turn."""
