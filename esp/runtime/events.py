"""Blocks of events as columns: RawBlock (bytes of records, as connectors see them) and EventBlock (typed fields)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from esp.kernels.pieces import join
from esp.runtime.schema import Schema

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

NEVER_NS = -(1 << 62)  # a watermark before every event
END_NS = 1 << 62  # the watermark at the end of a bounded source


class Opcode(IntEnum):
    """What an event does to the row of its key. An update leaves a stateful window as a pair: UPDATE (the new row), then DELETE (the old)."""

    INSERT = 0
    UPDATE = 1
    UPSERT = 2
    DELETE = 3
    SAFEDELETE = 4


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Records of one partition as bytes: one buffer, and columns that say where each part of a record lies in it.

    Sizes of -1 mean null. Headers stand as in a Kafka record: a varint count, then for each a varint-sized name and a
    varint-sized value (-1 = null); size 0 or -1 = none. Rows are in offset order; offsets may have gaps.
    """

    topic: str
    partition: int
    buffer: U8
    value_at: I64
    value_size: I64
    key_at: I64
    key_size: I64
    header_at: I64
    header_size: I64
    offset: I64
    ts_ms: I64

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def size_bytes(self) -> int:
        return self.buffer.nbytes

    @property
    def next_offset(self) -> int:
        """The offset that a restart after this block goes on from."""
        return int(self.offset[-1]) + 1

    def value(self, row: int) -> bytes | None:
        """The value of one record (for tests and dead letters; not for the hot path)."""
        return _cut(self.buffer, self.value_at[row], self.value_size[row])

    def key(self, row: int) -> bytes | None:
        """The key of one record."""
        return _cut(self.buffer, self.key_at[row], self.key_size[row])

    def headers(self, row: int) -> bytes:
        """The headers of one record as they stand in a Kafka record."""
        return _cut(self.buffer, self.header_at[row], self.header_size[row]) or b""

    def take(self, rows: "I64 | slice") -> "RawBlock":
        """The same buffer with some of its rows."""
        return replace(
            self, value_at=self.value_at[rows], value_size=self.value_size[rows], key_at=self.key_at[rows],
            key_size=self.key_size[rows], header_at=self.header_at[rows], header_size=self.header_size[rows],
            offset=self.offset[rows], ts_ms=self.ts_ms[rows],
        )  # fmt: skip


def _cut(buffer: U8, at: np.int64, size: np.int64) -> bytes | None:
    return None if size < 0 else buffer[at : at + size].tobytes()


def raw_block(
    values: Sequence[bytes | None], *, topic: str = "", partition: int = 0, keys: Sequence[bytes | None] | None = None,
    headers: Sequence[bytes] | None = None, offsets: "Sequence[int] | I64 | None" = None, ts_ms: "Sequence[int] | I64 | None" = None,
) -> RawBlock:  # fmt: skip
    """Joins Python bytes into a RawBlock; offsets count from 0 and stamps are 0 where left out."""
    n = len(values)
    nulls: list[bytes | None] = [None] * n
    parts = [*values, *(keys or nulls), *(headers or nulls)]
    size = np.fromiter((-1 if part is None else len(part) for part in parts), np.int64, 3 * n)
    at = np.zeros(3 * n, np.int64)
    np.cumsum(np.maximum(size, 0)[:-1], out=at[1:])
    buffer = np.frombuffer(b"".join(part for part in parts if part), np.uint8)
    return RawBlock(
        topic, partition, buffer, at[:n], size[:n], at[n : 2 * n], size[n : 2 * n], at[2 * n :], size[2 * n :],
        np.arange(n, dtype=np.int64) if offsets is None else np.asarray(offsets, np.int64),
        np.zeros(n, np.int64) if ts_ms is None else np.asarray(ts_ms, np.int64),
    )  # fmt: skip


def joined(blocks: Sequence[RawBlock]) -> RawBlock:
    """Blocks of one partition, in order, as one."""
    if len(blocks) == 1:
        return blocks[0]
    sizes = [len(block.buffer) for block in blocks]
    begins: I64 = np.repeat(np.cumsum(sizes, dtype=np.int64) - sizes, [len(block) for block in blocks])
    whole = [np.concatenate([getattr(block, name) for block in blocks]) for name in _RECORD_COLUMNS]
    value_at, value_size, key_at, key_size, header_at, header_size, offset, ts_ms = whole
    return RawBlock(
        blocks[0].topic, blocks[0].partition, np.concatenate([block.buffer for block in blocks]), value_at + begins, value_size,
        key_at + begins, key_size, header_at + begins, header_size, offset, ts_ms,
    )  # fmt: skip


_RECORD_COLUMNS = ("value_at", "value_size", "key_at", "key_size", "header_at", "header_size", "offset", "ts_ms")


