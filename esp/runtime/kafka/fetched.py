"""What one fetch brought of one partition: bytes until the worker reads them, a block of columns then."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords

from esp.kernels import records as kernels
from esp.runtime.events import I64, U8, RawBlock
from esp.runtime.kafka.compression import expand
from esp.runtime.kafka.consumed import block_of
from esp.runtime.kafka.tolerant import TolerantRecords
from esp.runtime.unread import Damage, OnCorrupt

LARGEST_BYTES = 1 << 30  # what one fetch may hold once it is expanded
_NOTHING = np.zeros(0, np.uint8)
WRONG = {
    kernels.OLD_FORMAT: "its format is none that there is",
    kernels.WRONG_LENGTH: "its length is wrong",
    kernels.WRONG_CRC: "its checksum is wrong",
    kernels.WRONG_COUNT: "its number of records is wrong",
    kernels.WRONG_RECORD: "a record is wrong",
}


class Fault(NamedTuple):
    """A batch that cannot be read: the byte where, the bytes and offsets it spans; ``end`` None = nobody can tell."""

    what: str
    at: int
    begin: int
    end: int | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Record batches as they came. ``records`` is what their headers claim; ``following`` is where the next fetch goes on.

    ``aborted`` int64[k, 2] are producer and first offset of the aborted transactions among them; None = read uncommitted.
    """

    topic: str
    partition: int
    data: U8
    wanted: int
    following: int
    batches: int
    records: int
    is_old: bool
    aborted: I64 | None
    again: Callable[[int], None]
    on_corrupt: OnCorrupt
    place: str

    def __len__(self) -> int:
        return self.records

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def block(self) -> RawBlock:
        """The records from the offset ``wanted`` on. Raises Damage."""
        block, fault = self._old_block() if self.is_old else self._block()
        if fault is not None:
            raise self._damage(block, fault)
        return block

    def _block(self) -> tuple[RawBlock, Fault | None]:
        table, fault = self._scan()
        buffer, places, found = _expanded(self.data, table)
        fault = found or fault
        columns, told = np.empty((kernels.COLUMNS, int(places[:, kernels.RECORDS].sum()) + 1), np.int64), np.zeros(5, np.int64)
        n = kernels.parse(buffer, places, self.wanted, columns, told)
        if told[0] != kernels.FINE:
            row = int(np.flatnonzero(places[:, kernels.BASE] == told[2])[0])
            fault = _fault(WRONG[int(told[0])], table[row])
            if buffer is self.data:
                fault = fault._replace(at=int(told[1]))
            n = int(np.searchsorted(columns[kernels.OFFSET, :n], fault.first))
        return RawBlock(self.topic, self.partition, buffer, *columns[:, :n]), fault

    def _scan(self) -> tuple[I64, Fault | None]:
        """The batches with wanted records, and the first that is damaged."""
        aborted = np.zeros((0, 2), np.int64) if self.aborted is None else self.aborted
        table, told = np.empty((self.batches, kernels.TABLE), np.int64), np.zeros(5, np.int64)
        count = kernels.scan(self.data, True, self.wanted, aborted, np.zeros(len(aborted), np.int64), table, told)
        what, at, first, last = told[:4].tolist()
        if what == kernels.FINE:
            return table[:count], None
        end = None if what == kernels.WRONG_LENGTH else at + kernels.BEFORE_LENGTH + _big_endian(self.data, at + kernels.LENGTH, 4)
        return table[:count], Fault(WRONG[what], at, at, end, first, last)

    def _old_block(self) -> tuple[RawBlock, Fault | None]:
        """Formats before 2 are aiokafka's to read."""
        isolation, aborted = (READ_UNCOMMITTED, None) if self.aborted is None else (READ_COMMITTED, self.aborted.tolist())
        records: list[Any] = []
        try:
            reader = TolerantRecords(self.data.tobytes())
            tp = TopicPartition(self.topic, self.partition)
            records.extend(PartitionRecords(tp, reader, aborted, self.wanted, None, None, True, isolation))
        except Exception as err:  # what its reader raises at damaged bytes is of any kind, SystemError too
            fault = Fault(f"aiokafka cannot read it ({err})", 0, 0, None, self.wanted, self.following - 1)
            return block_of(self.topic, self.partition, []), fault
        return block_of(self.topic, self.partition, records), None

    def _damage(self, before: RawBlock, fault: Fault) -> Damage:
        first, last = max(fault.first, self.wanted), max(fault.last, self.wanted)
        data, rest = self.data[fault.begin : fault.end], None
        if fault.end is not None and fault.end + 8 <= len(self.data):
            follows = _big_endian(self.data, fault.end, 8)
            last = follows - 1 if follows > first else last
            whole = np.concatenate((self.data[: fault.begin], self.data[fault.end :]))
            rest = replace(self, data=whole, wanted=last + 1)
        return Damage(fault.what, fault.at, first, last, data, before, rest)


def _fault(what: str, row: I64) -> Fault:
    begin = int(row[kernels.AT]) - kernels.HEADER
    return Fault(what, begin, begin, int(row[kernels.END]), int(row[kernels.BASE]), int(row[kernels.LAST]))


def _expanded(data: U8, table: I64) -> tuple[U8, I64, Fault | None]:
    """The bytes that hold the records, uncompressed, and the batches by their places there, up to the first that cannot be expanded."""
    codecs = (table[:, kernels.FLAGS] & kernels.CODEC).tolist()
    if not any(codecs):
        return data, table, None
    parts, size = list[U8](), 0
    for row, codec in zip(table, codecs):
        part = data[row[kernels.AT] : row[kernels.END]]
        try:
            parts.append(expand(codec, part) if codec else part)
            size += len(parts[-1])
            if row[kernels.RECORDS] * kernels.SMALLEST_RECORD > len(parts[-1]):
                raise ValueError(WRONG[kernels.WRONG_COUNT])
            if size > LARGEST_BYTES:
                raise ValueError(f"the batches of the fetch hold more than {LARGEST_BYTES >> 20} MiB")
        except ValueError as err:
            fault = _fault(str(err), row)
            return *_joined(parts[: _rows_before(table, fault)], table), fault
    return *_joined(parts, table), None


def _rows_before(table: I64, fault: Fault) -> int:
    return int(np.searchsorted(table[:, kernels.AT], fault.begin))


def _joined(parts: list[U8], table: I64) -> tuple[U8, I64]:
    places = table[: len(parts)].copy()
    places[:, kernels.END] = np.cumsum([len(part) for part in parts], dtype=np.int64)
    places[:, kernels.AT] = places[:, kernels.END] - [len(part) for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate([*parts, _NOTHING]), places


def _big_endian(data: U8, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size].tobytes(), "big", signed=True)
