"""The Kafka source: records of one topic as raw blocks, partitions as the consumer group gives and takes them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import aiokafka.errors
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, OffsetOutOfRangeError

from esp.errors import EspError, QueryError, TransportError
from esp.runtime.connector import ELSEWHERE, Assigned, Revoked
from esp.runtime.events import RawBlock
from esp.runtime.kafka import columns
from esp.runtime.kafka.assignors import assignor
from esp.runtime.kafka.client_log import Heard, listen
from esp.runtime.kafka.cluster import reach, stop_in_time
from esp.runtime.kafka.consumed import block_of
from esp.runtime.kafka.fetched import Fetched
from esp.runtime.kafka.pacing import Pace
from esp.runtime.kafka.settings import KafkaConnection, client_options
from esp.runtime.kafka.standstill import Standstill
from esp.runtime.kafka.starts import first_offsets, offsets_as_told
from esp.runtime.kafka.tolerant import TolerantConsumer
from esp.runtime.kafka.watch import Watch, Watched, first_id
from esp.runtime.peer import Peer
from esp.runtime.unread import Moved, Unread

log = logging.getLogger(__name__)
FETCH_BYTES = 16 << 20  # of one fetch from one broker
LOOK_S = 1.0  # how often a commit that waits looks whether there is still something to commit to
NEVER_MS = 2**31 - 1  # the engine says itself when it is stuck
NO_GENERATION = -1  # of who is no member of the group


class KafkaSource:
    """Reads a topic as a member of a consumer group; a rebalance calls ``revoked``, then ``assigned``.

    Both run beside the group's heartbeats, so they may take longer than the session timeout; nothing is handed out
    between the first and the end of the second.
    """

    bounded = False
    ended = False

    def __init__(self, settings: KafkaConnection, group: str = "", where: str = "") -> None:
        self.settings, self.group = settings, settings.group or group
        self.place = f"{where}: {settings.topic}" if where else settings.topic
        if not self.group:
            raise QueryError("a Kafka source needs a consumer group", where=where, mend="say group = NAME")
        self.handover_s: float | None = settings.handover_s or settings.rebalance_timeout_ms / 2000
        self._ready, self._changed, self._first = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._position: dict[int, int] = {}
        self._identity = ""
        self._moved: list[Moved] = []
        self._paused: set[int] = set()
        self._left_at, self._left_as = NO_GENERATION, ""
        self._failure: BaseException | None = None
        self._taking: asyncio.Task[None] | None = None
        self._consumer: Any = None
        self._watch: Watch | None = None
        self._heard, self._standstill = Heard(), Standstill(self)
        self._events_lost = 0
        self.says = ""  # what goes with the offsets that are committed
        self.beside: Callable[[float], str] = lambda answering_s: ""  # what else of its tasks has stood still too long

    @property
    def peer(self) -> Peer:
        if self._watch is None:
            return Peer("it is not reached yet")
        return Peer(self._watch.trouble, self._watch.faults, self._watch.away_s, self._heard.count, self._events_lost)

    @property
    def identity(self) -> str:
        return self._identity

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        self._assigned, self._revoked, self._loop = assigned, revoked, asyncio.get_running_loop()
        await self._open()
        self._consumer.subscribe([self.settings.topic], listener=_Listener(self))
        try:
            await self._consumer.start()
        except KafkaError as err:
            raise self._error(err) from err
        await self._first.wait()
        self._check()
        self._begin_to_watch()

    async def _open(self) -> None:
        self._topic = await reach(self.settings, self.place)
        listen(self._heard)
        self._consumer = self._make()

    def _begin_to_watch(self) -> None:
        client, place, pace = self._consumer._client, f"{self.place}: {self.settings.brokers}", Pace()
        pace.rule(client, _retry_backoff=self._consumer._fetcher, _retry_backoff_ms=self._consumer._coordinator)
        watched = Watched(client, self.settings.topic, place, self._heard, pace, self._stalled, self._on_new_topic)
        self._watch = Watch(watched, self._identity)

    def _stalled(self, answering_s: float) -> str:
        return self._standstill.what(answering_s) or self.beside(answering_s)

    def _make(self) -> Any:
        settings = self.settings
        options = {
            "session_timeout_ms": 10_000, "rebalance_timeout_ms": settings.rebalance_timeout_ms, "fetch_max_bytes": FETCH_BYTES,
            **({} if settings.isolation is None else {"isolation_level": settings.isolation}), **settings.client,
            **client_options(settings, self.place), "group_id": self.group, "enable_auto_commit": False,
            "auto_offset_reset": "none", "max_poll_interval_ms": NEVER_MS, "group_instance_id": settings.instance,
            "partition_assignment_strategy": (assignor(settings.assignor, self._generation),), "fetch_max_wait_ms": settings.fetch_max_wait_ms,
            "max_partition_fetch_bytes": settings.max_partition_fetch_bytes,
        }  # fmt: skip
        self._has_columns = columns.are_wanted(settings, self.place)
        try:
            if self._has_columns:
                return columns.open_consumer(settings, self._fetch_again, self.place, options)
            return TolerantConsumer(**options)
        except (TypeError, ValueError) as err:
            raise QueryError(
                f"aiokafka refuses an option ({err})", where=f"{self.place}: client", mend="see aiokafka's consumer"
            ) from err

    async def poll(self, timeout_s: float) -> Sequence[RawBlock | Unread | Moved]:
        self._check()
        if self._moved:
            moved, self._moved = self._moved, []
            return moved
        active = [partition for partition in self._position if partition not in self._paused]
        if not self._ready.is_set() or not active:
            await self._wait(timeout_s)
            return []
        partitions = [self._tp(partition) for partition in active]
        try:
            found = await self._consumer.getmany(
                *partitions, timeout_ms=int(timeout_s * 1000), max_records=None if self._has_columns else self.settings.max_records
            )
        except OffsetOutOfRangeError as err:
            return await self._reset(err) if self._ready.is_set() else []
        except KafkaError as err:
            if not self._ready.is_set():
                return []
            raise self._error(err) from err
        # while partitions move, aiokafka fetches from where it thinks fit; `_take_over` seeks afterwards
        if not self._ready.is_set():
            return []
        if self._has_columns:
            return [self._unread(fetched) for some in found.values() for fetched in some]
        return [self._block(tp.partition, records) for tp, records in found.items()]

    def _unread(self, fetched: Fetched) -> Fetched:
        self._position[fetched.partition] = fetched.following
        return fetched

    def _fetch_again(self, partition: int, offset: int) -> None:
        """Called by the worker, which found a damaged batch."""
        self._loop.call_soon_threadsafe(self._go_back, partition, offset)

    def _go_back(self, partition: int, offset: int) -> None:
        if partition in self._position and self._ready.is_set():  # else it has gone, and its new owner reads it itself
            log.warning("%s: partition %d is fetched again from offset %d", self.place, partition, offset)
            with contextlib.suppress(IllegalStateError):
                self._consumer.seek(self._tp(partition), offset)
                self._position[partition] = offset

    def _block(self, partition: int, records: list[ConsumerRecord[bytes, bytes]]) -> RawBlock:
        self._position[partition] = records[-1].offset + 1
        return block_of(self.settings.topic, partition, records)

    async def _wait(self, timeout_s: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    def pause(self, partitions: Set[int]) -> None:
        """What has been fetched of a paused partition is kept for later."""
        self._paused |= partitions

    def resume(self, partitions: Set[int]) -> None:
        self._paused -= partitions
        self._changed.set()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """A partition that has moved on meanwhile is its new owner's to commit: that is said in the log, and no failure."""
        if not offsets:
            return
        listen(self._heard)
        self._standstill.begin("offsets wait to be committed")
        try:
            await self._commit(offsets)
        except (CommitFailedError, IllegalStateError) as err:
            log.warning(
                "%s: offsets %s were not committed, the group has moved on (%s)", self.place, dict(offsets), type(err).__name__
            )
        except KafkaError as err:
            raise self._error(err) from err
        finally:
            self._standstill.end("offsets wait to be committed")

    async def _commit(self, offsets: Mapping[int, int]) -> None:
        """The client tries on without end; where the topic has gone meanwhile there is nothing to commit to."""
        committing = asyncio.ensure_future(
            self._consumer.commit({self._tp(partition): (offset, self.says) for partition, offset in offsets.items()})
        )
        cluster = self._consumer._client.cluster
        try:
            while not committing.done():
                await asyncio.wait([committing], timeout=LOOK_S)
                if not committing.done() and not cluster.partitions_for_topic(self.settings.topic):
                    log.warning("%s: offsets %s were not committed, the topic has gone", self.place, dict(offsets))
                    return
            committing.result()
        finally:
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)

    async def committed(self, partition: int) -> tuple[int, str] | None:
        """The offset that the group has committed of a partition, and what was said with it."""
        tp = self._tp(partition)
        try:
            found = await self._consumer._coordinator.fetch_committed_offsets([tp])
        except KafkaError as err:
            raise self._error(err) from err
        return (found[tp].offset, found[tp].metadata) if tp in found else None

    def rejoin(self) -> None:
        """Asks the group anew who has which partitions: all of them are given up, and those that come are taken over."""
        self._consumer._coordinator.request_rejoin()

    async def lag(self) -> dict[int, int]:
        ends = {partition: self._consumer.highwater(self._tp(partition)) for partition in self._position if self._ready.is_set()}
        return {partition: max(0, end - self._position[partition]) for partition, end in ends.items() if end is not None}

    async def unmoved(self, partitions: Set[int]) -> dict[int, int | None]:
        """Where this member was in the generation before too, nobody else can have had what came back, if it is the same topic."""
        if self._left_at == NO_GENERATION or self._generation() != self._left_at + 1 or self._identity != self._left_as:
            return {}
        numbers = sorted(partitions)
        return dict(zip(numbers, await asyncio.gather(*(self._consumer.committed(self._tp(number)) for number in numbers))))

    def _generation(self) -> int:
        return int(self._consumer._coordinator.generation)

    async def stop(self) -> None:
        if self._watch is not None:
            await self._watch.stop()
        if self._taking is not None:
            self._taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._taking
        if self._consumer is not None:
            await stop_in_time(self._consumer.stop(), self._consumer._client, self.place)

    # ------------------------------------------------------------------------------------ partitions come and go

    async def give_up(self, partitions: set[int]) -> None:
        """Called by the group before partitions move."""
        if self._taking is not None:
            await asyncio.wait([self._taking])
        self._ready.clear()
        self._standstill.begin("the group gives no partitions")
        self._left_at, self._left_as = self._generation(), self._identity
        if partitions and self._failure is None:
            try:
                await self._revoked(partitions)
            except EspError as err:
                self._fail(err)
        self._position, self._paused, self._moved = {}, set(), []

    def take_over(self, partitions: set[int]) -> None:
        """Called by the group once partitions have come; the work goes on beside the heartbeats."""
        self._taking = asyncio.create_task(self._take_over(partitions))

    async def _take_over(self, partitions: set[int]) -> None:
        try:
            self._identity = await first_id(self._consumer._client, self.settings.topic) or self._identity
            answers = await self._assigned(partitions)
            anew = {partition for partition, offset in answers.items() if offset == ELSEWHERE}
            known = {partition: offset for partition, offset in answers.items() if offset is not None and partition not in anew}
            offsets = known | await self._first_offsets(partitions - known.keys() - anew) | await self._offsets_of_new_topic(anew)
            for partition, offset in offsets.items():
                self._consumer.seek(self._tp(partition), offset)
            self._position = offsets
            self._ready.set()
            self._standstill.end("the group gives no partitions")
        except IllegalStateError:
            log.info("%s: the partitions have moved on while they were taken over", self.place)
        except KafkaError as err:
            self._fail(self._error(err))
        except Exception as err:
            self._fail(err)
        self._first.set()
        self._changed.set()

    async def _first_offsets(self, partitions: set[int]) -> dict[int, int]:
        return await first_offsets(self._consumer, self.settings, partitions)

    # -------------------------------------------------------------------------------------------------- faults

    def _on_new_topic(self, found: str) -> None:
        """The topic is another one: its partitions are taken over anew, if they have not been."""
        if found != self._identity:
            self._consumer._coordinator.request_rejoin()

    async def _offsets_of_new_topic(self, partitions: set[int]) -> dict[int, int]:
        """Where to go on in a topic that was made anew: the state is that of events that are gone."""
        if not partitions:
            return {}
        if self.settings.on_lost == "fail":
            raise TransportError(
                "the topic was deleted and made anew, and the state is that of the one before",
                where=f"{self.place}/{min(partitions)}",
                mend="say on_lost = earliest or latest to go on with the state, or start with --fresh",
            )
        found = dict(sorted((await offsets_as_told(self._consumer, self.settings, partitions)).items()))
        self._moved = [Moved(self.settings.topic, partition, offset) for partition, offset in found.items()]
        log.warning("%s: the topic was made anew; it goes on at %s with the state as it is", self.place, found)
        return found

    async def _reset(self, err: OffsetOutOfRangeError) -> list[Moved]:
        """Goes on where ``on_lost`` says with a partition whose offset is out of range. Raises TransportError where it says fail."""
        if self.settings.on_lost == "fail":
            raise self._error(err) from err
        (lost,) = [(tp.partition, offset) for tp, offset in err.args[0].items()]
        partition, old = lost
        try:
            new = (await offsets_as_told(self._consumer, self.settings, {partition}))[partition]
            self._consumer.seek(self._tp(partition), new)
        except (KafkaError, IllegalStateError):  # it has moved, or the broker has gone: the next fetch finds it out again
            return []
        self._position[partition] = new
        self._events_lost += max(0, new - old)
        told = f"{new - old} events are lost" if new > old else "the topic has become shorter"
        line = "%s/%d: offset %d is not there any more; it goes on at %d, as on_lost = %s says: %s"
        log.warning(line, self.place, partition, old, new, self.settings.on_lost, told)
        return [Moved(self.settings.topic, partition, new)]

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self.settings.topic, partition)

    def _fail(self, err: BaseException) -> None:
        self._failure = self._failure or err
        self._first.set()
        self._changed.set()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _error(self, err: KafkaError) -> TransportError:
        if isinstance(err, OffsetOutOfRangeError) and err.args and isinstance(err.args[0], dict):
            tp, offset = next(iter(err.args[0].items()))
            return TransportError(
                f"offset {offset} is no longer (or not yet) there",
                where=f"{self.place}/{tp.partition}/{offset}",
                mend="say on_lost = earliest or latest to go on with what there is",
            )
        if isinstance(err, aiokafka.errors.CorruptRecordException):
            return TransportError(f"a record batch is damaged ({err})", where=self.place, mend="see to the broker's disk")
        return TransportError(f"Kafka refused ({type(err).__name__}: {err})", where=f"{self.place}: {self.settings.brokers}")


class _Listener(ConsumerRebalanceListener):
    """What aiokafka calls when partitions move."""

    def __init__(self, source: KafkaSource) -> None:
        self.source = source

    async def on_partitions_revoked(self, revoked: Set[TopicPartition]) -> None:
        await self.source.give_up({tp.partition for tp in revoked})

    async def on_partitions_assigned(self, assigned: Set[TopicPartition]) -> None:
        self.source.take_over({tp.partition for tp in assigned})
