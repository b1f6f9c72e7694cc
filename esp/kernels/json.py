"""JSON records to columns: one pass over the bytes of a block, led by the field table.

Every position is checked against the end of its record. What is taken is strict JSON (RFC 8259); a row with an escape in a key, a number
beyond the fast paths or anything that does not fit its field is REFUSED and goes to the generic library.
"""

import numpy as np

from esp.kernels.columns import (
    ARRAY_FORM,
    BASE,
    BASE64_FORM,
    BLOB,
    BOOL,
    CELL,
    COUNT,
    DATE,
    DIMS,
    NO_FORM,
    RANK,
    ROWS,
    SIZE,
    SPELLED,
    STAMP,
    STRING,
    TAKEN,
    TEXT_FORM,
    TYPE,
    UNIT,
    VALID,
    VALUE_AT,
    VALUE_SIZE,
    base64_size,
    end_row,
    find_field,
    from_base64,
    is_utf8,
    lay_out,
    put_cut,
    start_row,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.escapes import ESCAPED, measure_escaped
from esp.kernels.lists import read_list
from esp.kernels.numbers import NO_NUMBER, parse_number
from esp.kernels.text import (
    FALSE,
    NULL,
    REFUSED,
    TRUE,
    has_word,
    is_next,
    read_bool,
    read_iso,
    read_number,
    skip_space,
    special_marks,
)
from esp.kernels.words import load_i64, load_u8, load_u64, stand_alone, store_i64, store_u8, trailing_zeros

_BLANK, _QUOTE, _COMMA, _COLON, _BACKSLASH, _OPEN, _CLOSE, _START, _STOP = 32, 34, 44, 58, 92, 91, 93, 123, 125  #   " , : \ [ ] { }
_DEEPEST = 60  # of an unknown value; each level takes one bit of a word


@part
def _text(p: int, end: int) -> tuple[int, int]:
    """Where the inside of a string lies and its size, p at its quote; REFUSED for escapes, control letters and broken UTF-8."""
    stand_alone()
    if not is_next(p, end, _QUOTE):
        return REFUSED, 0
    start, is_ascii = p + 1, True
    p += 1
    while True:
        while p + 8 <= end:
            marks = special_marks(load_u64(p))
            if marks:
                p += trailing_zeros(marks) >> 3
                break
            p += 8
        if p >= end:
            return REFUSED, 0
        letter = load_u8(p)
        if letter == _QUOTE:
            return (start, p - start) if is_ascii or is_utf8(start, p - start) else (REFUSED, 0)
        if letter < 32 or letter == _BACKSLASH:
            return REFUSED, 0
        is_ascii &= letter < 128
        p += 1


@part
def _key(p: int, end: int) -> tuple[int, int, int]:
    """(where a key lies, its size, position after its colon); all REFUSED where there is none."""
    stand_alone()
    at, size = _text(p, end)
    if at == REFUSED:
        return REFUSED, 0, REFUSED
    p = skip_space(at + size + 1, end)
    return (at, size, skip_space(p + 1, end)) if is_next(p, end, _COLON) else (REFUSED, 0, REFUSED)


@part
def _value(fields: np.ndarray, field: int, row: int, base: int, p: int, end: int) -> int:
    """Stores the value at p in its cell; the position after it."""
    code, cell = fields[field, TYPE], fields[field, CELL] + row * fields[field, SIZE]
    if has_word(p, end, NULL):
        store_u8(fields[field, VALID] + row, 0)
        if fields[field, COUNT] > 0:
            store_i64(fields[field, SPELLED] + 24 * row + 16, NO_FORM)
        return p + 4
    store_u8(fields[field, VALID] + row, 1)
    if fields[field, COUNT] > 0:
        return _tensor(fields, field, row, base, p, end)
    if is_next(p, end, _QUOTE):
        at, size = _text(p, end)
        if at == REFUSED:
            return _escaped(cell, base, p, end) if code == STRING else REFUSED
        return at + size + 1 if _store_text(fields, field, cell, base, at, size) else REFUSED
    if code == BOOL:
        return read_bool(cell, p, end)
    return read_number(code, fields[field, UNIT], cell, p, end)


@part
def _escaped(cell: int, base: int, p: int, end: int) -> int:
    """Stores where a string with escapes lies, to be unescaped when it is gathered; the position after it."""
    stand_alone()
    size, stop = measure_escaped(p + 1, end)
    if size < 0 or not is_utf8(p + 1, stop - p - 1):
        return REFUSED
    put_cut(cell, ESCAPED + p + 1 - base, size)
    return stop + 1


@part
def _store_text(fields: np.ndarray, field: int, cell: int, base: int, at: int, size: int) -> bool:
    """Stores what a string stands for: itself, base64 of bytes, or a date or time."""
    stand_alone()
    code = fields[field, TYPE]
    if code == STRING:
        put_cut(cell, at - base, size)
        return True
    if STAMP <= code <= DATE:
        return read_iso(code, cell, at, size)
    found = base64_size(at, size)
    put_cut(cell, at - base, found)
    return code == BLOB and found >= 0


@part
def _tensor(fields: np.ndarray, field: int, row: int, base: int, p: int, end: int) -> int:
    """Stores an array of numbers, flat or nested to the shape, or what a string holds of them, and notes how it stood there."""
    stand_alone()
    code, count, size = fields[field, TYPE], fields[field, COUNT], fields[field, SIZE]
    cell, start, form = fields[field, CELL] + row * size, p, NO_FORM
    if is_next(p, end, _QUOTE):
        p, form = _quoted(code, count, size, cell, p, end)
    elif not is_next(p, end, _OPEN):
        return REFUSED
    elif is_next(skip_space(p + 1, end), end, _OPEN):
        p = _nested(code, size // count, count, fields[field, RANK], fields[field, DIMS], cell, p, end)
    else:
        form = ARRAY_FORM
        p = read_list(code, size // count, count, cell, p + 1, end, False)
        p = p + 1 if p != REFUSED and is_next(p, end, _CLOSE) else REFUSED
    spelled = fields[field, SPELLED] + 24 * row
    store_i64(spelled, start - base)
    store_i64(spelled + 8, p - start)
    store_i64(spelled + 16, form)
    return p


@part
def _quoted(code: int, count: int, size: int, cell: int, p: int, end: int) -> tuple[int, int]:
    """Stores a tensor that is one string, numbers with commas between them (and one behind the last, or none) or base64: (position after
    it, form). Base64 has no commas, and that of a single number ends in =, so the one is never the other.
    """
    stop = read_list(code, size // count, count, cell, p + 1, end, True)
    if stop != REFUSED:
        if is_next(stop, end, _COMMA):
            stop += 1
            while is_next(stop, end, _BLANK):
                stop += 1
        if is_next(stop, end, _QUOTE):
            return stop + 1, TEXT_FORM
    at, length = _text(p, end)
    if at == REFUSED or code == BOOL or base64_size(at, length) != size:
        return REFUSED, NO_FORM
    from_base64(cell, size, at)
    return at + length + 1, BASE64_FORM


@part
def _nested(code: int, width: int, count: int, rank: int, dims: int, cell: int, p: int, end: int) -> int:
    """Numbers within brackets as the dims int64[rank] have it."""
    stand_alone()
    inner = load_i64(dims + 8 * (rank - 1))
    for at in range(0, count, inner):
        if at > 0:
            p = skip_space(p, end)
            if not is_next(p, end, _COMMA):
                return REFUSED
            p += 1
        p = _brackets(_OPEN, _edges(at, count, rank, dims), p, end)
        if p != REFUSED:
            p = read_list(code, width, inner, cell + at * width, p, end, False)
        if p != REFUSED:
            p = _brackets(_CLOSE, _edges(at + inner, count, rank, dims), p, end)
        if p == REFUSED:
            return REFUSED
    return p


@part
def _brackets(letter: int, count: int, p: int, end: int) -> int:
    """The position after so many brackets."""
    for _ in range(count):
        p = skip_space(p, end)
        if not is_next(p, end, letter):
            return REFUSED
        p += 1
    return p


@part
def _edges(at: int, count: int, rank: int, dims: int) -> int:
    """How many axes begin (or end) at the flat index ``at``."""
    block, edges = count, 0
    for axis in range(rank):
        edges += at % block == 0
        block //= load_i64(dims + 8 * axis)
    return edges


@part
def _skip(p: int, end: int) -> int:
    """The position after a value of an unknown field, which is checked all the same; ``kinds`` has a bit a level: 1 = object."""
    stand_alone()
    depth, kinds = 0, 0
    while True:
        p = skip_space(p, end)
        is_object = is_next(p, end, _START)
        if is_object or is_next(p, end, _OPEN):
            p = skip_space(p + 1, end)
            if is_next(p, end, _STOP if is_object else _CLOSE):
                p += 1
            else:
                depth, kinds = depth + 1, kinds << 1 | is_object
                p = _key(p, end)[2] if is_object else p
                if depth > _DEEPEST or p == REFUSED:
                    return REFUSED
                continue
        else:
            p = _skip_leaf(p, end)
        if p == REFUSED:
            return REFUSED
        p, depth, kinds = _skip_ends(p, end, depth, kinds)
        if depth == 0 or p == REFUSED:
            return p


@part
def _skip_ends(p: int, end: int, depth: int, kinds: int) -> tuple[int, int, int]:
    """From behind a value to the next one, over what closes there; depth 0 where nothing comes."""
    while depth > 0:
        p = skip_space(p, end)
        if is_next(p, end, _COMMA):
            p = skip_space(p + 1, end)
            return _key(p, end)[2] if kinds & 1 else p, depth, kinds
        if not is_next(p, end, _STOP if kinds & 1 else _CLOSE):
            return REFUSED, depth, kinds
        p, depth, kinds = p + 1, depth - 1, kinds >> 1
    return p, depth, kinds


@part
def _skip_leaf(p: int, end: int) -> int:
    if is_next(p, end, _QUOTE):
        at, size = _text(p, end)
        if at != REFUSED:
            return at + size + 1
        size, stop = measure_escaped(p + 1, end)
        return stop + 1 if size >= 0 and is_utf8(p + 1, stop - p - 1) else REFUSED
    if has_word(p, end, NULL):
        return p + 4
    kind, _, _, after = parse_number(p, end)
    return after if kind != NO_NUMBER else _skip_bool(p, end)


@part
def _skip_bool(p: int, end: int) -> int:
    if is_next(p + 4, end, 101) and load_u8(p) == 102:
        return p + 5 if has_word(p, end, FALSE) else REFUSED
    return p + 4 if has_word(p, end, TRUE) else REFUSED


@part
def _record(fields: np.ndarray, row: int, base: int, p: int, end: int) -> int:
    p = skip_space(p, end)
    if not is_next(p, end, _START):
        return REFUSED
    p = skip_space(p + 1, end)
    if is_next(p, end, _STOP):
        return skip_space(p + 1, end)
    place = 0
    while True:
        at, size, p = _key(p, end)
        if at == REFUSED:
            return REFUSED
        field = find_field(fields, place, at, size)
        p = _value(fields, field, row, base, p, end) if field >= 0 else _skip(p, end)
        if p == REFUSED:
            return REFUSED
        p = skip_space(p, end)
        if is_next(p, end, _STOP):
            return skip_space(p + 1, end)
        if not is_next(p, end, _COMMA):
            return REFUSED
        p = skip_space(p + 1, end)
        place += 1


# job and fields as in columns.py; gives the number of rows read.
@kernel("int64(int64[::1], int64[:, ::1])")
def decode(job: np.ndarray, fields: np.ndarray) -> int:
    lay_out(job, fields)
    taken = 0
    for row in range(job[ROWS]):
        size = load_i64(job[VALUE_SIZE] + 8 * row)
        p = job[BASE] + load_i64(job[VALUE_AT] + 8 * row)
        start_row(fields, row)
        is_good = size > 0 and _record(fields, row, job[BASE], p, p + size) == p + size and end_row(fields, row)
        store_u8(job[TAKEN] + row, is_good)
        taken += is_good
    return taken
