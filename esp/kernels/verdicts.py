"""What is wrong with a value: which faults there are, when a value surely does not fit its field, and the text that says so.

A judge looks at records that a decoder has refused and writes a row of ``faults`` for each, int64[n, FAULT_WIDTH]. It says nothing (UNJUDGED)
wherever the generic library might take the record, or would say what a few words cannot.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np

from esp.kernels.columns import (
    BLOB,
    BOOL,
    DATE,
    FLOAT32,
    FLOAT64,
    INT64,
    STAMP,
    STRING,
    TOO_LARGE,
    UINT8,
    base64_digit,
    base64_size,
)  # fmt: skip
from esp.kernels.compile import kernel, part
from esp.kernels.dates import parse_date, parse_stamp
from esp.kernels.shortest import write_float, write_int
from esp.kernels.words import bits_of_float, copy, float_of_bits, load_u8, stand_alone, start_of, store_u8

# Columns of a fault: which head the text begins with; what was found; the byte of the record (-1 = none); what is told of what was found (a
# number, the bits of a float, an address) and its size; which number of a tensor of COUNT it is (from 1 on; 0 = none).
HEAD, FOUND, PLACE, VALUE, SIZE, NUMBER, COUNT, FAULT_WIDTH = range(8)

# What was found, with the words in front of and behind what is told of it.
FOUND_WORDS = (
    ("", ""), ("nothing", ""), ("null", ""), ("bool False", ""), ("bool True", ""), ("int ", ""), ("float ", ""), ("the text '", "'"), ("", " bytes"),
    ("an array of ", ""), ("an object", ""), ("no value", ""), ("it ends too early)", ""), ("unexpected byte ", ")"), ("no UTF-8)", ""),
    ("more behind it)", ""), ("a control character in a text)", ""), ("a number past all floats)", ""), ("nested too deep)", ""), ("the text '", "'..."),
)  # fmt: skip
UNJUDGED, NOTHING, NULL, FALSE, TRUE, INT, FLOAT, TEXT, BYTES, ARRAY, OBJECT, NO_VALUE = range(12)
ENDS, UNEXPECTED, NO_UTF8, BEHIND, CONTROL, HUGE, DEEP, LONG_TEXT = range(12, 20)
DEEPEST = 1100  # levels that no generic library takes: orjson and msgpack both take 1024

GOOD, BAD, UNSURE = 0, 1, 2
QUOTED = 40  # letters of a text that are told
_INT64_MAX = (1 << 63) - 1


@part
def fits(code: int, unit: int, found: int, whole: int, real: float, at: int, size: int, has_text_bytes: bool) -> int:
    """Whether a value that was found (INT with ``whole``, FLOAT with ``real``, TEXT with the place and size of its letters, -1 where it has
    escapes) fits a field that is no tensor.
    """
    stand_alone()
    if found == UNJUDGED:
        return UNSURE
    if found == TEXT:
        return _text_fits(code, at, size, has_text_bytes)
    if code == STRING:
        return BAD
    if code == BLOB:
        return GOOD if found == BYTES else BAD
    if code == BOOL:
        return GOOD if FALSE <= found <= TRUE else BAD
    if found == FLOAT:
        return _float_fits(code, unit, real)
    return _int_fits(code, unit, whole) if found == INT else BAD


@part
def _text_fits(code: int, at: int, size: int, has_text_bytes: bool) -> int:
    if code == STRING:
        return GOOD
    if STAMP <= code <= DATE:
        is_good = size >= 0 and (parse_date(at, size)[0] if code == DATE else parse_stamp(at, size)[0])
        return GOOD if is_good else UNSURE
    if code != BLOB or not has_text_bytes:
        return BAD
    if size < 0:
        return UNSURE
    for place in range(size):
        letter = load_u8(at + place)
        if base64_digit(letter) < 0 and letter != 61:
            return BAD
    return GOOD if base64_size(at, size) >= 0 else UNSURE


@part
def _int_fits(code: int, unit: int, whole: int) -> int:
    if code == INT64 or FLOAT32 <= code <= FLOAT64:
        return GOOD
    if code == UINT8:
        return GOOD if 0 <= whole <= 255 else BAD
    if code == STAMP:
        return BAD if unit == 0 or whole > _INT64_MAX // unit or whole < -(_INT64_MAX // unit) else GOOD
    return GOOD if -(1 << 31) <= whole < 1 << 31 else BAD


@part
def _float_fits(code: int, unit: int, real: float) -> int:
    """A float in the place of an integer is bad where it has a fraction, and else not for us to say."""
    if code == FLOAT64:
        return GOOD
    if real - real != 0.0:
        return GOOD if code == FLOAT32 else UNSURE
    if code == FLOAT32:
        return GOOD if abs(real) < TOO_LARGE else BAD
    if code == STAMP:
        return BAD if unit == 0 else UNSURE
    return BAD if abs(real) < 2.0**53 and np.float64(np.int64(real)) != real else UNSURE


@part
def blame(faults: Any, row: int, head: int, found: int, place: int, whole: int, real: float, at: int, size: int) -> bool:
    """Writes a fault down, unless what was found is a text that Python would write in another way; whether it did."""
    stand_alone()
    if found == TEXT:
        if not _is_plain(at, min(size, QUOTED)):
            return False
        found, whole, size = LONG_TEXT if size > QUOTED else TEXT, at, min(size, QUOTED)
    elif found == FLOAT:
        if real - real != 0.0:
            return False
        whole = bits_of_float(real)
    faults[row, HEAD], faults[row, FOUND], faults[row, PLACE] = head, found, place
    faults[row, VALUE], faults[row, SIZE] = whole, size
    return True


@part
def _is_plain(at: int, size: int) -> bool:
    """Whether letters stand between quotes as they are: ASCII without quotes, slashes and blanks that follow one another."""
    if size < 0:
        return False
    for place in range(size):
        letter = load_u8(at + place)
        if letter < 32 or letter > 126 or letter == 39 or letter == 92:
            return False
        if letter == 32 and place > 0 and load_u8(at + place - 1) == 32:
            return False
    return True


@part
def broken_utf8(p: int, end: int) -> int:
    """The first position whose byte is no part of UTF-8, or begins a letter that is none; ``end`` where all is well."""
    stand_alone()
    while p < end:
        lead = load_u8(p)
        more = 0 if lead < 0x80 else 1 if 0xC2 <= lead <= 0xDF else 2 if 0xE0 <= lead <= 0xEF else 3 if 0xF0 <= lead <= 0xF4 else -1
        if more < 0 or p + more >= end:
            return p
        if more > 0:
            second = load_u8(p + 1)
            if second < (0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80):
                return p
            if second > (0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF):
                return p
            for at in range(2, more + 1):
                if load_u8(p + at) & 0xC0 != 0x80:
                    return p
        p += more + 1
    return end


@part
def _write(p: int, texts: int, cuts: Any, at: int) -> int:
    copy(p, texts + cuts[at, 0], cuts[at, 1])
    return int(p + cuts[at, 1])


@part
def _write_float(p: int, value: float) -> int:
    """Writes a finite float as Python does, whose exponents have a sign and two digits at least; the position after it."""
    after, at = write_float(p, value, False), p
    while at < after and load_u8(at) != 101:
        at += 1
    if at == after:
        return after
    is_negative, exponent = load_u8(at + 1) == 45, 0
    for place in range(at + 1 + is_negative, after):
        exponent = exponent * 10 + load_u8(place) - 48
    store_u8(at + 1, 45 if is_negative else 43)
    store_u8(at + 2, 48)
    return write_int(at + (3 if exponent < 10 else 2), exponent)


# The texts of faults, one behind the other in ``out``; that of row i begins at begin[i], int64[n + 1]. ``texts`` uint8 is cut by cuts int64[t, 2]
# into the heads, the words of FOUND_WORDS from ``words`` on, and " as number ", " of ", ", at byte ". Gives the bytes written.
@kernel("int64(int64[:, ::1], Array(uint8, 1, 'C', True), int64[:, ::1], int64, uint8[::1], int64[::1])")
def write_reasons(faults: Any, texts: Any, cuts: Any, words: int, out: Any, begin: Any) -> int:
    base, start = start_of(texts), start_of(out)
    p = start
    for row in range(faults.shape[0]):
        begin[row] = p - start
        found, value = faults[row, FOUND], faults[row, VALUE]
        p = _write(p, base, cuts, faults[row, HEAD])
        p = _write(p, base, cuts, words + 2 * found)
        if found == FLOAT:
            p = _write_float(p, float_of_bits(value))
        elif found in (INT, UNEXPECTED) or BYTES <= found <= ARRAY:
            p = write_int(p, value)
        elif found in (TEXT, LONG_TEXT):
            copy(p, value, faults[row, SIZE])
            p += faults[row, SIZE]
        p = _write(p, base, cuts, words + 2 * found + 1)
        if faults[row, NUMBER] > 0:
            p = write_int(_write(p, base, cuts, cuts.shape[0] - 3), faults[row, NUMBER])
            p = write_int(_write(p, base, cuts, cuts.shape[0] - 2), faults[row, COUNT])
        if faults[row, PLACE] >= 0:
            p = write_int(_write(p, base, cuts, cuts.shape[0] - 1), faults[row, PLACE])
    begin[faults.shape[0]] = p - start
    return int(p - start)
