"""Numbers as columns: Python's arithmetic on int64 and float64, with null where Python would raise or int64 overflows."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from esp.runtime.events import I64, Bools

F64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Checked = Array | tuple[Array, Bools]
_MIN = np.iinfo(np.int64).min
_SAFE = 2.0**62  # a product of floats below this means that the product of the whole numbers fits


def add(a: Array, b: Array) -> Checked:
    total = a + b
    return total if total.dtype.kind == "f" else (total, ((a ^ total) & (b ^ total)) >= 0)


def subtract(a: Array, b: Array) -> Checked:
    rest = a - b
    return rest if rest.dtype.kind == "f" else (rest, ((a ^ b) & (a ^ rest)) >= 0)


def multiply(a: Array, b: Array) -> Checked:
    product = a * b
    if product.dtype.kind == "f" or bool((np.abs(a.astype(np.float64) * b) < _SAFE).all()):
        return product
    return product, (a == 0) | ((product // a == b) & ~((a == -1) & (b == _MIN)))


def divide(a: F64, b: F64) -> Checked:
    return a / b, b != 0


def floor_divide(a: Array, b: Array) -> Checked:
    if a.dtype.kind == "f":
        return np.floor_divide(a, b), b != 0
    return np.floor_divide(a, b), (b != 0) & ~((a == _MIN) & (b == -1))


def modulo(a: Array, b: Array) -> Checked:
    return np.mod(a, b), b != 0


def negate(a: Array) -> Checked:
    return -a if a.dtype.kind == "f" else (-a, a != _MIN)


def absolute(a: Array) -> Checked:
    return np.abs(a) if a.dtype.kind == "f" else (np.abs(a), a != _MIN)


def int_power(a: I64, *, exponent: int) -> Checked:
    """Whole numbers to a power that is known and not negative, by squaring."""
    result, fits = np.ones_like(a), np.ones(len(a), np.bool_)
    while exponent:
        if exponent & 1:
            result, fits = _times(result, a, fits)
        exponent >>= 1
        if exponent:
            a, fits = _times(a, a, fits)
    return result, fits


def _times(a: I64, b: I64, fits: Bools) -> tuple[I64, Bools]:
    product = multiply(a, b)
    return (product[0], fits & product[1]) if isinstance(product, tuple) else (product, fits)


def total(compute: Callable[..., F64], *args: F64) -> Checked:
    """A function of C's library; null where ``math`` raises: no real result, or an infinite one of finite values."""
    result = compute(*map(np.ascontiguousarray, args))
    is_nan: Any = np.False_
    is_finite: Any = np.True_
    for arg in args:
        is_nan, is_finite = is_nan | np.isnan(arg), is_finite & np.isfinite(arg)
    return result, ~((np.isnan(result) & ~is_nan) | (np.isinf(result) & is_finite))


power = partial(total, np.power)


def to_int(shorten: Callable[..., Any], a: Array) -> Checked:
    """Floats as whole numbers, by truncation, rounding, floor or ceiling; null where int64 cannot hold it."""
    whole = shorten(a)
    fits = (whole >= -(2.0**63)) & (whole < 2.0**63)
    return np.where(fits, whole, 0).astype(np.int64), fits


def to_int32(a: I64) -> Checked:
    return a.astype(np.int32), (a >= -(2**31)) & (a < 2**31)


def round_to(a: F64, *, digits: int) -> F64:
    """Rounded in decimal as Python does: right to the last bit, which scaling by a power of ten is not."""
    return np.array([round(value, digits) for value in a.tolist()], np.float64)


def minimum(first: Array, *others: Array) -> Array:
    """As Python's min: a later one wins only when it is less (which NaN is not)."""
    for other in others:
        first = np.where(other < first, other, first)
    return first


def maximum(first: Array, *others: Array) -> Array:
    """As Python's max."""
    for other in others:
        first = np.where(other > first, other, first)
    return first


def is_in(a: Array, *, values: tuple[int | float, ...]) -> Bools:
    """Whether each is one of a few values."""
    return cast(Bools, np.logical_or.reduce([a == value for value in np.array(values, a.dtype)]))


def tensor_sum(tensor: Array) -> Checked:
    """The sum of each tensor: exact for whole numbers (null beyond int64), float64 for floats."""
    flat = _flat(tensor)
    if tensor.dtype.kind == "f":
        return cast(F64, flat.sum(axis=1, dtype=np.float64))
    result = flat.sum(axis=1, dtype=np.int64)
    if bool((np.abs(flat.astype(np.float64)).sum(axis=1) < _SAFE).all()):
        return cast(I64, result)
    exact = [sum(row) for row in flat.tolist()]
    return result, np.array([_MIN <= value < 2**63 for value in exact], np.bool_)


def tensor_mean(tensor: Array) -> F64:
    return cast(F64, _flat(tensor).mean(axis=1, dtype=np.float64))


def tensor_norm(tensor: Array) -> F64:
    """The Euclidean length of each tensor."""
    flat = _flat(tensor).astype(np.float64)
    return cast(F64, np.sqrt(np.square(flat).sum(axis=1)))


def tensor_extreme(pick: "np.ufunc", tensor: Array) -> Array:
    """The least or the greatest element of each tensor; NaN where one is NaN."""
    result: Array = pick.reduce(_flat(tensor), axis=1)
    return result.astype(np.float64 if result.dtype.kind == "f" else np.int64)


def element(tensor: Array, *, index: tuple[int, ...]) -> Array:
    """One element (or one sub-tensor) of each tensor."""
    where: Any = (slice(None), *index)
    return np.ascontiguousarray(tensor[where])


def _flat(tensor: Array) -> Array:
    return np.ascontiguousarray(tensor).reshape(len(tensor), math.prod(tensor.shape[1:]))
