"""What the tasks of a source keep in Kafka: fence the old owner, read offsets, restore, resume; later one transaction a checkpoint."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from esp.errors import FencedError, StateError
from esp.runtime.kafka import changelog, watch
from esp.runtime.kafka.cluster import reach
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.kafka.transactions import TaskProducer
from esp.runtime.kafka.upkeep import Upkeep
from esp.runtime.kafka.widening import widen
from esp.runtime.peer import FINE, Peer
from esp.runtime.state.chain import Chain, Checkpoint, Link, Owner, Restored
from esp.runtime.state.checkpoint import CheckpointStore
from esp.runtime.state.progress import Restore, Transactions

log = logging.getLogger(__name__)
_CHANGELOG = "changelog of the task"  # no window has a blank in its name


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a committed offset says of the state that it equals: the newest link, where the chain begins in the changelog, its bytes."""

    number: int
    digest: bytes
    since: int
    size_bytes: int

    def text(self, models: Mapping[str, Any] | None = None) -> str:
        """As it stands in the metadata of the offset, beside the marks of the models that scored.

        >>> Pointer(7, bytes(2), 40, 812).text()
        '{"esp": 1, "number": 7, "digest": "0000", "since": 40, "size_bytes": 812}'
        """
        told = {"esp": 1, "number": self.number, "digest": self.digest.hex(), "since": self.since, "size_bytes": self.size_bytes}
        return json.dumps(told | ({"models": models} if models else {}))

    @staticmethod
    def parse(text: str) -> "Pointer | None":
        """None for the metadata of whoever else has committed."""
        try:
            found = json.loads(text)
            return Pointer(int(found["number"]), bytes.fromhex(found["digest"]), int(found["since"]), int(found["size_bytes"]))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(slots=True)
class _Task:
    """What is known of a task: its producer, its chain in the changelog and where that begins, keys that a full link makes needless.

    ``is_astray``: the changelog is another one than that in which the chain stands.
    """

    producer: TaskProducer
    chain: Chain = field(default_factory=Chain)
    since: int = 0
    others: list[bytes] = field(default_factory=list)
    is_astray: bool = False


