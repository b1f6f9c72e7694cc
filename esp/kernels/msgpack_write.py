"""Columns to msgpack records: maps or arrays, each value in the smallest form that its type has."""

import numpy as np

from esp.kernels.columns import (
    ARRAY_FORM,
    BOOL,
    CELL,
    COUNT,
    DATA,
    FLOAT32,
    FLOAT64,
    FORM,
    INT64,
    NAME,
    NAME_SIZE,
    OPTION,
    OUT,
    ROWS,
    SIZE,
    STAMP,
    STRING,
    TYPE,
    UINT8,
    UNIT,
    VALUE_AT,
    VALUE_SIZE,
    is_null,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.dates import write_stamp
from esp.kernels.words import (
    copy,
    load_i32,
    load_i64,
    load_u8,
    load_u32,
    load_u64,
    store_i32_be,
    store_i64,
    store_i64_be,
    store_u8,
    store_u16_be,
)  # fmt: skip

_NIL, _FALSE, _BIN8, _SINGLE, _DOUBLE, _UNSIGNED, _SIGNED, _STR8 = 0xC0, 0xC2, 0xC4, 0xCA, 0xCB, 0xCC, 0xD0, 0xD9
_MAP, _ARRAY, _MAP16, _ARRAY16, _TEXT = 0x80, 0x90, 0xDE, 0xDC, 0xA0


@part
def _value(fields: np.ndarray, field: int, row: int, p: int) -> int:
    code, size = fields[field, TYPE], fields[field, SIZE]
    if is_null(fields, field, row):
        store_u8(p, _NIL)
        return p + 1
    if code >= STRING:
        offsets = fields[field, CELL] + 8 * row
        at = load_i64(offsets)
        return _bytes(p, fields[field, DATA] + at, load_i64(offsets + 8) - at, code == STRING)
    cell, count = fields[field, CELL] + row * size, fields[field, COUNT]
    if count == 0:
        return _scalar(p, code, fields[field, UNIT], cell)
    if fields[field, FORM] != ARRAY_FORM:
        return _bytes(p, cell, size, False)
    p = _array_head(p, count)
    for at in range(count):
        p = _scalar(p, code, 0, cell + at * (size // count))
    return p


@part
def _array_head(p: int, count: int) -> int:
    if count < 16:
        store_u8(p, _ARRAY | count)
        return p + 1
    if count < 1 << 16:
        store_u8(p, _ARRAY16)
        store_u16_be(p + 1, count)
        return p + 3
    store_u8(p, _ARRAY16 + 1)
    store_i32_be(p + 1, count)
    return p + 5


@part
def _scalar(p: int, code: int, unit: int, cell: int) -> int:
    if code == FLOAT32:
        store_u8(p, _SINGLE)
        store_i32_be(p + 1, np.int64(load_u32(cell)))
        return p + 5
    if code == FLOAT64:
        store_u8(p, _DOUBLE)
        store_i64_be(p + 1, np.int64(load_u64(cell)))
        return p + 9
    if code == BOOL:
        store_u8(p, _FALSE + load_u8(cell))
        return p + 1
    if code == STAMP:
        return _stamp(p, load_i64(cell), unit)
    return _integer(p, load_i64(cell) if code == INT64 else load_u8(cell) if code == UINT8 else load_i32(cell))


@part
def _stamp(p: int, ns: int, unit: int) -> int:
    """A stamp in its unit (cut off towards the past), or as ISO text where that is 0."""
    if unit:
        return _integer(p, ns // unit)
    size = write_stamp(p + 1, ns) - p - 1
    store_u8(p, _TEXT | size)
    return p + 1 + size


@part
def _bytes(p: int, source: int, size: int, is_text: bool) -> int:
    if is_text and size < 32:
        store_u8(p, _TEXT | size)
        p += 1
    elif size < 1 << 8:
        store_u8(p, _STR8 if is_text else _BIN8)
        store_u8(p + 1, size)
        p += 2
    elif size < 1 << 16:
        store_u8(p, (_STR8 if is_text else _BIN8) + 1)
        store_u16_be(p + 1, size)
        p += 3
    else:
        store_u8(p, (_STR8 if is_text else _BIN8) + 2)
        store_i32_be(p + 1, size)
        p += 5
    copy(p, source, size)
    return p + size


@part
def _integer(p: int, value: int) -> int:
    if -32 <= value < 128:
        store_u8(p, value)
        return p + 1
    is_signed = value < 0
    magnitude = ~value << 1 if is_signed else value  # the bits it takes, sign included
    lead = _SIGNED if is_signed else _UNSIGNED
    if 0 <= magnitude < 1 << 8:
        store_u8(p, lead)
        store_u8(p + 1, value)
        return p + 2
    if 0 <= magnitude < 1 << 16:
        store_u8(p, lead + 1)
        store_u16_be(p + 1, value)
        return p + 3
    if 0 <= magnitude < 1 << 32:
        store_u8(p, lead + 2)
        store_i32_be(p + 1, value)
        return p + 5
    store_u8(p, lead + 3)
    store_i64_be(p + 1, value)
    return p + 9


# job and fields as in columns.py: NAME holds each key as msgpack, empty for arrays (job[OPTION] = 1). Gives the bytes written.
@kernel("int64(int64[::1], int64[:, ::1])")
def encode(job: np.ndarray, fields: np.ndarray) -> int:
    p, count, is_array = job[OUT], fields.shape[0], job[OPTION] == 1
    for row in range(job[ROWS]):
        start = p
        if count < 16:
            store_u8(p, (_ARRAY if is_array else _MAP) | count)
            p += 1
        else:
            store_u8(p, _ARRAY16 if is_array else _MAP16)
            store_u16_be(p + 1, count)
            p += 3
        for field in range(count):
            copy(p, fields[field, NAME], fields[field, NAME_SIZE])
            p = _value(fields, field, row, p + fields[field, NAME_SIZE])
        store_i64(job[VALUE_AT] + 8 * row, start - job[OUT])
        store_i64(job[VALUE_SIZE] + 8 * row, p - start)
    size: int = p - job[OUT]
    return size