@dataclass(frozen=True, slots=True)
class VarColumn:
    """Strings or blobs: ``data[offsets[i]:offsets[i + 1]]`` is value i; ``offsets`` int64[n + 1], ``data`` uint8."""

    offsets: I64
    data: U8

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def value(self, row: int) -> bytes:
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def take(self, rows: I64) -> "VarColumn":
        """The values of some rows, copied together."""
        at, size = self.offsets[:-1][rows], np.diff(self.offsets)[rows]
        offsets = np.zeros(len(size) + 1, np.int64)
        np.cumsum(size, out=offsets[1:])
        data = np.empty(offsets[-1], np.uint8)
        join(np.ascontiguousarray(self.data), at, size, data, offsets[:-1])
        return VarColumn(offsets, data)

    @classmethod
    def of(cls, values: Sequence[bytes | str]) -> "VarColumn":
        parts = [value.encode() if isinstance(value, str) else value for value in values]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(parts), np.uint8))


Column = npt.NDArray[np.generic] | VarColumn


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the rows of a tensor stood as text in their records, so that a sink of the same format repeats them as they were.

    It holds for ``column`` alone, the very array that was read. ``cuts`` int64[n, 3]: row i is ``buffer[at : at + size]`` in a form
    (kernels/columns.py; 0 = in none that may be repeated).
    """

    column: Column
    buffer: U8
    cuts: I64


@dataclass(frozen=True, slots=True)
class EventBlock:
    """Typed events as columns, all of one task (one query on one partition); never changed once handed on.

    ``columns[i]`` holds field i; ``validity[i]`` is None (no nulls) or bool[n] (False = null; the column's value is then
    a zero). ``opcode`` None means all inserts. ``ts_ns`` is event time. ``watermark_ns[i]`` is the watermark once event i
    has been seen; ``end_watermark_ns`` the one after the whole block, events that a filter took out included, so that a
    block may be empty and still matter. ``raw`` and ``raw_row`` name the record an event comes from (raw_row -1 = none).
    """

    schema: Schema
    columns: tuple[Column, ...]
    validity: tuple[Bools | None, ...]
    ts_ns: I64
    watermark_ns: I64
    end_watermark_ns: int
    opcode: U8 | None = None
    raw: RawBlock | None = None
    raw_row: I64 | None = None
    models: tuple[str, ...] = field(default=())  # digests of the models that scored it (12 hex digits), in window order
    spellings: tuple[Spelling, ...] = ()

    def __len__(self) -> int:
        return len(self.ts_ns)

    def column(self, name: str) -> Column:
        return self.columns[self.schema.index(name)]

    def valid(self, name: str) -> Bools | None:
        return self.validity[self.schema.index(name)]

    def take(self, rows: I64) -> "EventBlock":
        """Some rows, in the order given; the end watermark stays."""
        columns = tuple(column.take(rows) if isinstance(column, VarColumn) else column[rows] for column in self.columns)
        spelled = ((part, column) for part in self.spellings for held, column in zip(self.columns, columns) if held is part.column)
        return replace(
            self,
            columns=columns,
            spellings=tuple(Spelling(column, part.buffer, part.cuts[rows]) for part, column in spelled),
            validity=tuple(None if valid is None else valid[rows] for valid in self.validity),
            ts_ns=self.ts_ns[rows],
            watermark_ns=self.watermark_ns[rows],
            opcode=None if self.opcode is None else self.opcode[rows],
            raw_row=None if self.raw_row is None else self.raw_row[rows],
        )

    def with_columns(self, schema: Schema, columns: Sequence[Column], validity: Sequence[Bools | None]) -> "EventBlock":
        """The same events (times, opcodes, origins) with other fields."""
        return EventBlock(
            schema, tuple(columns), tuple(validity), self.ts_ns, self.watermark_ns, self.end_watermark_ns, self.opcode, self.raw,
            self.raw_row, self.models, self.spellings,
        )  # fmt: skip

    def scored(self, schema: Schema, columns: Sequence[Column], validity: Sequence[Bools | None], model: str) -> "EventBlock":
        """The same events with what a model adds to their fields."""
        return EventBlock(
            schema, (*self.columns, *columns), (*self.validity, *validity), self.ts_ns, self.watermark_ns, self.end_watermark_ns,
            self.opcode, self.raw, self.raw_row, (*self.models, model), self.spellings,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeadBlock:
    """Events that could not be taken: rows of their raw block with the reason for each."""

    raw: RawBlock
    row: I64
    reasons: Sequence[str]
    window: str

    def __len__(self) -> int:
        return len(self.row)


Block = EventBlock | RawBlock | DeadBlock
