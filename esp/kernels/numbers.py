"""Text to numbers and back: correctly rounded floats, shortest texts that read back the same.

Sources: D. Lemire, Number Parsing at a Gigabyte per Second (2021); R. Giulietti, The Schubfach way to render doubles (2020).
Texts lie at addresses; what the fast paths do not take is NO_NUMBER, and the generic library reads it.
"""

from typing import Any

import numpy as np

from esp.kernels.compile import part
from esp.kernels.digits import EXACT_TENS, read_digits
from esp.kernels.words import (
    bits_of_float,
    bits_of_single,
    float_of_bits,
    leading_zeros,
    load_u8,
    multiply_high,
    stand_alone,
    store_u8,
)

Word = Any  # a uint64

NO_NUMBER, IS_INT, IS_FLOAT = 0, 1, 2
FLOAT_SIZE, INT_SIZE = 26, 20  # bytes that a number takes at most
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


def _ceiling(power: int) -> int:
    """10 ** power to 128 bits, rounded up (Schubfach's g)."""
    if power >= 0:
        return _truncated(power) + int(5**power >= 1 << 128)
    five: int = 5**-power
    return (1 << (five.bit_length() + 127)) // five + 1


def _table(values: list[int]) -> np.ndarray[Any, Any]:
    return np.array([[value >> 64, value & _U64] for value in values], np.uint64)


_POWERS = range(_POWER_MIN, _POWER_MAX + 1)
_FIVES = _table([_reciprocal(power) if power < 0 else _truncated(power) for power in _POWERS])
_TENS = _table([_ceiling(power) for power in _POWERS])


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


@part
def write_int(p: int, value: int) -> int:
    """Writes an int64 as text; the position after it."""
    stand_alone()
    rest: Word = np.uint64(value)
    if value < 0:
        store_u8(p, 45)
        p += 1
        rest = np.uint64(0) - rest
    return _write_digits(p, rest)


@part
def _write_digits(p: int, rest: Word) -> int:
    size, bound = 1, np.uint64(10)
    while size < 20 and rest >= bound:
        size += 1
        bound = bound * np.uint64(10) if size < 20 else bound
    for at in range(size - 1, -1, -1):
        tenth = rest // np.uint64(10)
        store_u8(p + at, 48 + np.int64(rest - tenth * np.uint64(10)))
        rest = tenth
    return p + size


@part
def write_float(p: int, value: float, is_single: bool) -> int:
    """Writes a finite float as the shortest text that reads back as the same (float32 where ``is_single``); the position after it."""
    stand_alone()
    if bits_of_float(value) < 0:
        store_u8(p, 45)
        p += 1
        value = -value
    if value == 0.0:
        return _write_text3(p, 48, 46, 48)
    if is_single:
        bits: Any = np.int64(bits_of_single(np.float32(value)))
        fraction, exponent, width, bias = bits & 0x7FFFFF, bits >> 23, 23, 150
    else:
        bits = bits_of_float(value)
        fraction, exponent, width, bias = bits & ((1 << 52) - 1), bits >> 52, 52, 1075
    is_closer = fraction == 0 and exponent > 1
    significand = fraction | (1 << width) if exponent else fraction
    digits, power = _shortest(significand, max(exponent, 1) - bias, is_closer)
    while digits % 10 == 0:
        digits //= 10
        power += 1
    return _write_decimal(p, digits, power)


@part
def _shortest(significand: int, power: int, is_closer: Any) -> tuple[Any, int]:
    """Schubfach: the shortest decimal (digits, power of ten) in the rounding interval of significand * 2 ** power."""
    stand_alone()
    odd = np.uint64(significand & 1)
    scale = (power * 1262611 - (524031 if is_closer else 0)) >> 22
    shift = np.uint64(power + ((-scale * 1741647) >> 19) + 1)
    middle = np.uint64(4 * significand)
    lower = _round_to_odd(scale, (middle - np.uint64(1 if is_closer else 2)) << shift) + odd
    value = _round_to_odd(scale, middle << shift)
    upper = _round_to_odd(scale, (middle + np.uint64(2)) << shift) - odd
    whole = value >> np.uint64(2)
    if whole >= np.uint64(10):
        tenth = whole // np.uint64(10)
        is_low = lower <= np.uint64(40) * tenth
        is_high = np.uint64(40) * tenth + np.uint64(40) <= upper
        if is_low != is_high:
            return np.int64(tenth) + is_high, scale + 1
    is_low = lower <= np.uint64(4) * whole
    is_high = np.uint64(4) * whole + np.uint64(4) <= upper
    if is_low != is_high:
        return np.int64(whole) + is_high, scale
    half = np.uint64(4) * whole + np.uint64(2)
    return np.int64(whole) + (value > half or (value == half and whole & np.uint64(1) == np.uint64(1))), scale


@part
def _round_to_odd(scale: int, value: Word) -> Word:
    """value * 10 ** -scale, with the last bit set where anything was cut off."""
    stand_alone()
    high, low = _TENS[-scale - _POWER_MIN, 0], _TENS[-scale - _POWER_MIN, 1]
    carried, middle = multiply_high(value, low), value * high
    upper, total = multiply_high(value, high), middle + carried
    upper += np.uint64(total < middle)
    return upper | np.uint64(total > np.uint64(1))


@part
def _write_decimal(p: int, digits: int, power: int) -> int:
    """Writes digits * 10 ** power as JSON has it: plainly from 1e-4 to 1e16, with an exponent beyond."""
    end = _write_digits(p, np.uint64(digits))
    size = end - p
    point = size + power
    if 0 < point <= 16:
        if power >= 0:
            for at in range(power):
                store_u8(end + at, 48)
            return _write_text3(end + power, 46, 48, 0) - 1
        for at in range(size - 1, point - 1, -1):
            store_u8(p + at + 1, load_u8(p + at))
        store_u8(p + point, 46)
        return end + 1
    if -4 < point <= 0:
        lead = 2 - point
        for at in range(size - 1, -1, -1):
            store_u8(p + at + lead, load_u8(p + at))
        for at in range(lead):
            store_u8(p + at, 46 if at == 1 else 48)
        return end + lead
    return _write_exponent(p, size, point - 1)


@part
def _write_exponent(p: int, size: int, power: int) -> int:
    """Puts a point after the first of ``size`` digits at p, where there are more, and the power of ten behind them."""
    if size > 1:
        for at in range(size - 1, 0, -1):
            store_u8(p + at + 1, load_u8(p + at))
        store_u8(p + 1, 46)
        size += 1
    store_u8(p + size, 101)
    return write_int(p + size + 1, power)


@part
def _write_text3(p: int, a: int, b: int, c: int) -> int:
    store_u8(p, a)
    store_u8(p + 1, b)
    store_u8(p + 2, c)
    return p + 3
