"""Functions of one tensor, number by number: activations with their two parameters, and elementary functions.

Each is written for one number and becomes a loop; a result depends on its own number alone. What is written lies apart from
what is read: only then do the loops become vectors.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import math

import numpy as np

from esp.kernels.compile import instruction, part
from esp.kernels.functions import HALF, ONE, ZERO, erf, erfc, exp, expm1, inlined, log, logistic, softplus, tanh
from esp.kernels.pointers import divide, f4, from_bits, i8

(
    CLIP, LEAKY_RELU, THRESHOLDED_RELU, SHRINK, HARD_SIGMOID, HARD_SWISH, SOFTSIGN, ABS, NEG, RECIPROCAL, SQRT, SQUARE,
    TANH, SIGMOID, SWISH, GELU, GELU_TANH, ELU, CELU, SOFTPLUS, MISH, EXP, LOG, ERF, POW,
) = range(25)  # fmt: skip
ROOT_HALF = np.float32(0.7071067811865476)
GELU_SLOPE, GELU_CUBE = np.float32(1.5957691216057308), np.float32(0.044715)  # sqrt(8 / pi)


def _each(function):
    """The loop y[count] = function(x, alpha, beta), under a name of its own: linked kernels know loops by their names."""

    def loop(count, alpha, beta, x, y):
        source, target = f4(x), f4(y)
        for j in range(count):
            target[j] = function(source[j], alpha, beta)

    loop.__name__ = loop.__qualname__ = "each" + function.__name__
    return part(loop)


@_each
@inlined
def _clip(x, alpha, beta):
    x = alpha if x < alpha else x
    return beta if x > beta else x


@_each
@inlined
def _leaky_relu(x, alpha, beta):
    return x * alpha if x < ZERO else x


@_each
@inlined
def _thresholded_relu(x, alpha, beta):
    return ZERO if x <= alpha else x


@_each
@inlined
def _shrink(x, alpha, beta):
    """alpha: the bias; beta: how far from 0 it begins."""
    value = ZERO if x == x else x
    value = x - alpha if x > beta else value
    return x + alpha if x < -beta else value


@inlined
def _line(x, alpha, beta):
    """alpha * x + beta within 0 and 1."""
    x = alpha * x + beta
    x = ZERO if x < ZERO else x
    return ONE if x > ONE else x


_hard_sigmoid = _each(_line)


@_each
@inlined
def _hard_swish(x, alpha, beta):
    return x * _line(x, alpha, beta)


@_each
@inlined
def _softsign(x, alpha, beta):
    return divide(x, ONE + abs(x))


@_each
@inlined
def _abs(x, alpha, beta):
    return abs(x)


@_each
@inlined
def _neg(x, alpha, beta):
    return -x


@_each
@inlined
def _reciprocal(x, alpha, beta):
    return divide(ONE, x)


@_each
@inlined
def _sqrt(x, alpha, beta):
    return math.sqrt(x)


@_each
@inlined
def _square(x, alpha, beta):
    return x * x


@_each
@inlined
def _tanh(x, alpha, beta):
    return tanh(x)


@_each
@inlined
def _sigmoid(x, alpha, beta):
    return logistic(x)


@_each
@inlined
def _swish(x, alpha, beta):
    return x * logistic(alpha * x)


@_each
@inlined
def _gelu(x, alpha, beta):
    return HALF * x * erfc(-x * ROOT_HALF)


@_each
@inlined
def _gelu_tanh(x, alpha, beta):
    """The approximation by tanh, which is a logistic function in disguise."""
    return x * logistic(GELU_SLOPE * (x + GELU_CUBE * x * x * x))


@_each
@inlined
def _elu(x, alpha, beta):
    return beta * (alpha * expm1(x)) if x < ZERO else beta * x


@_each
@inlined
def _celu(x, alpha, beta):
    return alpha * expm1(divide(x, alpha)) if x < ZERO else x


@_each
@inlined
def _softplus(x, alpha, beta):
    return softplus(x)


@_each
@inlined
def _mish(x, alpha, beta):
    return x * tanh(softplus(x))


@_each
@inlined
def _exp(x, alpha, beta):
    return exp(x)


@_each
@inlined
def _log(x, alpha, beta):
    return log(x)


@_each
@inlined
def _erf(x, alpha, beta):
    return erf(x)


@_each
@inlined
def _pow(x, alpha, beta):
    """In double precision, by the system's own function: rare, and every special case is as IEEE 754 has it."""
    return np.float32(math.pow(np.float64(x), np.float64(alpha)))


@part
def _bend(kind, count, alpha, beta, x, y):
    if kind == CLIP:
        _clip(count, alpha, beta, x, y)
    elif kind == LEAKY_RELU:
        _leaky_relu(count, alpha, beta, x, y)
    elif kind == THRESHOLDED_RELU:
        _thresholded_relu(count, alpha, beta, x, y)
    elif kind == SHRINK:
        _shrink(count, alpha, beta, x, y)
    elif kind == HARD_SIGMOID:
        _hard_sigmoid(count, alpha, beta, x, y)
    elif kind == HARD_SWISH:
        _hard_swish(count, alpha, beta, x, y)
    elif kind == SOFTSIGN:
        _softsign(count, alpha, beta, x, y)
    elif kind == ABS:
        _abs(count, alpha, beta, x, y)
    elif kind == NEG:
        _neg(count, alpha, beta, x, y)
    elif kind == RECIPROCAL:
        _reciprocal(count, alpha, beta, x, y)
    elif kind == SQRT:
        _sqrt(count, alpha, beta, x, y)
    else:
        _square(count, alpha, beta, x, y)


@part
def _curve(kind, count, alpha, beta, x, y):
    if kind == TANH:
        _tanh(count, alpha, beta, x, y)
    elif kind == SIGMOID:
        _sigmoid(count, alpha, beta, x, y)
    elif kind == SWISH:
        _swish(count, alpha, beta, x, y)
    elif kind == GELU:
        _gelu(count, alpha, beta, x, y)
    elif kind == GELU_TANH:
        _gelu_tanh(count, alpha, beta, x, y)
    elif kind == ELU:
        _elu(count, alpha, beta, x, y)
    elif kind == CELU:
        _celu(count, alpha, beta, x, y)
    elif kind == SOFTPLUS:
        _softplus(count, alpha, beta, x, y)
    elif kind == MISH:
        _mish(count, alpha, beta, x, y)
    elif kind == EXP:
        _exp(count, alpha, beta, x, y)
    elif kind == LOG:
        _log(count, alpha, beta, x, y)
    elif kind == ERF:
        _erf(count, alpha, beta, x, y)
    else:
        _pow(count, alpha, beta, x, y)


@part
def activate(count, kind, alpha, beta, x, y):
    """y[count] = the function ``kind`` of x[count], with its two parameters."""
    if kind < TANH:
        _bend(kind, count, alpha, beta, x, y)
    else:
        _curve(kind, count, alpha, beta, x, y)


@instruction
def activate_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    activate(n * g[1], g[0], from_bits(g[2]), from_bits(g[3]), x, y)
