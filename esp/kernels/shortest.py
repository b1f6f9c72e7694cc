"""Numbers to text: integers, and the shortest texts of floats that read back the same.

Source: R. Giulietti, The Schubfach way to render doubles (2020). Texts lie at addresses; up to WRITTEN_PAST bytes behind one are written over.
"""

from typing import Any

import numpy as np

from esp.kernels.compile import part
from esp.kernels.digits import TENS
from esp.kernels.words import (
    bits_of_float,
    bits_of_single,
    in_line,
    leading_zeros,
    load_i64,
    multiply_high,
    stand_alone,
    store_i64,
    store_u8,
)

Word = Any  # a uint64

WRITTEN_PAST = 24
_POWER_MIN, _POWER_MAX = -342, 324
_U64 = 0xFFFFFFFFFFFFFFFF
_ZEROS, _POINT_AND_ZEROS = 0x3030303030303030, 0x3030303030302E30  # "00000000", "0.000000"


def _ceiling(power: int) -> int:
    """10 ** power to 128 bits, rounded up (Schubfach's g)."""
    five: int = 5 ** abs(power)
    if power < 0:
        return (1 << (five.bit_length() + 127)) // five + 1
    cut = five.bit_length() - 128
    return (five >> cut) + 1 if cut > 0 else five << -cut


_TENS = np.array([[found >> 64, found & _U64] for found in map(_ceiling, range(_POWER_MIN, _POWER_MAX + 1))], np.uint64)

_SINGLE_MIN = -31
_SINGLE_TENS = np.array([(_ceiling(power) >> 64) + (_ceiling(power) & _U64 > 0) for power in range(_SINGLE_MIN, 47)], np.uint64)


@part
def write_int(p: int, value: int) -> int:
    """Writes an int64 as text; the position after it."""
    stand_alone()
    rest: Word = np.uint64(value)
    if value < 0:
        store_u8(p, 45)
        p += 1
        rest = np.uint64(0) - rest
    size = _digit_count(rest)
    _write_digits(p, rest, size)
    return p + size


@part
def _digit_count(value: Word) -> int:
    """How many digits a uint64 has; 1 of 0."""
    in_line()
    value |= np.uint64(value == np.uint64(0))
    guess: int = ((64 - leading_zeros(value)) * 1233) >> 12
    return guess + int(value >= TENS[guess])


@part
def _eight_letters(value: Word) -> Word:
    """Eight digits as text, zeros in front, the first letter lowest in the word."""
    in_line()
    upper = value // np.uint64(10_000)
    pairs = upper | (value - upper * np.uint64(10_000)) << np.uint64(32)
    hundreds = ((pairs * np.uint64(10_486)) >> np.uint64(20)) & np.uint64(0x0000007F0000007F)
    fours = hundreds | (pairs - hundreds * np.uint64(100)) << np.uint64(16)
    tens = ((fours * np.uint64(103)) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)
    return (tens | (fours - tens * np.uint64(10)) << np.uint64(8)) + np.uint64(_ZEROS)


@part
def _write_digits(p: int, value: Word, count: int) -> None:
    """Writes a uint64 of so many digits. Seven bytes behind the last may be written over."""
    in_line()
    rest, left = value, count
    if left > 16:
        upper = rest // np.uint64(10_000_000_000_000_000)
        rest -= upper * np.uint64(10_000_000_000_000_000)
        store_i64(p, np.int64(_eight_letters(upper) >> np.uint64(8 * (24 - left))))
        p, left = p + left - 16, 16
    if left > 8:
        upper = rest // np.uint64(100_000_000)
        rest -= upper * np.uint64(100_000_000)
        store_i64(p, np.int64(_eight_letters(upper) >> np.uint64(8 * (16 - left))))
        p, left = p + left - 8, 8
    store_i64(p, np.int64(_eight_letters(rest) >> np.uint64(8 * (8 - left))))


