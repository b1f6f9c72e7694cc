"""Columns to CSV lines: cells in the order of the schema, quoted where they must be, null empty, no line end."""

import numpy as np

from esp.kernels.columns import (
    BASE64_FORM,
    CELL,
    COUNT,
    DATA,
    FORM,
    NO_FORM,
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
from esp.kernels.text import write_base64, write_number
from esp.kernels.words import copy, load_i64, load_u8, store_i64, store_u8

_QUOTE, _COMMA, _RETURN, _FEED = 34, 44, 13, 10


@part
def _text(p: int, source: int, size: int, delimiter: int) -> int:
    """Writes a string, between quotes where it holds a delimiter, a quote or a line end."""
    is_plain = True
    for at in range(size):
        letter = load_u8(source + at)
        is_plain &= letter != delimiter and letter != _QUOTE and letter != _RETURN and letter != _FEED
    if is_plain:
        copy(p, source, size)
        return p + size
    store_u8(p, _QUOTE)
    p += 1
    for at in range(size):
        letter = load_u8(source + at)
        store_u8(p, letter)
        p += 1
        if letter == _QUOTE:
            store_u8(p, _QUOTE)
            p += 1
    store_u8(p, _QUOTE)
    return p + 1


@part
def _value(fields: np.ndarray, field: int, row: int, delimiter: int, p: int) -> int:
    code, size, count = fields[field, TYPE], fields[field, SIZE], fields[field, COUNT]
    is_empty = is_null(fields, field, row)
    if count > 0 and fields[field, FORM] != NO_FORM:
        return p if is_empty else _tensor(fields, field, row, delimiter, p)
    if count > 0:
        for at in range(count):
            if at:
                store_u8(p, delimiter)
                p += 1
            if not is_empty:
                p = write_number(p, code, 0, fields[field, CELL] + row * size + at * (size // count))
        return p
    if is_empty:
        return p
    if code >= STRING:
        offsets = fields[field, CELL] + 8 * row
        source, length = fields[field, DATA] + load_i64(offsets), load_i64(offsets + 8) - load_i64(offsets)
        return _text(p, source, length, delimiter) if code == STRING else write_base64(p, source, length)
    return write_number(p, code, fields[field, UNIT], fields[field, CELL] + row * size)


@part
def _tensor(fields: np.ndarray, field: int, row: int, delimiter: int, p: int) -> int:
    """Writes a tensor as one cell: base64, or numbers with commas between them, in quotes where a comma would end the cell."""
    code, size, count = fields[field, TYPE], fields[field, SIZE], fields[field, COUNT]
    cell = fields[field, CELL] + row * size
    if fields[field, FORM] == BASE64_FORM:
        return write_base64(p, cell, size)
    is_quoted = delimiter == _COMMA and count > 1
    if is_quoted:
        store_u8(p, _QUOTE)
        p += 1
    for at in range(count):
        if at:
            store_u8(p, _COMMA)
            p += 1
        p = write_number(p, code, 0, cell + at * (size // count))
    if is_quoted:
        store_u8(p, _QUOTE)
        p += 1
    return p


# job and fields as in columns.py, the delimiter at job[OPTION]. Gives the bytes written.
@kernel("int64(int64[::1], int64[:, ::1])")
def encode(job: np.ndarray, fields: np.ndarray) -> int:
    p = job[OUT]
    for row in range(job[ROWS]):
        start = p
        for field in range(fields.shape[0]):
            if field:
                store_u8(p, job[OPTION])
                p += 1
            p = _value(fields, field, row, job[OPTION], p)
        store_i64(job[VALUE_AT] + 8 * row, start - job[OUT])
        store_i64(job[VALUE_SIZE] + 8 * row, p - start)
    size: int = p - job[OUT]
    return size
