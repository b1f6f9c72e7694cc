"""Records to columns: the kernel reads what it can, the generic library the other rows, and bad ones come back with a reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.errors import EventError
from esp.kernels import columns as c
from esp.runtime.codecs.table import FieldTable
from esp.runtime.codecs.values import cell
from esp.runtime.events import I64, U8, Bools, Column, RawBlock, VarColumn

Kernel = Callable[[I64, I64], int]
ReadRecord = Callable[[bytes], Sequence[Any]]  # the values of the fields, in order (None = null); EventError where it is no record

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Decoded:
    """Columns over the good rows; ``row`` is the raw row of each (None = all rows are good, in order). Bad rows with a reason each."""

    columns: tuple[Column, ...]
    validity: tuple[Bools | None, ...]
    row: I64 | None
    bad_row: I64
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decoder:
    """A kernel and a generic library over one field table.

    ``has_text_bytes`` says that blobs and tensors may come as base64 text; ``option`` is what the kernel reads at job[OPTION].
    """

    table: FieldTable
    kernel: Kernel
    read: ReadRecord
    has_text_bytes: bool
    option: int = 0

    def decode(self, raw: RawBlock) -> Decoded:
        sheet = _Sheet.over(self.table, len(raw))
        at, size = np.ascontiguousarray(raw.value_at), np.ascontiguousarray(raw.value_size)
        base, taken = raw.buffer.ctypes.data, np.empty(len(raw), np.bool_)
        job = np.array((len(raw), base, *map(_address, (at, size, taken)), 0, self.option), np.int64)
        bad: dict[int, str] = {}
        if self.kernel(job, sheet.rows) < len(raw):
            for row in np.flatnonzero(~taken).tolist():
                self._read_row(raw, row, sheet, bad)
        return sheet.finish(base, bad)

    def _read_row(self, raw: RawBlock, row: int, sheet: "_Sheet", bad: dict[int, str]) -> None:
        """Puts what the generic library reads into the cells of a row, or the reason into ``bad``."""
        value = raw.value(row)
        try:
            if value is None:
                raise EventError("no value")
            values = self.read(value)
            cells = [cell(field, part, has_text_bytes=self.has_text_bytes) for field, part in zip(self.table.schema, values)]
        except EventError as err:
            bad[row] = str(err)
            return
        for at, part in enumerate(cells):
            sheet.put(at, row, part)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Columns being filled: one allocation holds them all, each at a multiple of 64 bytes."""

    table: FieldTable
    rows: I64  # the field table with the addresses of the columns
    cells: tuple[np.ndarray[Any, Any], ...]
    valid: Bools
    extra: bytearray

    @classmethod
    def over(cls, table: FieldTable, count: int) -> "_Sheet":
        rows = table.rows.copy()
        starts, size = [], 0
        for stride in rows[:, c.SIZE].tolist():
            starts.append(size)
            size += -(-stride * count // _ALIGNMENT) * _ALIGNMENT
        arena, valid = np.empty(size // 8 + 1, np.int64), np.empty((len(starts), count), np.bool_)
        rows[:, c.CELL] = starts
        rows[:, c.CELL] += _address(arena)
        rows[:, c.VALID] = np.arange(len(starts)) * count + _address(valid)
        kinds = (field.type for field in table.schema)
        cells = tuple(
            np.ndarray((count, 2) if kind.is_var else (count, *kind.shape), np.int64 if kind.is_var else kind.dtype, arena, start)
            for kind, start in zip(kinds, starts)
        )
        return cls(table, rows, cells, valid, bytearray())

    def put(self, field: int, row: int, value: Any) -> None:
        self.valid[field, row] = value is not None
        self.rows[field, c.NULLS] += value is None
        if not self.table.schema.fields[field].type.is_var:
            self.cells[field][row] = 0 if value is None else value
            return
        self.cells[field][row] = -1 - len(self.extra), len(value or b"")
        self.extra += value or b""

    def finish(self, base: int, bad: dict[int, str]) -> Decoded:
        """The columns without the bad rows, strings and blobs gathered."""
        good: I64 | None = None
        cells, valid = self.cells, self.valid
        if bad:
            good = np.setdiff1d(np.arange(valid.shape[1]), list(bad))
            cells, valid = tuple(part[good] for part in cells), valid[:, good]
        extra = np.frombuffer(self.extra or b"\0", np.uint8)
        columns, validity = [], []
        for field, part, mask, row in zip(self.table.schema, cells, valid, self.rows.tolist()):
            columns.append(_gather(part, base, extra, bool(row[c.BASE64])) if field.type.is_var else part)
            validity.append(None if row[c.NULLS] == 0 or mask.all() else mask)
        return Decoded(tuple(columns), tuple(validity), good, np.array(list(bad), np.int64), tuple(bad.values()))


def _gather(cuts: I64, base: int, extra: U8, is_base64: bool) -> VarColumn:
    offsets = np.zeros(len(cuts) + 1, np.int64)
    np.cumsum(cuts[:, 1], out=offsets[1:])
    data = np.empty(int(offsets[-1]), np.uint8)
    c.gather(len(cuts), base, _address(extra), _address(cuts), _address(offsets), _address(data), is_base64)
    return VarColumn(offsets, data)


def _address(array: np.ndarray[Any, Any]) -> int:
    return array.ctypes.data
