"""Lists of numbers as text, read into the cells of a tensor: a JSON array, or numbers with commas between them in one string."""

import numpy as np

from esp.kernels.columns import BOOL, FLOAT32, FLOAT64, put_float, put_int
from esp.kernels.compile import part
from esp.kernels.digits import EXACT_TENS, find_letter, long_number, short_number
from esp.kernels.numbers import from_decimal
from esp.kernels.text import NULL, REFUSED, has_word, is_next, read_bool, read_number, skip_space
from esp.kernels.words import in_line, load_u8, stand_alone, store_f32, store_f64, store_u8, trailing_zeros

_COMMA, _MINUS, _SPACE, _BLOCK = 44, 45, 32, 64
_NAN, _INF = 0x6E616E, 0x666E69  # "nan" and "inf" as little-endian numbers
_BEHIND = 17  # letters that short_number wants before the end of a number


@part
def read_list(code: int, width: int, count: int, cell: int, p: int, end: int, is_text: bool) -> int:
    """``count`` numbers with commas between them, from p on; the position after the last and what is blank behind it.

    ``is_text``: it is the inside of a string, in which a float may be nan or inf, a bool 1 or 0.
    """
    stand_alone()
    start, at = p, 0
    while at < count:
        if code != BOOL:
            at, p = read_short(code, width, count, cell, at, start, p, end, _COMMA)
        p = _element(code, cell + at * width, _blank(p, end, is_text), end, is_text)
        if p == REFUSED:
            return REFUSED
        p, at = _blank(p, end, is_text), at + 1
        if at < count:
            if not is_next(p, end, _COMMA):
                return REFUSED
            p += 1
    return p


@part
def read_short(code: int, width: int, count: int, cell: int, at: int, start: int, p: int, end: int, comma: int) -> tuple[int, int]:
    """Stores number after number from the ``at``-th on, but for the last, while they are plain ones and a comma follows each.

    Gives how many there are now, and the position after the last comma. From ``start`` on there is something to read before p.
    """
    stand_alone()
    block = p
    while block + _BLOCK <= end:
        commas = find_letter(block, comma)
        while commas != np.uint64(0):
            stop = block + trailing_zeros(commas)
            p += load_u8(p) == _SPACE
            place = cell + at * width
            if at == count - 1 or stop - _BEHIND < start:
                return at, p
            if not _put_short(code, place, p, stop) and not _put_long(code, place, p, stop):
                return at, p
            commas &= commas - np.uint64(1)
            p, at = stop + 1, at + 1
        block += _BLOCK
    return at, p


@part
def _blank(p: int, end: int, is_text: bool) -> int:
    """The next position that is not blank; a string has no blanks but spaces."""
    if not is_text:
        return skip_space(p, end)
    while is_next(p, end, _SPACE):
        p += 1
    return p


@part
def _put_short(code: int, cell: int, p: int, stop: int) -> bool:
    """Stores a number from p to stop; False where it is none or a long one."""
    in_line()
    is_good, digits, fraction = short_number(p, stop)
    if not is_good:
        return False
    if fraction < 0:
        return put_int(cell, code, digits)
    number = np.float64(digits) / EXACT_TENS[fraction]
    if code == FLOAT32:
        store_f32(cell, np.float32(number))
    elif code == FLOAT64:
        store_f64(cell, number)
    return FLOAT32 <= code <= FLOAT64


@part
def _put_long(code: int, cell: int, p: int, stop: int) -> bool:
    """Stores a float of many digits from p to stop; False where it is another number or none."""
    stand_alone()
    is_good, digits, fraction = long_number(p, stop)
    if not is_good or not FLOAT32 <= code <= FLOAT64:
        return False
    is_exact, number = from_decimal(np.uint64(abs(digits)), -fraction)
    return is_exact and put_float(cell, code, number if digits >= 0 else -number)


@part
def _element(code: int, cell: int, p: int, end: int, is_text: bool) -> int:
    """Stores a number of any length, or the word that stands for one; the position after it."""
    stand_alone()
    if code == BOOL:
        if is_text and (is_next(p, end, 48) or is_next(p, end, 49)):
            store_u8(cell, load_u8(p) - 48)
            return p + 1
        return read_bool(cell, p, end)
    if FLOAT32 <= code <= FLOAT64:
        if is_text:
            word = p + is_next(p, end, _MINUS)
            if word + 3 <= end and load_u8(word) | 32 > 57:
                return _read_word(code, cell, p, word)
        if not is_text and has_word(p, end, NULL):
            put_float(cell, code, np.nan)
            return p + 4
    return read_number(code, 0, cell, p, end)


@part
def _read_word(code: int, cell: int, p: int, at: int) -> int:
    """nan or inf, small letters or large ones, at ``at``: behind a sign, where p is not there."""
    word = (load_u8(at) | load_u8(at + 1) << 8 | load_u8(at + 2) << 16) | 0x202020
    if word != _NAN and word != _INF:
        return REFUSED
    value = np.nan if word == _NAN else np.inf
    put_float(cell, code, -value if at > p else value)
    return at + 3
