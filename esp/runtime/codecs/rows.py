"""Columns made a row at a time: for formats that a generic library reads, without a kernel."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from esp.errors import EventError
from esp.runtime.codecs.decode import Decoded
from esp.runtime.events import I64, U8, Bools, Column, EventBlock, Opcode, RawBlock, VarColumn
from esp.runtime.schema import Field, Schema

ReadCells = Callable[[bytes], Sequence[Any]]  # the cells of a record's fields, in order (None = null). EventError where it is bad
WriteCells = Callable[[Sequence[Any]], bytes]  # the bytes of a row's values. EventError where they do not fit


class Unwritable(Exception):
    """Rows of a block that the schema given does not take, with the reason of each."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = dict(reasons)


def decode_rows(raw: RawBlock, schema: Schema, read: ReadCells) -> Decoded:
    """The values of a block as columns; what ``read`` refuses, and nulls, are bad rows with the reason."""
    good: list[int] = []
    rows: list[Sequence[Any]] = []
    bad: dict[int, str] = {}
    buffer: Any = np.ascontiguousarray(raw.buffer)
    view = memoryview(buffer)
    for row, (start, size) in enumerate(zip(raw.value_at.tolist(), raw.value_size.tolist())):
        try:
            if size < 0:
                raise EventError("no value")
            rows.append(read(view[start : start + size].tobytes()))
        except EventError as err:
            bad[row] = str(err)
        else:
            good.append(row)
    columns, validity = [], []
    for at, field in enumerate(schema):
        cells = [cells[at] for cells in rows]
        columns.append(_column(field, cells))
        validity.append(_validity(cells))
    kept: I64 | None = np.array(good, np.int64) if bad else None
    return Decoded(tuple(columns), tuple(validity), kept, np.array(list(bad), np.int64), tuple(bad.values()))


def _validity(cells: Sequence[Any]) -> Bools | None:
    valid = np.fromiter((cell is not None for cell in cells), np.bool_, len(cells))
    return None if valid.all() else valid


def _column(field: Field, cells: Sequence[Any]) -> Column:
    kind = field.type
    if kind.is_var:
        return VarColumn.of([cell or b"" for cell in cells])
    if not kind.shape:
        return np.fromiter((0 if cell is None else cell for cell in cells), kind.dtype, len(cells))
    column = np.zeros((len(cells), *kind.shape), kind.dtype)
    for row, cell in enumerate(cells):
        if cell is not None:
            column[row] = cell
    return column


def values_of(column: Column, valid: Bools | None, field: Field, *, is_raw: bool = False) -> list[Any]:
    """A column as Python values, None for null: stamps in nanoseconds, tensors as flat lists, or with ``is_raw`` as bytes."""
    found: list[Any]
    if isinstance(column, VarColumn):
        found = [column.value(row) for row in range(len(column))]
        found = [part.decode(errors="replace") for part in found] if field.type.base == "string" else found
    elif field.type.shape:
        flat = np.ascontiguousarray(column, field.type.dtype.newbyteorder("<")).reshape(len(column), math.prod(field.type.shape))
        found = [row.tobytes() for row in flat] if is_raw else flat.tolist()
    else:
        found = column.tolist()
    return found if valid is None else [part if there else None for part, there in zip(found, valid.tolist())]


def encode_rows(block: EventBlock, columns: Sequence[Sequence[Any]], write: WriteCells) -> tuple[U8, I64, I64]:
    """The rows of a block as bytes, by a function of the values of one row; what stands for a delete is empty. Raises Unwritable."""
    is_delete = np.zeros(len(block), np.bool_) if block.opcode is None else block.opcode >= Opcode.DELETE
    parts, bad = [], {}
    for row, is_away in enumerate(is_delete.tolist()):
        try:
            parts.append(b"" if is_away else write([column[row] for column in columns]))
        except EventError as err:
            bad[row] = str(err)
    if bad:
        raise Unwritable(bad)
    size = np.fromiter(map(len, parts), np.int64, len(parts))
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum(size) - size, size


def stamp_text(stamp_ns: int) -> str:
    """ISO text of a time.

    >>> stamp_text(1)
    '1970-01-01T00:00:00.000000001Z'
    """
    return f"{np.datetime64(stamp_ns, 'ns')}Z"
