"""Functions of one tensor, number by number: activations with their two parameters, and elementary functions.

Each is written for a vector of numbers and becomes a loop; a result depends on its own number alone, and may take its place.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from esp.kernels.compile import instruction, part
from esp.kernels.functions import erf, exp, expm1, log, logistic, softplus, tanh
from esp.kernels.pointers import f4, from_bits, i8
from esp.kernels.vectors import Vec, at_least, at_most, called, choose, fma, routine, span, spread, where

(
    CLIP, LEAKY_RELU, THRESHOLDED_RELU, SHRINK, LINE, HARD_SIGMOID, HARD_SWISH, SOFTSIGN, ABS, NEG, RECIPROCAL, SQRT, SQUARE,
    CUBE, TANH, SCALED_TANH, SIGMOID, SWISH, GELU, GELU_TANH, ELU, CELU, SOFTPLUS, MISH, EXP, LOG, ERF, POW,
) = range(28)  # fmt: skip
ROOT_HALF = 0.7071067811865476
GELU_SLOPE, GELU_CUBE = 1.5957691216057308, 0.044715  # sqrt(8 / pi)
Form = Callable[[Vec, Vec, Vec], Vec]  # of a number and the two parameters


def _plain(function: Callable[[Vec], Vec]) -> Form:
    """A function that takes no parameters."""
    return lambda x, alpha, beta: function(x)


def _shrink(x: Vec, bias: Vec, reach: Vec) -> Vec:
    value = where(x > reach, x - bias, where(x.is_nan, x, 0))
    return where(x < -reach, x + bias, value)


def _line(x: Vec, slope: Vec, shift: Vec) -> Vec:
    return slope * x + shift


def _hard_sigmoid(x: Vec, slope: Vec, shift: Vec) -> Vec:
    return at_most(at_least(_line(x, slope, shift), 0), 1)


def _gelu(x: Vec) -> Vec:
    half = x * 0.5
    return fma(half, erf(x * ROOT_HALF), half)


def _gelu_tanh(x: Vec) -> Vec:
    """The approximation by tanh, which is a logistic function in disguise."""
    return x * logistic((x * GELU_CUBE * x * x + x) * GELU_SLOPE)


def _elu(x: Vec, alpha: Vec, gain: Vec) -> Vec:
    return gain * where(x < 0, alpha * expm1(at_most(x, 0)), x)


def _celu(x: Vec, alpha: Vec, beta: Vec) -> Vec:
    return where(x < 0, alpha * expm1(at_most(x / alpha, 0)), x)


FORMS: tuple[Form, ...] = (  # in the order of the kinds
    lambda x, low, high: at_most(at_least(x, low), high),
    lambda x, slope, beta: where(x < 0, x * slope, x),
    lambda x, alpha, beta: where(x <= alpha, 0, x),
    _shrink, _line, _hard_sigmoid,
    lambda x, slope, shift: x * _hard_sigmoid(x, slope, shift),
    _plain(lambda x: x / (abs(x) + 1)),
    _plain(abs),
    _plain(lambda x: -x),
    _plain(lambda x: 1 / x),
    _plain(partial(called, "sqrt")),
    _plain(lambda x: x * x),
    _plain(lambda x: x * x * x),
    _plain(tanh),
    lambda x, alpha, beta: alpha * tanh(beta * x),
    _plain(logistic),
    lambda x, slope, beta: x * logistic(slope * x),
    _plain(_gelu), _plain(_gelu_tanh), _elu, _celu, _plain(softplus),
    _plain(lambda x: x * tanh(softplus(x))),
    _plain(exp), _plain(log), _plain(erf),
)  # fmt: skip


def _activate(b: Any, count: Any, kind: Any, alpha: Any, beta: Any, x: Any, y: Any) -> None:
    """y[count] = the function ``kind`` of x[count], with its two parameters."""
    first, second = spread(b, alpha), spread(b, beta)

    def each(form: Form) -> None:
        span(b, count, lambda place, state: place.store(form(place.load(x), first, second), y))

    choose(b, kind, [partial(each, form) for form in FORMS])


activate = routine("iiffii", _activate)


@part
def power(count, exponent, x, y):
    """In double precision, by the system's own function: rare, and every special case is as IEEE 754 has it."""
    source, target = f4(x), f4(y)
    for j in range(count):
        target[j] = np.float32(math.pow(np.float64(source[j]), np.float64(exponent)))


@instruction
def activate_row(n, x, y, b, c, f, scratch):
    """Fields: kind, numbers a row, the two parameters."""
    g = i8(f)
    if g[0] == POW:
        power(n * g[1], from_bits(g[2]), x, y)
    else:
        activate(n * g[1], g[0], from_bits(g[2]), from_bits(g[3]), x, y)
