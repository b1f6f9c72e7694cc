"""Decimal digits eight and sixteen at a time, and lists of numbers whose separators are found sixty-four bytes at a time.

Source: D. Lemire, Number Parsing at a Gigabyte per Second (2021), section 5. Vectors are LLVM's, which every target cuts to its own width.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from esp.kernels.compile import part
from esp.kernels.words import in_line, load_u8, load_u64, stand_alone, trailing_zeros

_global_constant: Any = cgutils.global_constant
_BYTE, _INDEX, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_WIDE = 16  # letters of a number that is taken at once: 15 and what stands before it
TENS = np.array([10**power for power in range(20)], np.uint64)
EXACT_TENS = np.array([10.0**power for power in range(23)])

_ZEROS, _NINES = np.uint64(0x3030303030303030), np.uint64(0x7676767676767676)
_LOW, _HIGH = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x8080808080808080)


@part
def digit_count(word: Any) -> int:
    """How many digits a word of eight letters begins with."""
    word ^= _ZEROS
    marks = ((word + _NINES) | word) & _HIGH
    return 8 if marks == np.uint64(0) else trailing_zeros(marks) >> 3


@part
def eight_digits(word: Any) -> Any:
    """The number that eight digits make, the first one lowest in the word; bytes of 0 count as zeros."""
    word = ((word & _LOW) * np.uint64(2561)) >> np.uint64(8)
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    return ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)


@part
def read_digits(p: int, end: int, digits: Any) -> tuple[Any, int]:
    """(``digits`` with the digits from p on behind them, position after those); past 19 in all they overflow."""
    while p + 8 <= end:
        word = load_u64(p)
        count = digit_count(word)
        if count < 8:
            if count > 0:
                digits = digits * TENS[count] + eight_digits(word << np.uint64(64 - 8 * count))
            return digits, p + count
        digits = digits * np.uint64(100_000_000) + eight_digits(word)
        p += 8
    while p < end and 48 <= load_u8(p) <= 57:
        digits = digits * np.uint64(10) + np.uint64(load_u8(p) - 48)
        p += 1
    return digits, p


def _vector(width: int, bits: int = 8) -> Any:
    return ir.VectorType(ir.IntType(bits), width)


def _all(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _loaded(b: Any, address: Any, kind: Any) -> Any:
    value = b.load(b.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _mask(b: Any, bits: Any) -> Any:
    """Bits of a vector as a word."""
    return b.zext(b.bitcast(bits, ir.IntType(bits.type.count)), _WORD) if bits.type.count < 64 else b.bitcast(bits, _WORD)


def _find(typing: Any, p: Any, letter: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = _vector(64)
        one = b.insert_element(ir.Constant(kind, ir.Undefined), b.trunc(args[1], _BYTE), ir.Constant(_INDEX, 0))
        every = b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), _all(_vector(64, 32), 0))
        return _mask(b, b.icmp_unsigned("==", _loaded(b, args[0], kind), every))

    return types.uint64(types.int64, types.int64), generate


def _shape(typing: Any, stop: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = _vector(_WIDE)
        bytes_ = _loaded(b, b.sub(args[0], ir.Constant(_WORD, _WIDE)), kind)
        digits = b.icmp_unsigned("<", b.sub(bytes_, _all(kind, 48)), _all(kind, 10))
        points = b.icmp_unsigned("==", bytes_, _all(kind, 46))
        return b.or_(_mask(b, digits), b.shl(_mask(b, points), ir.Constant(_WORD, _WIDE)))

    return types.int64(types.int64), generate


def _digits_before(typing: Any, stop: Any, digits: Any, fraction: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        stop, digits, fraction = args
        steps = _global_constant(b.module, "esp.steps", ir.Constant(ir.ArrayType(_BYTE, 2 * _WIDE), [0] * _WIDE + [255] * _WIDE))
        base, kind = b.ptrtoint(steps, _WORD), _vector(_WIDE)
        last, kept = (_loaded(b, b.add(base, count), kind) for count in (fraction, digits))  # ones in so many bytes at the end
        here, before = (_loaded(b, b.sub(stop, ir.Constant(_WORD, _WIDE + at)), kind) for at in (0, 1))
        numbers = b.and_(b.sub(b.or_(b.and_(here, last), b.and_(before, b.not_(last))), _all(kind, 48)), kept)
        for bits, tens in ((16, 10), (32, 100), (64, 10_000)):  # pairs, the first of each lower
            kind = _vector(128 // bits, bits)
            pairs = b.bitcast(numbers, kind)
            low = b.and_(pairs, _all(kind, (1 << bits // 2) - 1))
            numbers = b.add(b.mul(low, _all(kind, tens)), b.lshr(pairs, _all(kind, bits // 2)))
        high, low = (b.extract_element(numbers, ir.Constant(_INDEX, at)) for at in (0, 1))
        return b.add(b.mul(high, ir.Constant(_WORD, 100_000_000)), low)

    return types.int64(types.int64, types.int64, types.int64), generate


find_letter: Any = intrinsic(_find)  # (p, letter): a uint64, whose bit i says that it is there at p + i
_shape_before: Any = intrinsic(_shape)  # (stop): of the 16 letters before it bit i: a digit; bit 16 + i: a point
_number_before: Any = intrinsic(
    _digits_before
)  # (stop, digits, fraction): so many before it, a point before the last ``fraction`` (16: none)


@part
def short_number(p: int, stop: int) -> tuple[bool, int, int]:
    """(whether it is a number as JSON has it of at most 15 letters, digits, how many of them are a fraction; -1 = no point) from p
    to stop, sign and all. The 17 letters before ``stop`` are to be readable.
    """
    in_line()
    start = p
    p += load_u8(p) == 45
    size = stop - p
    if size < 1 or size >= _WIDE:
        return False, 0, 0
    shape, inside = _shape_before(stop), (0xFFFF << (_WIDE - size)) & 0xFFFF
    points = (shape >> _WIDE) & inside
    fraction, count = -1, size
    if points:
        fraction, count = _WIDE - 1 - trailing_zeros(np.uint64(points)), size - 1
    is_good = ((shape & inside) | points) == inside and points & (points - 1) == 0 and fraction != 0 and fraction != size - 1
    if load_u8(p) == 48:  # a leading zero stands alone
        is_good &= fraction == size - 2 if points else size == 1
    if not is_good:
        return False, 0, 0
    digits = _number_before(stop, count, _WIDE if fraction < 0 else fraction)
    return digits > 0 or p == start, -digits if p > start else digits, fraction  # -0.0 is for those who keep its sign


@part
def long_number(p: int, stop: int) -> tuple[bool, int, int]:
    """The same of 16 to 19 letters, sign apart, of which the second is a point: what a double from 0 to 10 takes to be told exactly."""
    stand_alone()
    start = p
    p += load_u8(p) == 45
    size, whole = stop - p, load_u8(p) - 48
    if size < _WIDE or size > _WIDE + 3 or not 0 <= whole <= 9 or load_u8(p + 1) != 46:
        return False, 0, 0
    fraction = size - 2
    count = min(fraction, _WIDE)
    inside, first = (0xFFFF << (_WIDE - count)) & 0xFFFF, load_u8(p + 2) - 48
    if _shape_before(stop) & inside != inside or not 0 <= first <= 9:
        return False, 0, 0
    digits = _number_before(stop, count, _WIDE) + (first * 10**_WIDE if fraction > _WIDE else 0)
    digits += whole * np.int64(TENS[fraction])
    return digits > 0 or p == start, -digits if p > start else digits, fraction
