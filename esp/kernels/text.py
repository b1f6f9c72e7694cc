"""What JSON and CSV share: scalars and base64 as text, read into cells and written from them."""

from typing import Any

import numpy as np

from esp.kernels.columns import BOOL, DATE, FLOAT32, FLOAT64, INT32, INT64, STAMP, UINT8, put_float, put_int, put_stamp
from esp.kernels.compile import part
from esp.kernels.dates import is_iso_day, parse_date, parse_stamp, write_date, write_stamp
from esp.kernels.numbers import IS_FLOAT, NO_NUMBER, parse_number
from esp.kernels.shortest import write_float, write_int
from esp.kernels.words import (
    load_f32,
    load_f64,
    load_i32,
    load_i64,
    load_u8,
    load_u32,
    stand_alone,
    store_i32,
    store_i64,
    store_u8,
    store_u16,
)

REFUSED = -1  # a position: the generic library must look at this row
_HIGH, _ONES = np.uint64(0x8080808080808080), np.uint64(0x0101010101010101)
NULL, TRUE, FALSE = 0x6C6C756E, 0x65757274, 0x736C6166  # "null", "true", "fals" as little-endian words


@part
def is_next(p: int, end: int, letter: int) -> bool:
    return p < end and load_u8(p) == letter


@part
def skip_space(p: int, end: int) -> int:
    """The next position that is no white space."""
    while p < end and load_u8(p) <= 32:
        letter = load_u8(p)
        if letter != 32 and letter != 10 and letter != 13 and letter != 9:
            return p
        p += 1
    return p


@part
def special_marks(word: Any) -> Any:
    """Marks the lowest byte of eight (and perhaps some above it) that is a quote, a backslash, a control letter or past ASCII."""
    quote, slash = word ^ (_ONES * np.uint64(34)), word ^ (_ONES * np.uint64(92))
    low = (word - _ONES * np.uint64(32)) | (quote - _ONES) | (slash - _ONES)
    return (low | word) & _HIGH


@part
def has_word(p: int, end: int, word: int) -> bool:
    """Whether four given bytes come next."""
    return p + 4 <= end and load_u32(p) == word


@part
def read_bool(cell: int, p: int, end: int) -> int:
    """Stores true or false; the position after it."""
    if has_word(p, end, TRUE):
        store_u8(cell, 1)
        return p + 4
    if has_word(p, end, FALSE) and p + 5 <= end and load_u8(p + 4) == 101:
        store_u8(cell, 0)
        return p + 5
    return REFUSED


@part
def read_number(code: int, unit: int, cell: int, p: int, end: int) -> int:
    """Stores a number, a stamp in its unit or a day; the position after it."""
    stand_alone()
    kind, whole, real, p = parse_number(p, end)
    if kind == NO_NUMBER:
        return REFUSED
    if kind == IS_FLOAT:
        return p if put_float(cell, code, real) else REFUSED
    if code == STAMP:
        return p if put_stamp(cell, whole, unit) else REFUSED
    return p if put_int(cell, INT32 if code == DATE else code, whole) else REFUSED


@part
def read_iso(code: int, cell: int, p: int, size: int) -> bool:
    """Stores a stamp or a date given as ISO text; False where the text is none."""
    stand_alone()
    if code == DATE:
        is_good, days = parse_date(p, size)
        store_i32(cell, days)
    else:
        is_good, ns = parse_stamp(p, size)
        store_i64(cell, ns)
    return is_good


@part
def write_scalar(p: int, code: int, unit: int, cell: int, quote: int) -> int:
    """Writes a number, bool, stamp or date, ISO text between quotes where there are any; p itself where a float is not finite."""
    stand_alone()
    if FLOAT32 <= code <= FLOAT64:
        value = np.float64(load_f32(cell)) if code == FLOAT32 else load_f64(cell)
        return write_float(p, value, code == FLOAT32) if value - value == 0.0 else p
    if code == BOOL:
        return _write_bool(p, load_u8(cell) != 0)
    if code == STAMP:
        return _write_iso(p, code, load_i64(cell), quote) if unit == 0 else write_int(p, load_i64(cell) // unit)
    if code == DATE and is_iso_day(load_i32(cell)):
        return _write_iso(p, code, load_i32(cell), quote)
    return write_int(p, load_u8(cell) if code == UINT8 else load_i64(cell) if code == INT64 else load_i32(cell))


@part
def write_number(p: int, code: int, unit: int, cell: int) -> int:
    """Writes a scalar without quotes; nan, inf and -inf where a float is not finite."""
    stand_alone()
    after = write_scalar(p, code, unit, cell, 0)
    if after > p:
        return after
    value = np.float64(load_f32(cell)) if code == FLOAT32 else load_f64(cell)
    if value != value:
        return _write_letters(p, 110, 97, 110)
    if value < 0:
        store_u8(p, 45)
        p += 1
    return _write_letters(p, 105, 110, 102)


@part
def _write_letters(p: int, a: int, b: int, c: int) -> int:
    store_u8(p, a)
    store_u8(p + 1, b)
    store_u8(p + 2, c)
    return p + 3


@part
def write_word(p: int, word: int) -> int:
    store_i32(p, word)
    return p + 4


@part
def _write_bool(p: int, value: bool) -> int:
    p = write_word(p, TRUE if value else FALSE)
    if not value:
        store_u8(p, 101)
        p += 1
    return p


@part
def _write_iso(p: int, code: int, value: int, quote: int) -> int:
    if quote:
        store_u8(p, quote)
        p += 1
    p = write_date(p, value) if code == DATE else write_stamp(p, value)
    if quote:
        store_u8(p, quote)
        p += 1
    return p


@part
def _base64_letter(value: int) -> int:
    if value < 26:
        return 65 + value
    if value < 52:
        return 71 + value
    return value - 4 if value < 62 else 43 if value == 62 else 47


@part
def write_base64(p: int, source: int, size: int) -> int:
    """Writes bytes as base64 with padding; the position after it."""
    stand_alone()
    done = 0
    while done < size:
        word = load_u8(source + done) << 16
        word |= load_u8(source + done + 1) << 8 if done + 1 < size else 0
        word |= load_u8(source + done + 2) if done + 2 < size else 0
        for at in range(4):
            store_u8(p + at, _base64_letter(word >> (18 - 6 * at) & 63))
        p += 4
        done += 3
    if done > size:
        store_u8(p - 1, 61)
    if done > size + 1:
        store_u16(p - 2, 0x3D3D)
    return p
