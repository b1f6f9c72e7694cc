"""Text to numbers: correctly rounded floats.

Source: D. Lemire, Number Parsing at a Gigabyte per Second (2021). Texts lie at addresses; what the fast paths do not take is NO_NUMBER, and the generic library reads it.
"""

from typing import Any

import numpy as np

from esp.kernels.compile import part
from esp.kernels.digits import EXACT_TENS, read_digits
from esp.kernels.words import (
    float_of_bits,
    leading_zeros,
    load_u8,
    multiply_high,
    stand_alone,
)

Word = Any  # a uint64

NO_NUMBER, IS_INT, IS_FLOAT = 0, 1, 2
_POWER_MIN, _POWER_MAX = -342, 324
_U64 = 0xFFFFFFFFFFFFFFFF
_MOST_DIGITS = 19  # of a decimal significand that fits 64 bits


def _reciprocal(power: int) -> int:
    """5 ** power to 128 bits, power < 0, as Lemire's product wants it: above the true value where it is near, else cut off."""
    five: int = 5**-power
    shift = five.bit_length() + 127 if power >= -27 else 2 * five.bit_length() + 128
    found: int = (1 << shift) // five + 1
    return found >> (found.bit_length() - 128)


def _truncated(power: int) -> int:
    """5 ** power to 128 bits, power >= 0, cut off."""
    five: int = 5**power
    return five >> (five.bit_length() - 128) if five.bit_length() > 128 else five << (128 - five.bit_length())


def _table(values: list[int]) -> np.ndarray[Any, Any]:
    return np.array([[value >> 64, value & _U64] for value in values], np.uint64)


_POWERS = range(_POWER_MIN, _POWER_MAX + 1)
_FIVES = _table([_reciprocal(power) if power < 0 else _truncated(power) for power in _POWERS])


@part
def parse_number(p: int, end: int) -> tuple[int, int, float, int]:
    """A number as JSON writes it: (kind, int, float, position after it); NO_NUMBER where it is none or beyond the fast paths."""
    stand_alone()
    is_negative = p < end and load_u8(p) == 45
    p += is_negative
    start, exponent, is_int = p, 0, True
    digits, p = read_digits(p, end, np.uint64(0))
    count = p - start
    if count == 0 or (count > 1 and load_u8(start) == 48):
        return NO_NUMBER, 0, 0.0, p
    if p < end and load_u8(p) == 46:
        is_int, point = False, p + 1
        digits, p = read_digits(point, end, digits)
        exponent = point - p
        count -= exponent
        if exponent == 0:
            return NO_NUMBER, 0, 0.0, p
    if count > _MOST_DIGITS and count - _leading_zeros(start, p) > _MOST_DIGITS:
        return NO_NUMBER, 0, 0.0, p
    if p < end and load_u8(p) | 32 == 101:
        is_int = False
        power, p = _parse_exponent(p + 1, end)
        if p < 0:
            return NO_NUMBER, 0, 0.0, end
        exponent += power
    if is_int:
        if digits > np.uint64(0x7FFFFFFFFFFFFFFF):
            return NO_NUMBER, 0, 0.0, p
        value: Any = np.int64(digits)
        return IS_INT, -value if is_negative else value, 0.0, p
    is_exact, number = from_decimal(digits, exponent)
    return IS_FLOAT if is_exact else NO_NUMBER, 0, -number if is_negative else number, p


@part
def _leading_zeros(p: int, end: int) -> int:
    """The zeros before the first other digit; a point among them is none."""
    count = 0
    while p < end and (load_u8(p) == 48 or load_u8(p) == 46):
        count += load_u8(p) == 48
        p += 1
    return count


@part
def _parse_exponent(p: int, end: int) -> tuple[int, int]:
    is_negative = p < end and load_u8(p) == 45
    p += is_negative or (p < end and load_u8(p) == 43)
    start, power = p, 0
    while p < end and 48 <= load_u8(p) <= 57:
        power = power * 10 + load_u8(p) - 48
        p += 1
    if p == start or p - start > 4:
        return 0, -1
    return -power if is_negative else power, p


@part
def from_decimal(digits: Word, power: int) -> tuple[bool, float]:
    """The double nearest to digits * 10 ** power (digits uint64); False where the generic library must decide (subnormal, overflow)."""
    stand_alone()
    if digits == np.uint64(0):
        return True, 0.0
    if digits <= np.uint64(1 << 53) and -22 <= power <= 22:
        number = np.float64(np.int64(digits))
        return True, number / EXACT_TENS[-power] if power < 0 else number * EXACT_TENS[power]
    if power < -325 or power > 308:
        return False, 0.0
    zeros = leading_zeros(digits)
    upper, lower = _product(digits << np.uint64(zeros), power)
    if lower == np.uint64(_U64) and not -27 <= power <= 55:
        return False, 0.0
    return _assemble(upper, lower, zeros, power)


@part
def _product(digits: Word, power: int) -> tuple[Word, Word]:
    """The upper 128 bits of normalised digits * 5 ** power, exact enough for 55 bits."""
    high, low = _FIVES[power - _POWER_MIN, 0], _FIVES[power - _POWER_MIN, 1]
    upper, lower = multiply_high(digits, high), digits * high
    if upper & np.uint64(0x1FF) == np.uint64(0x1FF):
        more = multiply_high(digits, low)
        lower += more
        if more > lower:
            upper += np.uint64(1)
    return upper, lower


@part
def _assemble(upper: Word, lower: Word, zeros: int, power: int) -> tuple[bool, float]:
    """The double of a 128-bit product: rounded half to even."""
    top = np.int64(upper >> np.uint64(63))
    mantissa = upper >> np.uint64(top + 9)
    exponent = (((152170 + 65536) * power) >> 16) + 63 + top - zeros + 1023
    if exponent <= 0:
        return False, 0.0
    is_tie = lower <= np.uint64(1) and -4 <= power <= 23 and mantissa & np.uint64(3) == np.uint64(1)
    if is_tie and mantissa << np.uint64(top + 9) == upper:
        mantissa &= np.uint64(0xFFFFFFFFFFFFFFFE)
    mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
    if mantissa >= np.uint64(1 << 53):
        mantissa = np.uint64(1 << 52)
        exponent += 1
    if exponent >= 2047:
        return False, 0.0
    return True, float_of_bits(np.int64(mantissa & np.uint64((1 << 52) - 1)) | exponent << 52)
