"""Keys of events: the key fields of each row as bytes that a state table finds rows by, and as text for record keys."""

from collections.abc import Sequence
from datetime import date

import numpy as np

from esp.kernels import keys as kernels
from esp.kernels.tables import heap_get
from esp.runtime.events import U8, Bools, Column, EventBlock, VarColumn
from esp.runtime.schema import STAMP_UNITS, FieldType

_EPOCH = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal()


def row_keys(block: EventBlock, names: Sequence[str]) -> VarColumn:
    """The key of each event by the fields named: equal bytes for equal values (0.0 is -0.0, NaN is NaN, null is null)."""
    return pack_keys([block.column(name) for name in names], [block.valid(name) for name in names], len(block))


def pack_keys(columns: Sequence[Column], validity: Sequence[Bools | None], n: int) -> VarColumn:
    """Columns of n scalars, strings or blobs as one key a row."""
    size = np.zeros(n + 1, np.int64)
    for column in columns:
        if isinstance(column, VarColumn):
            size[1:] += 1 + kernels.SIZE_BYTES + (column.offsets[1:] - column.offsets[:-1])
        else:
            size[1:] += 1 + column.itemsize
    offsets = np.cumsum(size)
    cursor, out = offsets[:-1].copy(), np.empty(int(offsets[-1]), np.uint8)
    for column, valid in zip(columns, validity, strict=True):
        there = np.ones(n, np.uint8) if valid is None else np.ascontiguousarray(valid).view(np.uint8)
        if isinstance(column, VarColumn):
            kernels.put_var(column.offsets, column.data, there, cursor, out)
        else:
            kernels.put_fixed(_as_bytes(column), there, cursor, out)
    return VarColumn(offsets, out)


def _as_bytes(column: Column) -> U8:
    assert isinstance(column, np.ndarray)
    if np.issubdtype(column.dtype, np.floating):
        column = np.where(np.isnan(column) | (column == 0), np.abs(column), column)  # one bit pattern for each value
        column[np.isnan(column)] = np.nan
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.itemsize)


def unpack_keys(keys: VarColumn, types: Sequence[FieldType]) -> tuple[list[Column], list[Bools | None]]:
    """The columns and validity that ``pack_keys`` made the keys of."""
    n, cursor = len(keys), keys.offsets[:-1].copy()
    columns: list[Column] = []
    validity: list[Bools | None] = []
    for kind in types:
        there = np.empty(n, np.uint8)
        if kind.is_var:
            span = np.empty((n, 2), np.int64)
            kernels.get_var(keys.data, cursor, there, span)
            offsets = np.zeros(n + 1, np.int64)
            np.cumsum(span[:, 1], out=offsets[1:])
            data = np.empty(int(offsets[-1]), np.uint8)
            heap_get(np.arange(n), offsets, span, keys.data, data)
            columns.append(VarColumn(offsets, data))
        else:
            cells = np.empty((n, kind.dtype.itemsize), np.uint8)
            kernels.get_fixed(keys.data, cursor, there, cells)
            columns.append(cells.view(kind.dtype).reshape(n))
        validity.append(None if there.all() else there.view(np.bool_))
    return columns, validity


def key_text(block: EventBlock, names: Sequence[str]) -> VarColumn:
    """The fields named as text, joined by ``|``: what stands in a record's key. Nulls are empty; blobs are hexadecimal.

    >>> from esp.runtime.events import EventBlock
    >>> from esp.runtime.schema import Schema
    >>> columns = (VarColumn.of(["left"]), np.array([7]))
    >>> block = EventBlock(Schema.parse("camera:string, lane:int64"), columns, (None, None), np.zeros(1, np.int64), np.zeros(1, np.int64), 0)
    >>> key_text(block, ["camera", "lane"]).value(0)
    b'left|7'
    """
    parts = [_texts(block.column(name), block.valid(name), block.schema[name].type) for name in names]
    if len(parts) == 1:
        return VarColumn.of(parts[0])
    return VarColumn.of([b"|".join(row) for row in zip(*parts, strict=True)])


def _texts(column: Column, valid: Bools | None, kind: FieldType) -> list[bytes]:
    if isinstance(column, VarColumn):
        texts = [column.value(row) for row in range(len(column))]
        texts = [text.hex().encode() for text in texts] if kind.base == "blob" else texts
    else:
        texts = [text.encode() for text in _scalars(column, kind)]
    return texts if valid is None else [text if there else b"" for text, there in zip(texts, valid.tolist(), strict=True)]


def _scalars(column: "np.ndarray", kind: FieldType) -> list[str]:
    if kind.base == "bool":
        return ["true" if value else "false" for value in column.tolist()]
    if kind.base == "date":
        return [_date_text(value) for value in column.tolist()]
    if kind.base == "stamp" and kind.unit == "iso":
        return [f"{text}Z" for text in np.datetime_as_string(column.view("datetime64[ns]")).tolist()]
    if kind.base == "stamp":
        column = column // STAMP_UNITS[kind.unit]
    texts: list[str] = column.astype(str).tolist()
    return texts


def _date_text(days: int) -> str:
    """ISO text, or the number where the year is none of 1 to 9999: what the codecs write too."""
    day = _EPOCH + days
    return date.fromordinal(day).isoformat() if 1 <= day <= _LAST_DAY else str(days)
