"""msgpack records to columns: one pass over the bytes of a block, led by the field table.

Every position is checked against the end of its record. A part that cannot read on answers with the position REFUSED, and the
row goes to the generic library: extension types, integers beyond 64 signed bits, text that is no UTF-8, whatever does not fit.
"""

import numpy as np

from esp.kernels.columns import (
    BASE,
    BOOL,
    CELL,
    COUNT,
    DATE,
    DIMS,
    INT32,
    RANK,
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
    end_row,
    find_field,
    is_utf8,
    lay_out,
    put_cut,
    put_float,
    put_int,
    put_stamp,
    start_row,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.dates import parse_date, parse_stamp
from esp.kernels.words import (
    copy,
    float_of_bits,
    load_i32_be,
    load_i64,
    load_i64_be,
    load_u8,
    load_u16_be,
    load_u32_be,
    single_of_bits,
    stand_alone,
    store_i32,
    store_i64,
    store_u8,
)  # fmt: skip

REFUSED = -1
_NO_NUMBER, _IS_INT, _IS_FLOAT = 0, 1, 2
_NO_CONTAINER, _IS_ARRAY, _IS_MAP = 0, 1, 2
_NIL, _FALSE, _TRUE, _BIN8, _BIN32 = 0xC0, 0xC2, 0xC3, 0xC4, 0xC6
_SINGLE, _DOUBLE, _UINT8, _INT64, _STR8, _STR32, _ARRAY16, _MAP16, _MAP32 = 0xCA, 0xCB, 0xCC, 0xD3, 0xD9, 0xDB, 0xDC, 0xDE, 0xDF
_MOST_CONTAINERS = 256  # in an unknown value; the generic library's own limit of depth lies above


@part
def _record(fields: np.ndarray, row: int, base: int, p: int, end: int) -> int:
    kind, count, p = _container(p, end)
    if kind == _NO_CONTAINER:
        return REFUSED
    for place in range(count):
        field = place if place < fields.shape[0] else -1
        if kind == _IS_MAP:
            name, size = _text(p, end)
            if name == REFUSED or not is_utf8(name, size):
                return REFUSED
            field = find_field(fields, place, name, size)
            p = name + size
        if p >= end:
            return REFUSED
        p = _value(fields, field, row, base, p, end) if field >= 0 else _skip(p, end)
        if p == REFUSED:
            return REFUSED
    return p


@part
def _container(p: int, end: int) -> tuple[int, int, int]:
    """(kind, number of its entries, position after the head) of an array or a map."""
    lead = load_u8(p) if p < end else 0
    if lead & 0xF0 == 0x80:
        return _IS_MAP, lead & 15, p + 1
    if lead & 0xF0 == 0x90:
        return _IS_ARRAY, lead & 15, p + 1
    if lead < _ARRAY16 or lead > _MAP32:
        return _NO_CONTAINER, 0, p
    kind = _IS_MAP if lead >= _MAP16 else _IS_ARRAY
    if lead & 1:
        return (kind, load_u32_be(p + 1), p + 5) if p + 5 <= end else (_NO_CONTAINER, 0, p)
    return (kind, load_u16_be(p + 1), p + 3) if p + 3 <= end else (_NO_CONTAINER, 0, p)


@part
def _text(p: int, end: int) -> tuple[int, int]:
    """Where a str lies and its size, its bytes not yet judged."""
    lead = load_u8(p) if p < end else 0
    if lead & 0xE0 == 0xA0:
        return (p + 1, lead & 31) if p + 1 + (lead & 31) <= end else (REFUSED, 0)
    return _sized(p, end, lead - _STR8) if _STR8 <= lead <= _STR32 else (REFUSED, 0)


@part
def _binary(p: int, end: int) -> tuple[int, int]:
    """Where the bytes of a bin lie and their size."""
    lead = load_u8(p)
    return _sized(p, end, lead - _BIN8) if _BIN8 <= lead <= _BIN32 else (REFUSED, 0)


@part
def _sized(p: int, end: int, width: int) -> tuple[int, int]:
    """Bytes behind a size of 1, 2 or 4 bytes (width 0, 1, 2)."""
    at = p + 1 + (1 << width)
    if at > end:
        return REFUSED, 0
    size = load_u8(p + 1) if width == 0 else load_u16_be(p + 1) if width == 1 else load_u32_be(p + 1)
    return (at, size) if at + size <= end else (REFUSED, 0)


@part
def _value(fields: np.ndarray, field: int, row: int, base: int, p: int, end: int) -> int:
    """Stores the value at p (p < end) in its cell; the position after it."""
    code, cell, lead = fields[field, TYPE], fields[field, CELL] + row * fields[field, SIZE], load_u8(p)
    if lead == _NIL:
        store_u8(fields[field, VALID] + row, 0)
        return p + 1
    if fields[field, COUNT] > 0:
        p = _tensor(fields, field, cell, p, end)
    elif code >= STRING:
        at, size = _text(p, end) if code == STRING else _binary(p, end)
        if at == REFUSED or (code == STRING and not is_utf8(at, size)):
            return REFUSED
        put_cut(cell, at - base, size)
        p = at + size
    elif code == BOOL:
        store_u8(cell, lead == _TRUE)
        p = p + 1 if lead & 0xFE == _FALSE else REFUSED
    elif STAMP <= code <= DATE and _text(p, end)[0] != REFUSED:
        p = _iso(code, cell, p, end)
    else:
        p = _scalar(code, fields[field, UNIT], cell, p, end)
    store_u8(fields[field, VALID] + row, 1)
    return p


@part
def _iso(code: int, cell: int, p: int, end: int) -> int:
    stand_alone()
    at, size = _text(p, end)
    if code == DATE:
        is_good, days = parse_date(at, size)
        store_i32(cell, days)
    else:
        is_good, ns = parse_stamp(at, size)
        store_i64(cell, ns)
    return at + size if is_good else REFUSED


@part
def _scalar(code: int, unit: int, cell: int, p: int, end: int) -> int:
    stand_alone()
    kind, whole, real, p = _number(p, end)
    if kind == _IS_FLOAT:
        is_good = put_float(cell, code, real)
    elif code == STAMP:
        is_good = put_stamp(cell, whole, unit)
    else:
        is_good = put_int(cell, INT32 if code == DATE else code, whole)
    return p if is_good and kind != _NO_NUMBER else REFUSED


@part
def _number(p: int, end: int) -> tuple[int, int, float, int]:
    """(kind, integer, float, position after it) of a number."""
    lead = load_u8(p) if p < end else _NIL
    if lead < 0x80 or lead >= 0xE0:
        return _IS_INT, lead - 256 if lead >= 0xE0 else lead, 0.0, p + 1
    if lead == _SINGLE and p + 5 <= end:
        return _IS_FLOAT, 0, np.float64(single_of_bits(np.int32(load_i32_be(p + 1)))), p + 5
    if lead == _DOUBLE and p + 9 <= end:
        return _IS_FLOAT, 0, float_of_bits(load_i64_be(p + 1)), p + 9
    size = 1 << (lead & 3)
    if lead < _UINT8 or lead > _INT64 or p + 1 + size > end:
        return _NO_NUMBER, 0, 0.0, p
    value = _integer(lead, p + 1)
    if lead == _INT64 - 4 and value < 0:  # a uint64 past int64
        return _NO_NUMBER, 0, 0.0, p
    return _IS_INT, value, 0.0, p + 1 + size


@part
def _integer(lead: int, p: int) -> int:
    """An integer of 1, 2, 4 or 8 bytes, unsigned (0xCC to 0xCF) or signed (0xD0 to 0xD3)."""
    width, is_signed = lead & 3, lead > 0xCF
    if width == 3:
        return load_i64_be(p)
    if width == 2:
        return load_i32_be(p) if is_signed else load_u32_be(p)
    value: int = load_u16_be(p) if width == 1 else load_u8(p)
    bits = 48 if width == 1 else 56
    return value << bits >> bits if is_signed else value


@part
def _tensor(fields: np.ndarray, field: int, cell: int, p: int, end: int) -> int:
    """Bytes of exactly the size, or an array of numbers, flat or nested to the shape."""
    stand_alone()
    code, size = fields[field, TYPE], int(fields[field, SIZE])
    at, found = _binary(p, end)
    if at != REFUSED:
        if found != size:
            return REFUSED
        copy(cell, at, size)
        for place in range(size if code == BOOL else 0):
            if load_u8(at + place) > 1:
                return REFUSED
        return at + size
    kind, found, first = _container(p, end)
    if kind == _IS_ARRAY and found == fields[field, COUNT]:
        return _elements(code, size // found, found, 0, 0, cell, first, end)
    return _elements(
        code, size // fields[field, COUNT], fields[field, COUNT], fields[field, RANK], fields[field, DIMS], cell, p, end
    )


@part
def _elements(code: int, width: int, count: int, rank: int, dims: int, cell: int, p: int, end: int) -> int:
    """``count`` numbers, with the heads of the arrays that hold them where ``rank`` is not 0."""
    stand_alone()
    for at in range(count):
        block = count
        for axis in range(rank):
            dim = load_i64(dims + 8 * axis)
            if at % block == 0:
                kind, found, p = _container(p, end)
                if kind != _IS_ARRAY or found != dim:
                    return REFUSED
            block //= dim
        lead = load_u8(p) if p < end else _NIL
        if code == BOOL and lead & 0xFE == _FALSE:
            store_u8(cell + at, lead == _TRUE)
            p += 1
        else:
            p = _scalar(code, 0, cell + at * width, p, end)
            if p == REFUSED:
                return REFUSED
    return p


@part
def _skip(p: int, end: int) -> int:
    """The position after a value of an unknown field, which is checked all the same."""
    stand_alone()
    left, containers = 1, 0
    while left > 0:
        left -= 1
        kind, count, after = _container(p, end)
        if kind != _NO_CONTAINER:
            containers += 1
            left += count * kind  # a map holds keys and values
            p = after
            if containers > _MOST_CONTAINERS:
                return REFUSED
        else:
            p = _skip_leaf(p, end)
            if p == REFUSED:
                return REFUSED
    return p


@part
def _skip_leaf(p: int, end: int) -> int:
    if p >= end:
        return REFUSED
    lead = load_u8(p)
    if lead == _NIL or lead & 0xFE == _FALSE:
        return p + 1
    at, size = _text(p, end)
    if at != REFUSED:
        return at + size if is_utf8(at, size) else REFUSED
    at, size = _binary(p, end)
    if at != REFUSED:
        return at + size
    kind, _, _, after = _number(p, end)
    return after if kind != _NO_NUMBER else REFUSED


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
