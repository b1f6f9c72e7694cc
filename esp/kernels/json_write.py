"""Columns to JSON records: one flat object a row, shortest floats, NaN and infinities as null."""

import numpy as np

from esp.kernels.columns import (
    BASE64_FORM,
    CELL,
    COUNT,
    DATA,
    FORM,
    NAME,
    NAME_SIZE,
    OUT,
    ROWS,
    SIZE,
    SPELLED,
    STRING,
    TEXT_FORM,
    TYPE,
    UNIT,
    VALUE_AT,
    VALUE_SIZE,
    is_null,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.text import NULL, special_marks, write_base64, write_number, write_scalar, write_word
from esp.kernels.words import copy, load_i64, load_u8, load_u64, store_i64, store_u8

_QUOTE, _COMMA, _BACKSLASH, _OPEN, _CLOSE, _START, _STOP = 34, 44, 92, 91, 93, 123, 125  # " , \ [ ] { }


@part
def _write_text(p: int, source: int, size: int) -> int:
    """Writes UTF-8 as the inside of a string: quotes, backslashes and control letters escaped."""
    stop = source + size
    while source < stop:
        while source + 8 <= stop and special_marks(load_u64(source)) == np.uint64(0):
            store_i64(p, load_i64(source))
            p, source = p + 8, source + 8
        for _ in range(min(8, stop - source)):
            letter = load_u8(source)
            if letter >= 32 and letter != _QUOTE and letter != _BACKSLASH:
                store_u8(p, letter)
                p += 1
            else:
                p = _write_escape(p, letter)
            source += 1
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
def _value(fields: np.ndarray, field: int, row: int, p: int) -> int:
    code, count = fields[field, TYPE], fields[field, COUNT]
    if is_null(fields, field, row):
        return write_word(p, NULL)
    if count > 0:
        return _tensor(fields, field, row, p)
    if code >= STRING:
        offsets = fields[field, CELL] + 8 * row
        at = load_i64(offsets)
        return _bytes(p, fields[field, DATA] + at, load_i64(offsets + 8) - at, code == STRING)
    return _number(p, code, fields[field, UNIT], fields[field, CELL] + row * fields[field, SIZE])


@part
def _tensor(fields: np.ndarray, field: int, row: int, p: int) -> int:
    """Writes numbers in the form that the field has, or copies what stood in the record in this form."""
    code, count, size, form = fields[field, TYPE], fields[field, COUNT], fields[field, SIZE], fields[field, FORM]
    spelled = fields[field, SPELLED] + 24 * row
    if fields[field, SPELLED] != 0 and load_i64(spelled + 16) == form:
        copy(p, fields[field, DATA] + load_i64(spelled), load_i64(spelled + 8))
        return p + load_i64(spelled + 8)
    cell, width = fields[field, CELL] + row * size, size // count
    if form == BASE64_FORM:
        return _bytes(p, cell, size, False)
    opening, closing = (_QUOTE, _QUOTE) if form == TEXT_FORM else (_OPEN, _CLOSE)
    for at in range(count):
        store_u8(p, _COMMA if at else opening)
        if form == TEXT_FORM:
            p = write_number(p + 1, code, 0, cell + at * width)
        else:
            p = _number(p + 1, code, 0, cell + at * width)
    store_u8(p, closing)
    return p + 1


# job and fields as in columns.py: NAME holds each key with quotes and colon. Gives the bytes written.
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
            p = _value(fields, field, row, p + 1 + fields[field, NAME_SIZE])
        p += fields.shape[0] == 0
        store_u8(p, _STOP)
        p += 1
        store_i64(job[VALUE_AT] + 8 * row, start - job[OUT])
        store_i64(job[VALUE_SIZE] + 8 * row, p - start)
    size: int = p - job[OUT]
    return size
