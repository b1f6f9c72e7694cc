"""exp, log, tanh, erf and their kin against float64 over every exponent: error in units of the last place, and the special values."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from esp.kernels import functions as f
from esp.kernels.compile import kernel
from esp.kernels.vectors import choose, routine, span

F4 = Any
INF = float("inf")


def logistic(x: F4) -> F4:
    power = np.exp(-np.abs(x))
    return np.where(x < 0, power, 1) / (1 + power)


def softplus(x: F4) -> F4:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# Each with its truth in float64 and the numbers that it is for, but those where the result is subnormal.
FUNCTIONS: dict[Any, tuple[Callable[[F4], F4], tuple[float, float]]] = {
    f.exp: (np.exp, (-INF, INF)), f.expm1: (np.expm1, (-INF, 0.0)), f.exp_below: (np.exp, (-87.3, 0.0)), f.tanh: (np.tanh, (-INF, INF)),
    f.logistic: (logistic, (-87.3, INF)), f.log: (np.log, (0.0, INF)), f.log1p: (np.log1p, (0.0, 2.0**24)),
    f.softplus: (softplus, (-INF, INF)), f.erf: (np.vectorize(math.erf, otypes=[np.float64]), (-INF, INF)),
}  # fmt: skip
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)


def _emit(b: Any, count: Any, which: Any, x: Any, y: Any) -> None:
    def loop(function: Any) -> None:
        span(b, count, lambda place, state: place.store(function(place.load(x)), y))

    choose(b, which, [partial(loop, function) for function in FUNCTIONS])


_run = routine("iiii", _emit)


@kernel("void(intp, intp, intp, intp)")
def _apply(count: int, which: int, x: int, y: int) -> None:
    _run(count, which, x, y)


def applied(function: Any, x: Any) -> F4:
    x = np.ascontiguousarray(x, np.float32)
    y = np.empty_like(x)
    _apply(len(x), list(FUNCTIONS).index(function), x.ctypes.data, y.ctypes.data)
    return y


def everywhere(low: float, high: float, step: int) -> F4:
    """Numbers of every exponent and sign within bounds, and more of those where something happens: 2**-13 to 128."""
    sizes = [np.arange(0, 0x7F800000, step), np.arange(0x39000000, 0x43000000, step // 9)]
    sizes.append(np.random.default_rng(1).integers(0, 0x7F800000, 50_000))
    x = np.concatenate(sizes).astype(np.uint32).view(np.float32)
    x = np.concatenate([x, -x])
    return x[(x >= low) & (x <= high)]


@each_function
def test_error_is_within_two_units_of_the_last_place(function: Any) -> None:
    true, (low, high) = FUNCTIONS[function]
    x = everywhere(low, high, 49_999 if function is f.erf else 4_999)
    with np.errstate(all="ignore"):
        wanted = true(x.astype(np.float64))
        rounded = wanted.astype(np.float32)
    found, is_finite = applied(function, x), np.isfinite(rounded)
    np.testing.assert_array_equal(found[~is_finite], rounded[~is_finite])
    error = np.abs(found[is_finite] - wanted[is_finite]) / np.spacing(np.abs(rounded[is_finite])).astype(np.float64)
    assert error.max() <= 2, f"{error.max()} at {x[is_finite][error.argmax()]!r}"


@each_function
def test_special_values_go_where_numpy_takes_them(function: Any) -> None:
    true, _ = FUNCTIONS[function]
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1000, -1000, 88.8, -104, 3e38, -3e38], np.float32)
    x = x[~(x > 0)] if function in (f.expm1, f.exp_below) else x[~((x < 0) | (x > 1e30))] if function is f.log1p else x
    with np.errstate(all="ignore"):
        wanted = true(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(applied(function, x), wanted, rtol=3e-7, atol=1.2e-38)


def test_exp_reaches_into_the_subnormal_numbers_and_what_is_made_of_it_may_end_at_0() -> None:
    x = np.array([-88, -95, -100, -103], np.float32)
    np.testing.assert_allclose(applied(f.exp, x), np.exp(x.astype(np.float64)), rtol=0, atol=1.5e-45)
    assert applied(f.logistic, x).tolist() == [0, 0, 0, 0]
    assert applied(f.exp_below, x).tolist() == [0, 0, 0, 0]


def test_log_of_what_is_below_0_is_nan() -> None:
    assert np.isnan(applied(f.log, [-1, -1e-40, -np.inf])).all()


@pytest.mark.parametrize("function", [f.tanh, f.erf, f.expm1])
def test_functions_through_0_keep_its_sign_and_small_numbers(function: Any) -> None:
    x = np.array([-0.0, -1e-30], np.float32)
    slope = 2 / math.sqrt(math.pi) if function is f.erf else 1
    found = applied(function, x)
    np.testing.assert_allclose(found, slope * x, rtol=1e-6)
    assert np.signbit(found).tolist() == [function is not f.expm1, True]
