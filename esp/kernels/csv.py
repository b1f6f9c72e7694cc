"""CSV lines to columns: one pass over the bytes of a block, led by the field table.

A row with a quote inside a cell, a line end or anything that does not fit its field is REFUSED and goes to the generic library.
"""

import numpy as np

from esp.kernels.columns import (
    BASE,
    BASE64_FORM,
    BLOB,
    BOOL,
    CELL,
    COUNT,
    DATE,
    FLOAT32,
    FLOAT64,
    FORM,
    NO_FORM,
    OPTION,
    ROWS,
    SIZE,
    STAMP,
    STRING,
    TAKEN,
    TYPE,
    UNIT,
    VALID,
    VALUE_AT,
    VALUE_SIZE,
    base64_size,
    end_row,
    from_base64,
    is_utf8,
    lay_out,
    put_cut,
    put_float,
    start_row,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.lists import read_list, read_short
from esp.kernels.text import REFUSED, is_next, read_bool, read_iso, read_number
from esp.kernels.words import load_i64, load_u8, stand_alone, store_u8

_QUOTE, _COMMA, _RETURN, _FEED, _DASH = 34, 44, 13, 10, 45


@part
def _cell_end(p: int, end: int, delimiter: int) -> int:
    """Where the cell at p ends; REFUSED where it holds what the plain form has not."""
    while p < end:
        letter = load_u8(p)
        if letter == delimiter:
            return p
        if letter <= _QUOTE and (letter == _QUOTE or letter == 0 or _FEED <= letter <= _RETURN):
            return REFUSED
        p += 1
    return p


@part
def _is_empty(p: int, end: int, delimiter: int) -> bool:
    return p == end or load_u8(p) == delimiter


@part
def _text(code: int, cell: int, base: int, p: int, stop: int) -> int:
    """Stores the cell from p to stop: a string, base64 of a blob, or a date or time."""
    stand_alone()
    if stop == REFUSED:
        return REFUSED
    if code == STRING:
        put_cut(cell, p - base, stop - p)
        return stop if is_utf8(p, stop - p) else REFUSED
    if code == BLOB:
        size = base64_size(p, stop - p)
        put_cut(cell, p - base, size)
        return stop if size >= 0 else REFUSED
    return stop if read_iso(code, cell, p, stop - p) else REFUSED


@part
def _is_iso(p: int, end: int) -> bool:
    """Whether a date's dash stands where it must: a number of that length has a digit there."""
    return p + 10 <= end and load_u8(p + 4) == _DASH


@part
def _number(code: int, unit: int, cell: int, p: int, end: int) -> int:
    if code != BOOL:
        return read_number(code, unit, cell, p, end)
    letter = load_u8(p)
    if letter == 48 or letter == 49:
        store_u8(cell, letter - 48)
        return p + 1
    return read_bool(cell, p, end)


@part
def _quoted(fields: np.ndarray, field: int, row: int, base: int, p: int, end: int) -> int:
    """Stores a cell between quotes, p behind the first, that has none inside; the position after the second."""
    stand_alone()
    code, cell, stop = fields[field, TYPE], fields[field, CELL] + row * fields[field, SIZE], _cell_end(p, end, _QUOTE)
    if stop == REFUSED or not is_next(stop, end, _QUOTE):
        return REFUSED
    if stop > p:
        store_u8(fields[field, VALID] + row, 1)
        if code >= STRING or (STAMP <= code <= DATE and _is_iso(p, stop)):
            p = _text(code, cell, base, p, stop)
        else:
            p = _number(code, fields[field, UNIT], cell, p, stop)
    return stop + 1 if p == stop else REFUSED


@part
def _scalar(fields: np.ndarray, field: int, row: int, base: int, p: int, end: int, delimiter: int) -> int:
    """Stores the cell at p, which is not empty; the position after it."""
    if load_u8(p) == _QUOTE:
        return _quoted(fields, field, row, base, p + 1, end)
    code, cell = fields[field, TYPE], fields[field, CELL] + row * fields[field, SIZE]
    store_u8(fields[field, VALID] + row, 1)
    is_time = STAMP <= code <= DATE and _is_iso(p, end)
    if code >= STRING or is_time:
        return _text(code, cell, base, p, _cell_end(p, end, delimiter))
    return _number(code, fields[field, UNIT], cell, p, end)


@part
def _columns(fields: np.ndarray, field: int, row: int, p: int, end: int, delimiter: int) -> int:
    """Stores COUNT cells: all empty = null; some empty = NaN where it holds floats."""
    stand_alone()
    code, count, nulls, start, at = fields[field, TYPE], fields[field, COUNT], 0, p, 0
    cell, width = fields[field, CELL] + row * fields[field, SIZE], fields[field, SIZE] // count
    is_float = FLOAT32 <= code <= FLOAT64
    while at < count:
        if code != BOOL:
            at, p = read_short(code, width, count, cell, at, start, p, end, delimiter)
        if _is_empty(p, end, delimiter):
            nulls += 1
            put_float(cell + at * width, code, np.nan)
        else:
            p = _number(code, 0, cell + at * width, p, end)
            if p == REFUSED:
                return REFUSED
        at += 1
        if at < count:
            if not is_next(p, end, delimiter):
                return REFUSED
            p += 1
    store_u8(fields[field, VALID] + row, nulls < count)
    return p if nulls == 0 or nulls == count or is_float else REFUSED


@part
def _tensor(fields: np.ndarray, field: int, row: int, p: int, end: int, delimiter: int) -> int:
    """Stores a tensor that is one cell, which is not empty: numbers with commas between them, in quotes or not, or base64."""
    stand_alone()
    code, count, size = fields[field, TYPE], fields[field, COUNT], fields[field, SIZE]
    cell, is_quoted = fields[field, CELL] + row * size, is_next(p, end, _QUOTE)
    store_u8(fields[field, VALID] + row, 1)
    if fields[field, FORM] == BASE64_FORM:
        stop = _cell_end(p, end, delimiter)
        if stop == REFUSED or code == BOOL or base64_size(p, stop - p) != size:
            return REFUSED
        from_base64(cell, size, p)
        return stop
    if count > 1 and delimiter == _COMMA and not is_quoted:
        return REFUSED
    p = read_list(code, size // count, count, cell, p + is_quoted, end, True)
    if p == REFUSED or not is_quoted:
        return p
    if is_next(p, end, _COMMA):
        p += 1
    return p + 1 if is_next(p, end, _QUOTE) else REFUSED


@part
def _record(fields: np.ndarray, row: int, base: int, p: int, end: int, delimiter: int) -> int:
    for field in range(fields.shape[0]):
        if field:
            if p >= end or load_u8(p) != delimiter:
                return REFUSED
            p += 1
        if fields[field, COUNT] > 0 and fields[field, FORM] == NO_FORM:
            p = _columns(fields, field, row, p, end, delimiter)
        elif _is_empty(p, end, delimiter):
            continue
        elif fields[field, COUNT] > 0:
            p = _tensor(fields, field, row, p, end, delimiter)
        else:
            p = _scalar(fields, field, row, base, p, end, delimiter)
        if p == REFUSED:
            return REFUSED
    return p


@part
def _line_end(p: int, end: int) -> int:
    """The end of a line without what closes it."""
    if p < end and load_u8(end - 1) == _FEED:
        end -= 1
        if p < end and load_u8(end - 1) == _RETURN:
            end -= 1
    return end


# job and fields as in columns.py, the delimiter at job[OPTION]; gives the number of rows read.
@kernel("int64(int64[::1], int64[:, ::1])")
def decode(job: np.ndarray, fields: np.ndarray) -> int:
    lay_out(job, fields)
    taken = 0
    for row in range(job[ROWS]):
        size = load_i64(job[VALUE_SIZE] + 8 * row)
        p = job[BASE] + load_i64(job[VALUE_AT] + 8 * row)
        end = _line_end(p, p + size)
        start_row(fields, row)
        is_good = size >= 0 and _record(fields, row, job[BASE], p, end, job[OPTION]) == end and end_row(fields, row)
        store_u8(job[TAKEN] + row, is_good)
        taken += is_good
    return taken
