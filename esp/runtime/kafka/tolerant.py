"""Record batches as aiokafka reads them, but a header whose name is no UTF-8 comes through instead of ending the consumer."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from esp.runtime.headers import decode_headers, read_sized, read_varint
from esp.runtime.kafka.binding import BindingError, rebound

LENGTH_AT, BEFORE_LENGTH_BYTES = 8, 12  # a batch: offset (8 bytes), length of what follows (4), the rest


class TolerantRecords:
    """What one fetch brought of one partition; batches are parsed by aiokafka, and anew by us where a name stops it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._records, self._taken = data, MemoryRecords(data), 0

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> "TolerantBatch | None":
        batch = self._records.next_batch()
        if batch is None:
            return None
        self._taken += 1
        return TolerantBatch(batch, self._data, self._taken - 1)


class TolerantBatch:
    """A batch of aiokafka, the ``number``-th of the data that it came in."""

    def __init__(self, batch: Any, data: bytes, number: int) -> None:
        self._batch, self._data, self._number = batch, data, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        given = 0
        try:
            for record in self._batch:
                yield record
                given += 1
        except UnicodeDecodeError:
            yield from islice(read_batch(_batch_bytes(self._data, self._number)), given, None)


def _batch_bytes(data: bytes, number: int) -> bytes:
    at = 0
    for _ in range(number):
        at += BEFORE_LENGTH_BYTES + _length(data, at)
    return data[at : at + BEFORE_LENGTH_BYTES + _length(data, at)]


def _length(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">i", data, at + LENGTH_AT)[0])


def read_batch(data: bytes) -> Iterator[DefaultRecord]:
    """The records of a batch (format 2); a name that is no UTF-8 comes through ``surrogateescape``."""
    batch = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    try:
        records, at = bytes(batch._buffer), batch._pos
        while at < len(records):
            record, at = read_sized(records, at)
            yield _record(batch, record or b"")
    except (ValueError, IndexError) as err:
        raise CorruptRecordException(str(err)) from err


def _record(batch: Any, record: bytes) -> DefaultRecord:
    delta_ms, at = read_varint(record, 1)  # after the attributes, one byte that nothing stands in
    delta, at = read_varint(record, at)
    key, at = read_sized(record, at)
    value, at = read_sized(record, at)
    stamp = batch.max_timestamp if batch.timestamp_type == batch.LOG_APPEND_TIME else batch.first_timestamp + delta_ms
    return DefaultRecord(batch.base_offset + delta, stamp, batch.timestamp_type, key, value, decode_headers(record[at:]))


def _tolerant() -> Any:
    """aiokafka's consumer over these records; as it is, where it cannot be had."""
    try:
        records: Any = rebound(Fetcher._proc_fetch_request, MemoryRecords=TolerantRecords)
        fetcher = type("TolerantFetcher", (Fetcher,), {"_proc_fetch_request": records})
        return type("TolerantConsumer", (AIOKafkaConsumer,), {"start": rebound(AIOKafkaConsumer.start, Fetcher=fetcher)})
    except (BindingError, AttributeError):
        return AIOKafkaConsumer


TolerantConsumer = _tolerant()
