"""Records to columns: the kernel reads what it can, the generic library the other rows, and bad ones come back with a reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.errors import EventError
from esp.kernels import columns as c
from esp.kernels.intake import address
from esp.runtime.codecs.judging import Judge
from esp.runtime.codecs.places import at_byte
from esp.runtime.codecs.table import FieldTable
from esp.runtime.codecs.values import cell
from esp.runtime.events import I64, U8, Bools, Column, RawBlock, Spelling, VarColumn
from esp.runtime.reasons import Reasons

Kernel = Callable[[I64, I64], int]
ReadRecord = Callable[[bytes], Sequence[Any]]  # the values of the fields, in order (None = null); EventError where it is no record
Locate = Callable[[bytes, int], int | None]  # the byte of a record at which the value of a field begins
_NO_ROWS: I64 = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Columns over the good rows; ``row`` is the raw row of each (None = all rows are good, in order). Bad rows with a reason each."""

    columns: tuple[Column, ...]
    validity: tuple[Bools | None, ...]
    row: I64 | None
    bad_row: I64
    reasons: Sequence[str]
    spellings: tuple[Spelling, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoder:
    """A kernel and a generic library over one field table.

    ``has_text_bytes`` says that blobs and tensors may come as text; ``option`` is what the kernel reads at job[OPTION]; ``is_spelled``: it notes
    how tensors stood in their records. ``judge`` says of what the kernel refused why it is bad, where that is sure.
    """

    table: FieldTable
    kernel: Kernel
    read: ReadRecord
    locate: Locate
    has_text_bytes: bool
    option: int = 0
    is_spelled: bool = False
    judge: Judge | None = None

    def decode(self, raw: RawBlock) -> Decoded:
        sheet = _Sheet.over(self.table, len(raw), self.is_spelled)
        at, size = np.ascontiguousarray(raw.value_at), np.ascontiguousarray(raw.value_size)
        places = address(raw.buffer), address(at), address(size), address(sheet.arena)
        job = np.array((len(raw), *places, self.option, 0), np.int64)
        if self.kernel(job, sheet.rows) == len(raw):
            return sheet.finish(raw.buffer, _NO_ROWS, ())
        refused = np.flatnonzero(~sheet.taken)
        return sheet.finish(raw.buffer, *self._faults(raw, refused, job, sheet))

    def _faults(self, raw: RawBlock, refused: I64, job: I64, sheet: "_Sheet") -> tuple[I64, Sequence[str]]:
        """The bad ones among the rows that the kernel has refused, and why; the others are read."""
        judged, reasons = _NO_ROWS, Reasons.of(())
        if self.judge is not None:
            is_bad, reasons = self.judge.judge(job, sheet.rows, refused)
            judged, refused = refused[is_bad], refused[~is_bad]
        bad: dict[int, str] = {}
        for row in refused.tolist():
            self._read_row(raw, row, sheet, bad)
        if not bad:
            return judged, reasons
        rows = np.concatenate((judged, np.array(list(bad), np.int64)))
        order = np.argsort(rows)
        return rows[order], Reasons.joined((reasons, tuple(bad.values()))).take(order)

    def _read_row(self, raw: RawBlock, row: int, sheet: "_Sheet", bad: dict[int, str]) -> None:
        """Puts what the generic library reads into the cells of a row, or the reason into ``bad``."""
        try:
            cells = self._cells(raw.value(row))
        except EventError as err:
            bad[row] = str(err)
            return
        for at, part in enumerate(cells):
            sheet.put(at, row, part)

    def _cells(self, value: bytes | None) -> list[Any]:
        """What the generic library reads, field by field; EventError with the field and its byte where it does not fit."""
        if value is None:
            raise EventError("no value")
        cells = []
        for at, (field, part) in enumerate(zip(self.table.schema, self.read(value))):
            try:
                cells.append(cell(field, part, has_text_bytes=self.has_text_bytes))
            except EventError as err:
                raise EventError(f"{err}{at_byte(self.locate(value, at))}") from err
        return cells


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Columns being filled, all in one allocation, divided as the kernel's ``lay_out`` has it."""

    table: FieldTable
    rows: I64  # the field table, in which the kernel notes addresses and counts nulls
    arena: I64
    cells: tuple[np.ndarray[Any, Any], ...]
    valid: Bools
    taken: Bools
    spelled: dict[int, I64]
    extra: bytearray

    @classmethod
    def over(cls, table: FieldTable, count: int, is_spelled: bool) -> "_Sheet":
        starts, size = [], 0
        for _, _, stride in table.cells:
            starts.append(size)
            size += -(-stride * count // c.ALIGNMENT) * c.ALIGNMENT
        arena = np.empty((size + (len(starts) + 1) * count) // 8 + 1, np.int64)
        cells = tuple([np.ndarray((count, *shape), dtype, arena, start) for (shape, dtype, _), start in zip(table.cells, starts)])
        valid: Bools = np.ndarray((len(starts), count), np.bool_, arena, size)
        taken: Bools = np.ndarray(count, np.bool_, arena, size + len(starts) * count)
        rows, tensors = table.rows.copy(), np.flatnonzero(table.rows[:, c.COUNT]).tolist() if is_spelled else []
        spelled: dict[int, I64] = {at: np.zeros((count, 3), np.int64) for at in tensors}
        for at, cuts in spelled.items():
            rows[at, c.SPELLED] = address(cuts.ravel())
        return cls(table, rows, arena, cells, valid, taken, spelled, bytearray(table.extra))

    def put(self, field: int, row: int, value: Any) -> None:
        self.valid[field, row] = value is not None
        self.rows[field, c.NULLS] += value is None
        if field in self.spelled:
            self.spelled[field][row] = 0
        if not self.table.schema.fields[field].type.is_var:
            self.cells[field][row] = 0 if value is None else value
            return
        self.cells[field][row] = -1 - len(self.extra), len(value or b"")
        self.extra.extend(value or b"")

    def finish(self, buffer: U8, bad_row: I64, reasons: Sequence[str]) -> Decoded:
        """The columns without the bad rows, strings and blobs gathered."""
        good: I64 | None = None
        cells, valid, spelled = self.cells, self.valid, self.spelled
        if len(bad_row):
            is_good = np.ones(valid.shape[1], np.bool_)
            is_good[bad_row] = False
            good = np.flatnonzero(is_good)
            cells, valid = tuple(part[good] for part in cells), valid[:, good]
            spelled = {at: cuts[good] for at, cuts in spelled.items()}
        columns: list[Column] = list(cells)
        for at in self.table.of_var_size:
            extra = np.frombuffer(self.extra or bytearray(1), np.uint8)
            columns[at] = _gather(cells[at], address(buffer), extra, bool(self.rows[at, c.BASE64]))
        nulls = self.rows[:, c.NULLS].tolist()
        validity = [None if not count or valid[at].all() else valid[at] for at, count in enumerate(nulls)]
        spellings = tuple(Spelling(columns[at], buffer, cuts) for at, cuts in spelled.items())
        return Decoded(tuple(columns), tuple(validity), good, bad_row, reasons, spellings)


def _gather(cuts: I64, base: int, extra: U8, is_base64: bool) -> VarColumn:
    offsets = np.empty(len(cuts) + 1, np.int64)
    data = np.empty(c.measure(cuts, offsets), np.uint8)
    c.gather(base, extra, cuts, offsets, data, is_base64)
    return VarColumn(offsets, data)
