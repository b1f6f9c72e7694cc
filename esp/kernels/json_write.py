"""Columns to JSON records: one flat object a row, shortest floats, NaN and infinities as null."""

import numpy as np

from esp.kernels.columns import (
    CELL,
    COUNT,
    DATA,
    NAME,
    NAME_SIZE,
    OPTION,
    OUT,
    ROWS,
    SIZE,
    STRING,
    TYPE,
    UNIT,
    VALUE_AT,
    VALUE_SIZE,
    is_null,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.text import NULL, write_base64, write_scalar, write_word
from esp.kernels.words import copy, load_i64, load_u8, store_i64, store_u8

_QUOTE, _COMMA, _BACKSLASH, _OPEN, _CLOSE, _START, _STOP = 34, 44, 92, 91, 93, 123, 125  # " , \ [ ] { }


@part
def _write_text(p: int, source: int, size: int) -> int:
    """Writes UTF-8 as the inside of a string: quotes, backslashes and control letters escaped."""
    for at in range(size):
        letter = load_u8(source + at)
        if letter >= 32 and letter != _QUOTE and letter != _BACKSLASH:
            store_u8(p, letter)
            p += 1
        else:
            p = _write_escape(p, letter)
    return p


@part
def _write_escape(p: int, letter: int) -> int:
    store_u8(p, _BACKSLASH)
    if letter >= 32:
        store_u8(p + 1, letter)
        return p + 2
    store_u8(p + 1, 117)
    store_u8(p + 2, 48)
    store_u8(p + 3, 48)
    store_u8(p + 4, 48 + (letter >> 4))
    low = letter & 15
    store_u8(p + 5, 48 + low if low < 10 else 87 + low)
    return p + 6


@part
def _bytes(p: int, source: int, size: int, is_text: bool) -> int:
    store_u8(p, _QUOTE)
    p = _write_text(p + 1, source, size) if is_text else write_base64(p + 1, source, size)
    store_u8(p, _QUOTE)
    return p + 1


@part
def _number(p: int, code: int, unit: int, cell: int) -> int:
    after = write_scalar(p, code, unit, cell, _QUOTE)
    return after if after > p else write_word(p, NULL)


@part
def _value(fields: np.ndarray, field: int, row: int, is_base64: bool, p: int) -> int:
    code, size, count = fields[field, TYPE], fields[field, SIZE], fields[field, COUNT]
    if is_null(fields, field, row):
        return write_word(p, NULL)
    if code >= STRING:
        offsets = fields[field, CELL] + 8 * row
        at = load_i64(offsets)
        return _bytes(p, fields[field, DATA] + at, load_i64(offsets + 8) - at, code == STRING)
    cell = fields[field, CELL] + row * size
    if count == 0:
        return _number(p, code, fields[field, UNIT], cell)
    if is_base64:
        return _bytes(p, cell, size, False)
    for at in range(count):
        store_u8(p, _COMMA if at else _OPEN)
        p = _number(p + 1, code, 0, cell + at * (size // count))
    store_u8(p, _CLOSE)
    return p + 1


# job and fields as in columns.py: NAME holds each key with quotes and colon; job[OPTION] = 1: tensors as base64. Gives the bytes written.
@kernel("int64(int64[::1], int64[:, ::1])")
def encode(job: np.ndarray, fields: np.ndarray) -> int:
    p = job[OUT]
    for row in range(job[ROWS]):
        start = p
        store_u8(p, _START)
        for field in range(fields.shape[0]):
            if field:
                store_u8(p, _COMMA)
            copy(p + 1, fields[field, NAME], fields[field, NAME_SIZE])
            p = _value(fields, field, row, job[OPTION] == 1, p + 1 + fields[field, NAME_SIZE])
        p += fields.shape[0] == 0
        store_u8(p, _STOP)
        p += 1
        store_i64(job[VALUE_AT] + 8 * row, start - job[OUT])
        store_i64(job[VALUE_SIZE] + 8 * row, p - start)
    size: int = p - job[OUT]
    return size
