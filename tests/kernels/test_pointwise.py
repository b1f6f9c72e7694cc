"""Functions of one tensor against float64: error relative to the value or to the input, special values, bits that stay the same."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esp.kernels import pointwise as p
from esp.kernels.compile import kernel
from esp.kernels.vectors import SIZE

F4 = Any
erf = np.vectorize(math.erf, otypes=[np.float64])
erfc = np.vectorize(math.erfc, otypes=[np.float64])


@kernel("void(intp, intp, float32, float32, intp, intp)")
def _activate(count: int, kind: int, alpha: float, beta: float, x: int, y: int) -> None:
    if kind == p.POW:
        p.power(count, alpha, x, y)
    else:
        p.activate(count, kind, alpha, beta, x, y)


def applied(kind: int, x: F4, alpha: float = 0.0, beta: float = 0.0) -> F4:
    frame = np.full(len(x) + 2, 7, np.float32)
    y = frame[1:-1]
    _activate(len(x), kind, np.float32(alpha), np.float32(beta), x.ctypes.data, y.ctypes.data)
    assert frame[[0, -1]].tolist() == [7, 7]
    return y


def logistic(x: F4) -> F4:
    return np.exp(-np.logaddexp(0, -x))


def shrunk(x: F4, bias: float, reach: float) -> F4:
    return np.where(x < -reach, x + bias, np.where(x > reach, x - bias, np.where(np.isnan(x), x, 0)))


def elu(x: F4, alpha: float, gain: float) -> F4:
    return gain * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


# kind, parameters, the function in float64, and how many times 2**-23 of max(|value|, |input| * the last number) it may be off.
FORMS: dict[str, tuple[int, float, float, Callable[[F4], F4], float, float]] = {
    "clip": (p.CLIP, -0.5, 1.5, lambda x: np.clip(x, -0.5, 1.5), 0, 0),
    "relu": (p.CLIP, 0.0, np.inf, lambda x: np.maximum(x, 0), 0, 0),
    "leaky relu": (p.LEAKY_RELU, 0.25, 0, lambda x: np.where(x < 0, 0.25 * x, x), 0, 0),
    "thresholded relu": (p.THRESHOLDED_RELU, 0.5, 0, lambda x: np.where(x <= 0.5, 0, x), 0, 0),
    "shrink": (p.SHRINK, 0.25, 0.5, lambda x: shrunk(x, 0.25, 0.5), 1, 0),
    "hard sigmoid": (p.HARD_SIGMOID, 0.25, 0.5, lambda x: np.clip(0.25 * x + 0.5, 0, 1), 1, 0.25),
    "hard swish": (p.HARD_SWISH, 0.25, 0.5, lambda x: x * np.clip(0.25 * x + 0.5, 0, 1), 2, 1),
    "softsign": (p.SOFTSIGN, 0, 0, lambda x: x / (1 + np.abs(x)), 2, 0),
    "abs": (p.ABS, 0, 0, np.abs, 0, 0),
    "neg": (p.NEG, 0, 0, np.negative, 0, 0),
    "reciprocal": (p.RECIPROCAL, 0, 0, np.reciprocal, 1, 0),
    "sqrt": (p.SQRT, 0, 0, np.sqrt, 1, 0),
    "square": (p.SQUARE, 0, 0, np.square, 1, 0),
    "cube": (p.CUBE, 0, 0, lambda x: x**3, 1.5, 0),
    "line": (p.LINE, 0.25, 0.5, lambda x: 0.25 * x + 0.5, 1, 0.25),
    "tanh": (p.TANH, 0, 0, np.tanh, 2, 0),
    "scaled tanh": (p.SCALED_TANH, 0.25, 0.5, lambda x: 0.25 * np.tanh(0.5 * x), 2, 0),
    "sigmoid": (p.SIGMOID, 0, 0, logistic, 2, 0),
    "swish": (p.SWISH, 1, 0, lambda x: x * logistic(x), 3, 0),
    "gelu": (p.GELU, 0, 0, lambda x: 0.5 * x * erfc(-x * math.sqrt(0.5)), 2, 1),
    "gelu by tanh": (p.GELU_TANH, 0, 0, lambda x: x * logistic(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)), 2, 1),
    "elu": (p.ELU, 1, 1, lambda x: elu(x, 1, 1), 3, 0),
    "selu": (p.ELU, 1.6732632, 1.050701, lambda x: elu(x, 1.6732632, 1.050701), 4, 0),
    "celu": (p.CELU, 2, 0, lambda x: np.where(x < 0, 2 * np.expm1(np.minimum(x, 0) / 2), x), 3, 0),
    "softplus": (p.SOFTPLUS, 0, 0, lambda x: np.logaddexp(x, 0), 2, 0),
    "mish": (p.MISH, 0, 0, lambda x: x * np.tanh(np.logaddexp(x, 0)), 5, 0),
    "exp": (p.EXP, 0, 0, np.exp, 2, 0),
    "log": (p.LOG, 0, 0, np.log, 2, 0),
    "erf": (p.ERF, 0, 0, erf, 2, 0),
    "pow": (p.POW, 1.75, 0, lambda x: np.power(x, 1.75), 1, 0),
}
each_form = pytest.mark.parametrize("name", FORMS)


@each_form
def test_error_is_within_the_bound_that_is_stated(name: str) -> None:
    kind, alpha, beta, function, units, share = FORMS[name]
    x = np.random.default_rng(2).uniform(-12, 12, 50_000).astype(np.float32)
    x = np.abs(x) if kind in (p.SQRT, p.LOG, p.POW) else x
    true = function(x.astype(np.float64))
    room = units * 2.0**-23 * np.maximum(np.abs(true), share * np.abs(x))
    assert (np.abs(applied(kind, x, alpha, beta) - true) <= room).all()


@each_form
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -0.0])
def test_special_values_go_where_the_function_takes_them(name: str, value: float) -> None:
    kind, alpha, beta, function, *_ = FORMS[name]
    x = np.full(SIZE + 3, value, np.float32)
    with np.errstate(all="ignore"):
        true = function(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(applied(kind, x, alpha, beta), true)


@each_form
def test_a_numbers_result_is_the_same_bits_at_every_place(name: str) -> None:
    kind, alpha, beta, *_ = FORMS[name]
    x = np.random.default_rng(3).uniform(0.01, 3, 5 * SIZE + 3).astype(np.float32)
    if kind not in (p.SQRT, p.LOG, p.POW):
        x *= np.where(np.arange(len(x)) % 2, -1, 1).astype(np.float32)
    whole = applied(kind, x, alpha, beta)
    for n in range(1, 2 * SIZE + 2):
        for at in (0, 1, len(x) - n):
            np.testing.assert_array_equal(applied(kind, x[at : at + n].copy(), alpha, beta), whole[at : at + n])


@each_form
def test_results_may_take_the_place_of_what_they_are_made_of(name: str) -> None:
    kind, alpha, beta, *_ = FORMS[name]
    x = np.random.default_rng(4).uniform(0.01, 3, 2 * SIZE + 3).astype(np.float32)
    apart = applied(kind, x, alpha, beta)
    _activate(len(x), kind, np.float32(alpha), np.float32(beta), x.ctypes.data, x.ctypes.data)
    np.testing.assert_array_equal(x, apart)


def test_every_kind_has_a_form() -> None:
    assert len(p.FORMS) == p.POW
    assert {kind for kind, *_ in FORMS.values()} == set(range(p.POW + 1))
