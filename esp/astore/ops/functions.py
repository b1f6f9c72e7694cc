"""Elementary functions of one tensor, number by number."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from esp.astore.ops.pointwise import unary
from esp.astore.ops.row import ALL_NUMBERS, REALS, SIGNED, Array

_ERF_OF_ONE = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function, computed in double precision."""
    return np.asarray(_ERF_OF_ONE(x.astype(np.float64)), dtype=x.dtype)


_OF_REALS: Mapping[str, Callable[..., Array]] = {
    "Reciprocal": np.reciprocal,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Erf": erf,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
}

FUNCTIONS = {
    **{name: unary(name, function, REALS) for name, function in _OF_REALS.items()},
    "Neg": unary("Neg", np.negative, ("float16", *SIGNED)),
    "Abs": unary("Abs", np.abs, ALL_NUMBERS),
    "Sign": unary("Sign", np.sign, ALL_NUMBERS, trainable=()),
    "Floor": unary("Floor", np.floor, REALS, trainable=()),
    "Ceil": unary("Ceil", np.ceil, REALS, trainable=()),
    "Round": unary("Round", np.rint, REALS, trainable=()),  # halves to the even neighbour
}