class Committed(Protocol):
    """Where offsets are asked for."""

    async def committed(self, partition: int) -> tuple[int, str] | None: ...


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Who writes where. ``changelog`` None = no window keeps state; ``sinks_too``: outputs go into the transactions."""

    source: str
    connection: KafkaConnection
    group: str
    changelog: KafkaConnection | None
    timeout_ms: int
    sinks_too: bool
    where: str

    def transactional_id(self, partition: int) -> str:
        return f"{self.group}-{self.source}-{partition}"


class Ledger:
    """The transactions and the changelog of one source's tasks. ``store`` is the copy on local disk."""

    def __init__(
        self, settings: LedgerSettings, store: CheckpointStore, sinks: Mapping[str, KafkaSink], on_lost: Callable[[int], None]
    ) -> None:
        self.settings, self.store, self.on_lost = settings, store, on_lost
        self.sinks = dict(sinks) if settings.sinks_too else {}
        self.counts = Transactions()
        self.is_fresh = False
        self._tasks: dict[int, _Task] = {}
        self._log_sink: KafkaSink | None = None
        self._upkeep: Upkeep | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._widening = asyncio.Lock()
        self._committing: dict[int, float] = {}  # partition -> since when the end of its transaction is awaited

    @property
    def owner(self) -> Owner:
        return self.store.owner

    @property
    def peer(self) -> Peer:
        """How the changelog stands."""
        if self._log_sink is None or self._upkeep is None:
            return FINE
        peer = self._log_sink.peer
        return replace(peer, trouble="; ".join(each for each in (peer.trouble, self._upkeep.amiss) if each))

    async def open(self, is_fresh: bool) -> None:
        """Sees to the changelog. StartError when it cannot be had, StateError when it cannot have as many partitions as the source."""
        self.is_fresh = is_fresh
        settings = self.settings
        if settings.changelog is None:
            return
        source = await reach(settings.connection, settings.where)
        connection = changelog.made_like(settings.changelog, source)
        self._log_sink = KafkaSink(connection, settings.where)
        await self._log_sink.start()
        await changelog.check_policy(connection, settings.where)
        await self._widen(source.partitions)
        self._upkeep = Upkeep(connection, self._log_sink, settings.where, self._renewed)
        self._keeping = asyncio.create_task(self._upkeep.run())

    def _renewed(self) -> None:
        for task in self._tasks.values():
            task.is_astray = True

    async def _widen(self, partitions: int) -> None:
        """Gives the changelog partitions that the source has got."""
        changelog, sink = self.settings.changelog, self._log_sink
        async with self._widening:
            if changelog is not None and sink is not None and sink.partitions < partitions:
                sink.widen(await widen(changelog, self.settings.where, partitions))

    def producer(self, partition: int) -> TaskProducer | None:
        """Where the outputs of a task go; None = to the sinks' own producers."""
        task = self._tasks.get(partition)
        return task.producer if task is not None and self.settings.sinks_too else None

    # ---- a task begins ----------------------------------------------------------------------------------------------

    async def take(self, partition: int, offsets: Committed, progress: Restore) -> Restored | None:
        """Fences whoever has the task, reads its offset, restores its state; None where there is none (the source chooses where to begin)."""
        settings = self.settings
        producer = TaskProducer(
            settings.connection, settings.transactional_id(partition), settings.timeout_ms,
            f"{settings.where}: {settings.connection.topic}/{partition}", lambda err: self._lost(partition, err),
        )  # fmt: skip
        await self._widen(partition + 1)
        task = self._tasks[partition] = _Task(producer)
        await producer.start()
        producer.carry(self.sinks | ({} if self._log_sink is None else {_CHANGELOG: self._log_sink}))
        if settings.changelog is None:
            return None
        found = await offsets.committed(partition)
        pointer = Pointer.parse(found[1]) if found is not None else None
        progress.total_bytes = pointer.size_bytes if pointer is not None else 0
        return await self._restore(partition, task, pointer, progress)

    async def _restore(self, partition: int, task: _Task, pointer: Pointer | None, progress: Restore) -> Restored | None:
        if pointer is not None and not self.is_fresh:
            found = await self._from_disk(partition, task, pointer, progress)
            if found is not None:
                return found
        settings = self.settings
        assert settings.changelog is not None

        def on_progress(read: int, share: float) -> None:
            progress.done_bytes, progress.total_bytes = read, max(progress.total_bytes, int(read / max(share, 1e-9)))

        since = pointer.since if pointer is not None else 0
        held = await changelog.read_log(settings.changelog, partition, since, settings.where, on_progress)
        links = held.chain()
        task.others = held.keys()
        number = max([pointer.number if pointer else 0, *(link.number for link in links)])
        task.chain = Chain(number)
        if self.is_fresh:
            return None
        if not links:
            return await self._before_changelog(partition, task, pointer, progress)
        place = f"{settings.where}: {settings.changelog.topic}/{partition}"
        restored = await asyncio.to_thread(self.owner.follow, partition, links, place)
        if pointer is not None and restored.chain.number < pointer.number:
            raise StateError(
                f"the changelog ends with link {restored.chain.number}, the group's offset belongs to {pointer.number}", where=place,
                mend="put the changelog back, or start anew with --fresh",
            )  # fmt: skip
        task.chain, task.since, task.others, progress.way = restored.chain, since, [], "the changelog"
        await asyncio.to_thread(self._copy, partition, restored.chain, held)
        progress.done_bytes = progress.total_bytes = sum(restored.chain.sizes)
        return restored

    def _copy(self, partition: int, chain: Chain, held: changelog.Log) -> None:
        """Keeps on local disk what was read, for the next start."""
        try:
            self.store.adopt(partition, chain, held.copies())
        except StateError as err:
            log.warning("%s: the next start reads the changelog again: %s", self.settings.where, err)

    async def _from_disk(self, partition: int, task: _Task, pointer: Pointer, progress: Restore) -> Restored | None:
        """The state on local disk, if it is the one that the committed offset belongs to."""
        settings = self.settings
        assert settings.changelog is not None
        newest = await asyncio.to_thread(self.store.newest, partition)
        if newest == 0:
            return None
        found, why = None, f"it holds checkpoint {newest}, and {pointer.number} is committed"
        if newest == pointer.number:
            try:
                found = await asyncio.to_thread(self.store.restore, partition, progress)
            except StateError as err:
                why = str(err)
        if found is None or found.chain.digest != pointer.digest or not found.chain.is_whole:
            self.store.forget(partition)
            log.warning("%s: partition %d: the state on local disk is not used (%s)", settings.where, partition, why)
            return None
        end = await changelog.end_of(settings.changelog, partition, settings.where)
        task.chain, task.since = found.chain, pointer.since
        if end <= pointer.since:
            log.warning("%s: partition %d: the changelog has been emptied; it is written anew", settings.where, partition)
            task.chain = found.chain.cut()
        progress.way = "local disk"
        return found

    async def _before_changelog(self, partition: int, task: _Task, pointer: Pointer | None, progress: Restore) -> Restored | None:
        """What an engine without a changelog has left on local disk."""
        if pointer is not None:
            raise StateError(
                f"the changelog is empty, and link {pointer.number} is committed", where=f"{self.settings.where}: partition {partition}",
                mend="put the changelog or the state folder back, or start anew with --fresh",
            )  # fmt: skip
        found = await asyncio.to_thread(self.store.restore, partition, progress)
        if found is not None:
            task.chain, progress.way = found.chain.cut(), "local disk"
        return found

    # ---- a checkpoint ---------------------------------------------------------------------------------------------------

    def wants_changes(self, partition: int) -> bool:
        task = self._tasks.get(partition)
        return task is not None and task.chain.wants_changes and not task.is_astray

    def is_astray(self, partition: int) -> bool:
        """Whether all state of a task must be written, though nothing in it may be new."""
        task = self._tasks.get(partition)
        return task is not None and task.is_astray and task.chain.number > 0

    async def flush(self) -> None:
        """Returns when all outputs that went into transactions are acknowledged."""
        await asyncio.gather(*(task.producer.flush() for task in list(self._tasks.values())))

    async def commit(self, partition: int, checkpoint: Checkpoint) -> Link | None:
        """One transaction: outputs, changes of state, and the offset. FencedError when the task is no longer ours."""
        settings, task = self.settings, self._tasks.get(partition)
        offset = checkpoint.offsets[settings.source, partition]
        if task is None:
            raise FencedError("the task is given up", where=f"{settings.where}: partition {partition}")
        link, text = None, json.dumps({"esp": 1, "models": checkpoint.models}) if checkpoint.models else ""
        if settings.changelog is not None:
            link, text = await self._write(partition, task, checkpoint)
        self._committing[partition] = time.monotonic()
        try:
            await task.producer.commit(settings.group, settings.connection.topic, partition, offset, text)
        finally:
            self._committing.pop(partition, None)
        self.counts.committed += 1
        return link

    def stalled(self, answering_s: float) -> str:
        """Whether the end of a transaction is awaited for too long by a cluster that answers since that time."""
        since = max(min(self._committing.values(), default=math.inf), answering_s)
        return "transactions wait to be committed" if time.monotonic() - since > watch.STALL_S else ""

    async def _write(self, partition: int, task: _Task, checkpoint: Checkpoint) -> tuple[Link, str]:
        settings, chain = self.settings, task.chain
        assert settings.changelog is not None
        task.chain, task.is_astray = chain.cut(), task.is_astray and not checkpoint.is_full
        link = await asyncio.to_thread(self.owner.link, chain, chain.number + 1, partition, checkpoint)
        gone: Iterable[bytes] = ()
        if link.is_full:
            gone, task.others = [*task.others, *changelog.keys_of(chain)], []
            task.since = await changelog.end_of(settings.changelog, partition, settings.where)
        for block in changelog.blocks_of(link, gone, settings.changelog.topic, partition):
            await task.producer.send(_CHANGELOG, block)
        await task.producer.flush()
        task.chain = chain.followed_by(link)
        return link, Pointer(link.number, link.packed.digest, task.since, sum(task.chain.sizes)).text(checkpoint.models)

    # ---- a task ends ------------------------------------------------------------------------------------------------------

    def _lost(self, partition: int, err: FencedError) -> None:
        self.counts.fenced += 1
        log.error("%s: partition %d is given up: %s", self.settings.where, partition, err)
        self.on_lost(partition)

    def is_lost(self, partition: int) -> bool:
        """Whether another engine has taken over a task that is still held here."""
        task = self._tasks.get(partition)
        return task is not None and task.producer.lost is not None

    async def release(self, partitions: Collection[int] | None = None) -> None:
        """Ends the producers of tasks that go, or of all."""
        going = [self._tasks.pop(each) for each in list(self._tasks) if partitions is None or each in partitions]
        self.counts.aborted += sum(await asyncio.gather(*(task.producer.close() for task in going)))

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self.release()
        if self._log_sink is not None:
            await self._log_sink.stop()
