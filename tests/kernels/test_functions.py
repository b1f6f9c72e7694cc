"""exp, tanh and the logistic function against numpy in float64: error in units of the last place, and the special values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esp.kernels import functions
from esp.kernels.compile import kernel

F4 = Any


@kernel("void(float32[::1], float32[::1], int64)")
def _apply(x: F4, y: F4, which: int) -> None:
    for i in range(len(x)):
        if which == 0:
            y[i] = functions.exp(x[i])
        elif which == 1:
            y[i] = functions.tanh(x[i])
        else:
            y[i] = functions.logistic(x[i])


def applied(which: int, x: F4) -> F4:
    y = np.empty_like(x)
    _apply(x, y, which)
    return y


def logistic(x: F4) -> F4:
    return np.where(x < 0, np.exp(np.minimum(x, 0)) / (1 + np.exp(np.minimum(x, 0))), 1 / (1 + np.exp(-np.maximum(x, 0))))


TRUE: dict[int, Callable[[F4], F4]] = {0: np.exp, 1: np.tanh, 2: logistic}


@pytest.mark.parametrize(
    ("which", "low", "high", "ulps"), [(0, -87, 88.7, 2), (1, -10, 10, 4), (1, -1e-3, 1e-3, 2), (2, -80, 80, 4)]
)
def test_error_is_within_a_few_units_of_the_last_place(which: int, low: float, high: float, ulps: int) -> None:
    x = np.random.default_rng(1).uniform(low, high, 200_000).astype(np.float32)
    true = TRUE[which](x.astype(np.float64))
    error = np.abs(applied(which, x).astype(np.float64) - true) / np.spacing(true.astype(np.float32)).astype(np.float64)
    assert error.max() <= ulps


@pytest.mark.parametrize("which", [0, 1, 2])
def test_special_values_go_where_numpy_takes_them(which: int) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1000, -1000, 88.8, -104, 3e38, -3e38], np.float32)
    with np.errstate(over="ignore"):
        true = TRUE[which](x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(applied(which, x), true, rtol=1e-6, atol=1e-38)


def test_exp_reaches_into_the_subnormal_numbers() -> None:
    x = np.array([-88, -95, -100, -103], np.float32)
    np.testing.assert_allclose(applied(0, x), np.exp(x.astype(np.float64)), rtol=0, atol=3e-45)
