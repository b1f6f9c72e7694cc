"""The Kafka sink: raw blocks as record batches, sent at once when idle, joined into larger ones while a request is in flight."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from esp.errors import QueryError, TransportError
from esp.kernels.murmur import partitions
from esp.kernels.records_write import most_bytes
from esp.runtime.dead_letters import DeadLetters, fitted
from esp.runtime.events import I64, RawBlock
from esp.runtime.kafka import columns, watch
from esp.runtime.kafka.client_log import Heard, listen
from esp.runtime.kafka.client_packing import ClientPacking
from esp.runtime.kafka.cluster import FIRST_BACKOFF_S, Topic, reach, stop_in_time
from esp.runtime.kafka.columns import Batch, Packing
from esp.runtime.kafka.compression import CODECS
from esp.runtime.kafka.fences import fenced, is_fence
from esp.runtime.kafka.pacing import Pace
from esp.runtime.kafka.settings import KafkaConnection, client_options
from esp.runtime.kafka.watch import Watch, Watched, first_id
from esp.runtime.peer import Peer

log = logging.getLogger(__name__)
RECORD_OVERHEAD_BYTES = 96  # what a batch of one record adds to it: header of the batch (61) and at most 35 for the record's own


@dataclass(slots=True)
class _Lane:
    """One partition: what waits for a batch, how many records were handed over and acknowledged, and the bytes of each block."""

    packing: Packing
    handed: int = 0
    acknowledged: int = 0
    blocks: deque[tuple[int, int]] = field(default_factory=deque)  # records handed over up to the end of a block, its bytes
    task: asyncio.Task[None] | None = None

    def acknowledge(self, records: int) -> int:
        """Counts acknowledged records; gives the bytes of the blocks that are thereby done."""
        self.acknowledged += records
        freed = 0
        while self.blocks and self.blocks[0][0] <= self.acknowledged:
            freed += self.blocks.popleft()[1]
        return freed


class KafkaSink:
    """Writes blocks to the partition that they come from (modulo the topic's), or to those of their keys; keys, headers and stamps are kept.

    The producer is idempotent and waits for all replicas; a broker that is away is awaited without end. After a failure
    nothing more is taken: the engine goes back to its checkpoint.
    """

    def __init__(self, settings: KafkaConnection, where: str = "") -> None:
        self.settings, self.where = settings, where
        self._is_transactional = False
        self._release: Callable[[], None] = lambda: None
        self.place = f"{where}: {settings.topic}" if where else settings.topic
        self._topic = Topic(1, None)
        self._lanes: dict[int, _Lane] = {}
        self._twins: set[KafkaSink] = set()  # over the producers of tasks
        self._in_flight_bytes = 0
        self.letters_cut = self.letters_lost = 0
        self._progress = asyncio.Event()
        self._failure: Exception | None = None
        self._producer: Any = None
        self._threads: ThreadPoolExecutor | None = None
        self._watch: Watch | None = None
        self._heard, self._acknowledged_s = Heard(), time.monotonic()

    @property
    def peer(self) -> Peer:
        if self._watch is None:
            return Peer("it is not reached yet")
        return Peer(self._watch.trouble, self._watch.faults, self._watch.away_s, self._heard.count)

    async def start(self) -> None:
        self._topic = await reach(self.settings, self.place)
        listen(self._heard)
        self._producer = self._make()
        if columns.are_wanted(self.settings, self.place):
            self._threads = ThreadPoolExecutor(1, "esp-batches")
            columns.let_fly(self._producer)
        try:
            await self._producer.start()
        except KafkaError as err:
            raise self._error(err, 0) from err
        self._lanes = {partition: _Lane(self._packing()) for partition in range(self._topic.partitions)}
        client, pace, place = self._producer.client, Pace(), f"{self.place}: {self.settings.brokers}"
        pace.rule(client, _retry_backoff=self._producer._sender)
        self._producer._message_accumulator._batch_ttl = math.inf  # who leads no partition now is awaited like who is gone
        watched = Watched(client, self.settings.topic, place, self._heard, pace, self._stalled, lambda found: None, self._seen)
        self._watch = Watch(watched, await first_id(client, self.settings.topic))

    def _stalled(self, answering_s: float) -> str:
        """Whether the broker, which answers since that time, takes too long to acknowledge what it was sent."""
        now, sinks = time.monotonic(), (self, *self._twins)
        for sink in sinks:
            if all(lane.acknowledged == lane.handed for lane in sink._lanes.values()):
                sink._acknowledged_s = now
        waits_s = now - max(min(sink._acknowledged_s for sink in sinks), answering_s)
        return "the broker does not acknowledge the records" if waits_s > watch.STALL_S else ""

    @property
    def partitions(self) -> int:
        """How many the topic has."""
        return self._topic.partitions

    @property
    def topic_id(self) -> str:
        """The topic's id, as it was seen last; empty where it cannot be told."""
        return "" if self._watch is None else self._watch.topic_id

    @property
    def has_gone(self) -> bool:
        """Whether there was no such topic when the cluster was asked last."""
        return self._watch is not None and self._watch.trouble.startswith(watch.NO_TOPIC)

    def _seen(self) -> None:
        """Takes up partitions that the topic has got, as each producer learns of them."""
        count = self.partitions
        for sink in (self, *self._twins):
            client, before = sink._producer.client, len(sink._lanes)
            there = len(client.cluster.partitions_for_topic(self.settings.topic) or ())
            if there > before:
                sink.widen(there)
            elif before < self.partitions:
                client.force_metadata_update()
        if self.partitions > count:
            log.info("%s: records go to the partitions that were added too, %d in all", self.place, self.partitions)

    def widen(self, partitions: int) -> None:
        """Takes up partitions that the topic has got; whatever goes on over other producers learns of them by itself."""
        self._topic = replace(self._topic, partitions=partitions)
        self._lanes |= {partition: _Lane(self._packing()) for partition in range(len(self._lanes), partitions)}

    def over(self, producer: Any) -> "KafkaSink":
        """The same sink over the transactional producer of a task, which is not its own to start or stop."""
        twin = KafkaSink(self.settings, self.where)
        twin._topic, twin._threads, twin._producer, twin._is_transactional = self._topic, self._threads, producer, True
        twin._lanes = {partition: _Lane(twin._packing()) for partition in self._lanes}
        self._twins.add(twin)
        twin._release = partial(self._twins.discard, twin)
        return twin

    async def drop(self) -> None:
        """Forgets what waits."""
        self._release()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _packing(self) -> Packing:
        codec = CODECS.get(self.settings.compression or "", 0)
        if self._threads is None:
            return ClientPacking(partial(BatchBuilder, self._limit, codec, is_transactional=self._is_transactional))
        return columns.open_packing(self._limit, codec, self._threads, self._is_transactional)

    @property
    def _limit(self) -> int:
        """The bytes that a batch may have before it is compressed."""
        return min(self._topic.max_message_bytes or self.settings.max_batch_bytes, self.settings.max_batch_bytes)

    def _make(self) -> Any:
        options = {**self.settings.client, **client_options(self.settings, self.place)}
        try:
            return AIOKafkaProducer(
                **options, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=self._limit,
                compression_type=self.settings.compression,
            )  # fmt: skip
        except (TypeError, ValueError, RuntimeError) as err:
            raise QueryError(
                f"aiokafka refuses an option ({err})", where=f"{self.place}: client", mend="see aiokafka's producer"
            ) from err

    async def send(self, block: RawBlock) -> None:
        self._check()
        block = self._fitted(block) if isinstance(block, DeadLetters) else block
        size, total = _sizes(block)
        if total > (self._topic.max_message_bytes or 0):
            self._check_sizes(block, size)
        while self._in_flight_bytes >= self.settings.max_in_flight_bytes:
            await self._wait()
        if not len(block):
            return
        for partition, rows in self._parted(block):
            if rows is None:
                self._hand(partition, block, total)
            else:
                self._hand(partition, block.take(rows), int(size[rows].sum()))

    def _parted(self, block: RawBlock) -> list[tuple[int, I64 | None]]:
        """The partitions that a block goes to, with the rows that each takes (None = all)."""
        count = len(self._lanes)
        own = block.partition % count
        if self.settings.partition_by == "source" or count == 1:
            return [(own, None)]
        chosen = np.empty(len(block), np.int64)
        partitions(block.buffer, block.key_at, block.key_size, count, own, chosen)
        return [(int(each), np.flatnonzero(chosen == each)) for each in np.unique(chosen)]

    def _hand(self, partition: int, block: RawBlock, size: int) -> None:
        lane = self._lanes[partition]
        lane.handed += len(block)
        lane.packing.add(block, size)
        lane.blocks.append((lane.handed, size))
        self._in_flight_bytes += size
        if lane.task is None or lane.task.done():
            lane.task = asyncio.create_task(self._run(partition, lane))

    def _fitted(self, letters: DeadLetters) -> DeadLetters:
        """Dead letters such that no size stops the engine: what the topic does not take is cut away or left out."""
        limit, (size, _) = self._limit, _sizes(letters)
        if not (size > limit).any():
            return letters
        kept, cut, lost = fitted(letters, limit - RECORD_OVERHEAD_BYTES)
        self.letters_cut += cut
        self.letters_lost += lost
        log.warning("%s: dead letters larger than %d bytes: %d cut, %d left out", self.place, limit, cut, lost)
        return kept

    def _check_sizes(self, block: RawBlock, size: I64) -> None:
        limit = self._topic.max_message_bytes
        if limit is None or self.settings.compression:
            return
        if len(block) and int(size.max()) > limit:
            row = int(size.argmax())
            raise self._too_large(f"a record of {int(block.value_size[row])} bytes", f"its limit is {limit}")

    async def _run(self, partition: int, lane: _Lane) -> None:
        """Packs and hands over what waits; while a request is in flight, more gathers for the next batch."""
        try:
            while lane.packing and self._failure is None:
                batch = await lane.packing.pack()
                acknowledged = await self._hand_over(batch, partition)
                acknowledged.add_done_callback(partial(self._on_acknowledged, lane, batch))
                await lane.packing.taken()
        except (KafkaError, IllegalOperation) as err:  # the latter where a transaction has ended behind our back
            self._fail(self._error(err, 0))
        except Exception as err:  # a fault of ours: whoever waits must learn of it
            self._fail(err)

    async def _hand_over(self, batch: Any, partition: int) -> "asyncio.Future[Any]":
        client = self._producer.client
        while True:
            known = client.cluster.partitions_for_topic(self.settings.topic)
            if known and partition not in known:  # whoever was asked last has not heard of it yet
                await client.force_metadata_update()
                await asyncio.sleep(FIRST_BACKOFF_S)
                continue
            try:
                future: asyncio.Future[Any] = await self._producer.send_batch(batch, self.settings.topic, partition=partition)
            except KafkaTimeoutError:  # the batch before still waits for the broker
                continue
            return future

    def _on_acknowledged(self, lane: _Lane, batch: Batch, future: "asyncio.Future[Any]") -> None:
        if future.cancelled():
            return
        err = future.exception()
        if err is not None:
            self._fail(self._error(err, batch.size()))
            return
        self._in_flight_bytes -= lane.acknowledge(batch.record_count())
        self._acknowledged_s = time.monotonic()
        self._progress.set()

    async def flush(self) -> None:
        wanted = [(lane, lane.handed) for lane in self._lanes.values()]
        self._check()
        while any(lane.acknowledged < handed for lane, handed in wanted):
            await self._wait()

    async def stop(self) -> None:
        if self._watch is not None:
            await self._watch.stop()
        await self.drop()
        if self._producer is not None:
            await stop_in_time(self._producer.stop(), self._producer.client, self.place)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _wait(self) -> None:
        """Until something has been acknowledged; raises what has failed."""
        self._progress.clear()
        await self._progress.wait()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, err: Exception) -> None:
        self._failure = self._failure or err
        self._progress.set()

    def _too_large(self, what: str, limit: str) -> TransportError:
        return TransportError(
            f"{what} is more than topic '{self.settings.topic}' takes ({limit})",
            where=self.place,
            mend="raise max.message.bytes of the topic",
        )

    def _error(self, err: BaseException, size: int) -> TransportError:
        if isinstance(err, MessageSizeTooLargeError):
            return self._too_large(f"a record batch of {size} bytes", "the broker refused it")
        if self._is_transactional and is_fence(err, self._producer):
            return fenced(self.place, self._producer)
        text = f"the records were not taken ({type(err).__name__}: {err})"
        return TransportError(
            text,
            where=f"{self.place}: {self.settings.brokers}",
            mend="see the broker's log; the engine goes on from its checkpoint",
        )


def _sizes(block: RawBlock) -> tuple[I64, int]:
    """The most bytes that each record takes in a batch, were it alone there, and all of them together."""
    size = np.empty(len(block), np.int64)
    return size, most_bytes(block.value_size, block.key_size, block.header_size, RECORD_OVERHEAD_BYTES, size)
