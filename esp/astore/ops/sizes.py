"""Arithmetic and comparison of whole numbers among which sizes of the batch (Rows) stand, for numbers known ahead of the data.

A batch has one row at least. What holds for some batches and not for others is a TypeError: such numbers are not known ahead.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from esp.astore.ops.dims import Rows
from esp.astore.ops.row import Array

Size = Any  # int or Rows
OfSizes = Callable[[Size, Size], Any]


def among_sizes(function: OfSizes, dtype: Any = object) -> Callable[[Array, Array], Array]:
    """``function`` for two arrays of objects (int or Rows), number by number, with broadcasting.

    A number that leaves int64 is a TypeError.
    """
    each = np.frompyfunc(lambda left, right: _in_int64(function(left, right)), 2, 1)
    return lambda left, right: np.asarray(each(left.astype(object), right.astype(object)), dtype)


def add(left: Size, right: Size) -> Size:
    """The sum, where one is 0 or both are sizes of the batch or both are numbers."""
    if isinstance(left, Rows) and isinstance(right, Rows):
        return Rows(left.times + right.times)
    return left if _is_number(right, 0) else right if _is_number(left, 0) else left + right


def subtract(left: Size, right: Size) -> Size:
    """The difference, where it is no negative multiple of the batch."""
    if isinstance(left, Rows) and isinstance(right, Rows):
        times = left.times - right.times
        if times < 0:
            raise TypeError("a negative multiple of the batch")
        return Rows(times) if times else 0
    return left if _is_number(right, 0) else left - right


def multiply(left: Size, right: Size) -> Size:
    """The product, where it is a number or a multiple of the batch."""
    return 0 if _is_number(left, 0) or _is_number(right, 0) else left * right


def quotient(left: Size, right: Size) -> Size:
    """The quotient, of numbers rounded towards zero; by zero it is 0, as of numpy's integers."""
    if isinstance(left, Rows) or isinstance(right, Rows):
        return left // right
    if right == 0:
        return 0
    whole = abs(left) // abs(right)
    return whole if (left < 0) == (right < 0) else -whole


def is_at_least(left: Size, right: Size) -> bool:
    """Whether ``left`` >= ``right`` for every batch."""
    if isinstance(left, Rows):
        return left.times >= (right.times if isinstance(right, Rows) else right)
    return not isinstance(right, Rows) and bool(left >= right)


def is_above(left: Size, right: Size) -> bool:
    """Whether ``left`` > ``right`` for every batch."""
    return is_at_least(left, right) and not _may_equal(left, right)


def equal(left: Size, right: Size) -> bool:
    """Whether both are the same for every batch. TypeError where that depends on the batch."""
    if left != right and _may_equal(left, right):
        raise TypeError("equal for one size of the batch only")
    return bool(left == right)


def less(left: Size, right: Size) -> bool:
    """Whether ``left`` < ``right``. TypeError where that depends on the batch."""
    return _settled(is_above(right, left), is_at_least(left, right))


def less_or_equal(left: Size, right: Size) -> bool:
    """Whether ``left`` <= ``right``. TypeError where that depends on the batch."""
    return _settled(is_at_least(right, left), is_above(left, right))


def larger(left: Size, right: Size) -> Size:
    """The larger of two. TypeError where that depends on the batch."""
    return left if _settled(is_at_least(left, right), is_at_least(right, left)) else right


def smaller(left: Size, right: Size) -> Size:
    """The smaller of two. TypeError where that depends on the batch."""
    return right if _settled(is_at_least(left, right), is_at_least(right, left)) else left


def _in_int64(size: Size) -> Size:
    if not isinstance(size, Rows) and not -(2**63) <= size < 2**63:
        raise TypeError("a number that leaves int64")
    return size


def _settled(holds: bool, fails: bool) -> bool:
    if not holds and not fails:
        raise TypeError("it depends on the size of the batch")
    return holds


def _may_equal(left: Size, right: Size) -> bool:
    """Whether some batch makes them equal."""
    if isinstance(left, Rows) and not isinstance(right, Rows):
        return bool(right > 0 and right % left.times == 0)
    if isinstance(right, Rows) and not isinstance(left, Rows):
        return _may_equal(right, left)
    return bool(left == right)


def _is_number(size: Size, number: int) -> bool:
    return not isinstance(size, Rows) and bool(size == number)
