"""A consumer of aiokafka that hands out what it fetched as bytes, one piece a fetch and partition; only lengths are read on the loop."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords

from esp.kernels.records import walk
from esp.runtime.events import U8
from esp.runtime.kafka.binding import rebound, require, require_use
from esp.runtime.kafka.fetched import Fetched
from esp.runtime.kafka.frames import FrameClient
from esp.runtime.unread import OnCorrupt


class RawRecords:
    """In the place of aiokafka's MemoryRecords: the bytes, unread."""

    def __init__(self, data: Any) -> None:
        self.data: U8 = data if isinstance(data, np.ndarray) else np.frombuffer(data or b"", np.uint8)

    def has_next(self) -> bool:
        return len(self.data) > 0

    def size_in_bytes(self) -> int:
        return len(self.data)


class FetchedOnce:
    """In the place of aiokafka's PartitionRecords: gives one Fetched, and moves on to the offset behind it."""

    def __init__(
        self, tp: TopicPartition, records: RawRecords, aborted: Sequence[tuple[int, int]] | None, fetch_offset: int,
        consumer: "ColumnConsumer", _value_deserializer: Any, _check_crcs: bool, isolation_level: int,
    ) -> None:  # fmt: skip
        self.tp, self.data, self.aborted, self.consumer = tp, records.data, aborted, consumer
        self.is_committed_only = isolation_level == READ_COMMITTED
        self.next_fetch_offset = fetch_offset

    def __iter__(self) -> Iterator[Fetched]:
        wanted, told = self.next_fetch_offset, np.zeros(4, np.int64)
        walk(self.data, wanted, told)
        batches, count, self.next_fetch_offset, is_old = told.tolist()
        aborted = np.array(self.aborted or (), np.int64).reshape(-1, 2) if self.is_committed_only else None
        consumer = self.consumer
        yield Fetched(
            self.tp.topic, self.tp.partition, self.data, wanted, self.next_fetch_offset, batches, count, bool(is_old), aborted,
            partial(consumer.again, self.tp.partition), consumer.on_corrupt, consumer.place,
        )  # fmt: skip


class ColumnFetcher(Fetcher):
    """A fetcher whose deserializer is the consumer that it works for."""

    _proc_fetch_request = rebound(Fetcher._proc_fetch_request, MemoryRecords=RawRecords, PartitionRecords=FetchedOnce)


class ColumnConsumer(AIOKafkaConsumer):
    """``getmany`` gives lists of Fetched. ``again`` is called by who finds one damaged, from any thread."""

    _create = rebound(AIOKafkaConsumer.__init__, AIOKafkaClient=FrameClient)
    start = rebound(AIOKafkaConsumer.start, Fetcher=ColumnFetcher)

    def __init__(self, again: Callable[[int, int], None], on_corrupt: OnCorrupt, place: str, **options: Any) -> None:
        self.again, self.on_corrupt, self.place = again, on_corrupt, place
        self._create(**options, key_deserializer=self)


require(
    PartitionRecords.__init__,
    "self tp records aborted_transactions fetch_offset key_deserializer value_deserializer check_crcs isolation_level",
)
require_use(FetchResult.check_assignment, ["next_fetch_offset", "position"])
require_use(FetchResult.getall, ["_partition_records", "_update_position"])
require_use(Fetcher._proc_fetch_request, ["has_next", "size_in_bytes", "_key_deserializer"])