@part
def write_float(p: int, value: float, is_single: bool) -> int:
    """Writes a finite float as the shortest text that reads back as the same (float32 where ``is_single``); the position after it."""
    stand_alone()
    if bits_of_float(value) < 0:
        store_u8(p, 45)
        p += 1
        value = -value
    if value == 0.0:
        store_i64(p, _POINT_AND_ZEROS)
        return p + 3
    if is_single:
        bits: Any = np.int64(bits_of_single(np.float32(value)))
        fraction, exponent, width, bias = bits & 0x7FFFFF, bits >> 23, 23, 150
    else:
        bits = bits_of_float(value)
        fraction, exponent, width, bias = bits & ((1 << 52) - 1), bits >> 52, 52, 1075
    is_closer = fraction == 0 and exponent > 1
    significand = fraction | (1 << width) if exponent else fraction
    digits, power = _shortest(significand, max(exponent, 1) - bias, is_closer, is_single)
    tenth = digits // np.uint64(10)
    while tenth * np.uint64(10) == digits:
        digits, power = tenth, power + 1
        tenth = digits // np.uint64(10)
    return _write_decimal(p, digits, power)


@part
def _shortest(significand: int, power: int, is_closer: Any, is_single: bool) -> tuple[Any, int]:
    """Schubfach: the shortest decimal (digits, power of ten) in the rounding interval of significand * 2 ** power."""
    in_line()
    odd = np.uint64(significand & 1)
    scale = (power * 1262611 - (524031 if is_closer else 0)) >> 22
    shift = np.uint64(power + ((-scale * 1741647) >> 19) + 1)
    middle = np.uint64(4 * significand)
    below, above = (middle - np.uint64(1 if is_closer else 2)) << shift, (middle + np.uint64(2)) << shift
    if is_single:
        ten = _SINGLE_TENS[-scale - _SINGLE_MIN]
        lower, value, upper = _to_odd_single(ten, below), _to_odd_single(ten, middle << shift), _to_odd_single(ten, above)
    else:
        high, low = _TENS[-scale - _POWER_MIN, 0], _TENS[-scale - _POWER_MIN, 1]
        lower, value, upper = _to_odd(high, low, below), _to_odd(high, low, middle << shift), _to_odd(high, low, above)
    lower, upper, whole = lower + odd, upper - odd, value >> np.uint64(2)
    if whole >= np.uint64(10):
        tenth = whole // np.uint64(10)
        is_low = lower <= np.uint64(40) * tenth
        is_high = np.uint64(40) * tenth + np.uint64(40) <= upper
        if is_low != is_high:
            return tenth + np.uint64(is_high), scale + 1
    is_low = lower <= np.uint64(4) * whole
    is_high = np.uint64(4) * whole + np.uint64(4) <= upper
    if is_low != is_high:
        return whole + np.uint64(is_high), scale
    half = np.uint64(4) * whole + np.uint64(2)
    return whole + np.uint64(value > half or (value == half and whole & np.uint64(1) == np.uint64(1))), scale


@part
def _to_odd(high: Word, low: Word, value: Word) -> Word:
    """The upper 64 bits of value * (high, low), with the last bit set where anything was cut off."""
    in_line()
    middle = value * high
    total = middle + multiply_high(value, low)
    return multiply_high(value, high) + np.uint64(total < middle) | np.uint64(total > np.uint64(1))


@part
def _to_odd_single(ten: Word, value: Word) -> Word:
    """The same to 32 bits, of a value that fits them."""
    in_line()
    return multiply_high(ten, value) | np.uint64((ten * value) >> np.uint64(32) > np.uint64(1))


@part
def _write_decimal(p: int, digits: Word, power: int) -> int:
    """Writes digits * 10 ** power as JSON has it: plainly from 1e-4 to 1e16, with an exponent beyond."""
    in_line()
    size = _digit_count(digits)
    point = size + power
    if -4 < point <= 0:
        store_i64(p, _POINT_AND_ZEROS)
        _write_digits(p + 2 - point, digits, size)
        return p + 2 - point + size
    _write_digits(p, digits, size)
    if 0 < point < size and point <= 16:
        return _write_point(p, point, size)
    if power >= 0 and point <= 16:
        for at in range(0, 24, 8):
            store_i64(p + size + at, _ZEROS)
        store_u8(p + point, 46)
        return p + point + 2
    if size > 1:
        size = _write_point(p, 1, size) - p
    store_u8(p + size, 101)
    return write_int(p + size + 1, point - 1)


@part
def _write_point(p: int, at: int, size: int) -> int:
    """Puts a point before digit ``at`` of at most 17; the position after the last."""
    first, second = load_i64(p + at), load_i64(p + at + 8)
    store_u8(p + at, 46)
    store_i64(p + at + 1, first)
    store_i64(p + at + 9, second)
    return p + size + 1
