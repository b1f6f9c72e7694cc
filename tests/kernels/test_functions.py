"""exp, log, tanh, erf and their kin against float64: error in units of the last place, and the special values."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esp.kernels import functions
from esp.kernels.compile import kernel

F4 = Any


EXP, TANH, LOGISTIC, EXPM1, LOG, LOG1P, SOFTPLUS, ERF, ERFC = range(9)


@kernel("void(float32[::1], float32[::1], int64)")
def _apply(x: F4, y: F4, which: int) -> None:
    for i in range(len(x)):
        if which == EXP:
            y[i] = functions.exp(x[i])
        elif which == TANH:
            y[i] = functions.tanh(x[i])
        elif which == LOGISTIC:
            y[i] = functions.logistic(x[i])
        elif which == EXPM1:
            y[i] = functions.expm1(x[i])
        elif which == LOG:
            y[i] = functions.log(x[i])
        elif which == LOG1P:
            y[i] = functions.log1p(x[i])
        elif which == SOFTPLUS:
            y[i] = functions.softplus(x[i])
        elif which == ERF:
            y[i] = functions.erf(x[i])
        else:
            y[i] = functions.erfc(x[i])


def applied(which: int, x: F4) -> F4:
    y = np.empty_like(x)
    _apply(x, y, which)
    return y


def logistic(x: F4) -> F4:
    return np.where(x < 0, np.exp(np.minimum(x, 0)) / (1 + np.exp(np.minimum(x, 0))), 1 / (1 + np.exp(-np.maximum(x, 0))))


TRUE: dict[int, Callable[[F4], F4]] = {
    EXP: np.exp, TANH: np.tanh, LOGISTIC: logistic, EXPM1: np.expm1, LOG: np.log, LOG1P: np.log1p,
    SOFTPLUS: lambda x: np.logaddexp(x, 0), ERF: np.vectorize(math.erf), ERFC: np.vectorize(math.erfc),
}  # fmt: skip


@pytest.mark.parametrize(
    ("which", "low", "high", "ulps"),
    [
        (EXP, -87, 88.7, 2), (TANH, -10, 10, 4), (TANH, -1e-3, 1e-3, 2), (LOGISTIC, -80, 80, 4), (EXPM1, -20, 0, 3),
        (EXPM1, -1e-3, 0, 2), (LOG, 0, 3, 2), (LOG, 0, 1e30, 2), (LOG, 0.99, 1.01, 2), (LOG, 0, 1e-39, 2), (LOG1P, 0, 1, 3),
        (LOG1P, 0, 1e-3, 2), (SOFTPLUS, -80, 80, 4), (SOFTPLUS, -2, 2, 4), (ERF, -5, 5, 2), (ERF, -1e-3, 1e-3, 2), (ERFC, -5, 9, 5),
    ],
)  # fmt: skip
def test_error_is_within_a_few_units_of_the_last_place(which: int, low: float, high: float, ulps: int) -> None:
    x = np.random.default_rng(1).uniform(low, high, 100_000).astype(np.float32)
    true = TRUE[which](x.astype(np.float64))
    error = np.abs(applied(which, x).astype(np.float64) - true) / np.spacing(true.astype(np.float32)).astype(np.float64)
    assert error.max() <= ulps


@pytest.mark.parametrize("which", [EXP, TANH, LOGISTIC, LOG, SOFTPLUS, ERF, ERFC])
def test_special_values_go_where_numpy_takes_them(which: int) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1000, -1000, 88.8, -104, 3e38, -3e38], np.float32)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        true = TRUE[which](x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(applied(which, x), true, rtol=1e-6, atol=1e-38)


def test_exp_reaches_into_the_subnormal_numbers() -> None:
    x = np.array([-88, -95, -100, -103], np.float32)
    np.testing.assert_allclose(applied(0, x), np.exp(x.astype(np.float64)), rtol=0, atol=3e-45)


def test_log1p_and_expm1_of_nan_are_nan_and_of_0_are_0() -> None:
    x = np.array([np.nan, 0.0], np.float32)
    np.testing.assert_array_equal(applied(LOG1P, x), x)
    np.testing.assert_array_equal(applied(EXPM1, x), x)
    assert applied(EXPM1, np.array([-np.inf, -200], np.float32)).tolist() == [-1, -1]
