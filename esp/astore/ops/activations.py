"""Activations, number by number: what bends a tensor between two layers (those along an axis: softmax.py)."""

import math
from collections.abc import Sequence

import numpy as np

from esp.astore.ops.functions import erf
from esp.astore.ops.pointwise import unary
from esp.astore.ops.row import ALL_NUMBERS, REALS, SIGNED, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import broadcast, one_flop_each, show
from esp.astore.ops.softmax import SOFTMAX
from esp.errors import GraphError


def relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def leaky_relu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, x * x.dtype.type(alpha), x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, small, 1) / (1 + small), dtype=x.dtype)


def elu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.asarray(np.logaddexp(x, x.dtype.type(0)))


def softsign(x: Array) -> Array:
    return np.asarray(x / (1 + np.abs(x)))


def hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return np.clip(alpha * x + beta, 0, 1)


def thresholded_relu(x: Array, alpha: float) -> Array:
    return np.where(x <= alpha, x.dtype.type(0), x)


def _selu(x: Array, alpha: float, gamma: float) -> Array:
    return gamma * elu(x, alpha)


def _celu(x: Array, alpha: float) -> Array:
    return np.asarray(np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / x.dtype.type(alpha))))


def _shrink(x: Array, bias: float, lambd: float) -> Array:
    wide = x if x.dtype.kind == "f" else x.astype(np.float64)
    return np.where(wide < -lambd, wide + bias, np.where(wide > lambd, wide - bias, np.where(np.isnan(wide), wide, 0)))


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))
    return np.asarray(0.5 * x * (1 + erf(x * math.sqrt(0.5))))


def _swish(x: Array, alpha: float) -> Array:
    return x * sigmoid(x.dtype.type(alpha) * x)


def _prelu_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, slope = given_shape(shapes[0]), given_shape(shapes[1])
    if broadcast(slope, x) != x:
        raise GraphError(f"slopes of shape {show(slope)} do not spread over {show(x)}", mend="make their sizes equal or 1")
    return [x]


def _prelu(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [np.where(x < 0, x * given(inputs[1]), x)]


def _clip_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    for what, shape in zip(("min", "max"), shapes[1:]):
        if shape is not None and shape not in ((), (1,)):
            raise GraphError(f"{what} of shape {show(shape)} is not one number", mend="use Max or Min for bounds of several")
    return [given_shape(shapes[0])]


def _clip(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    for bound, function in zip(inputs[1:], (np.maximum, np.minimum)):
        x = x if bound is None else np.asarray(function(x, bound.reshape(())))
    return [x]


def _alpha(default: float) -> dict[str, AttrSpec]:
    return {"alpha": AttrSpec("float", default)}


_PRELU_DTYPES = Dtypes((*REALS, "int32", "int64", "uint32", "uint64"))
_SELU = {"alpha": AttrSpec("float", 1.6732631921768188), "gamma": AttrSpec("float", 1.0507010221481323)}

ACTIVATIONS = {
    "Relu": unary("Relu", relu, ("float16", *SIGNED)),
    "LeakyRelu": unary("LeakyRelu", leaky_relu, REALS, _alpha(0.01)),
    "PRelu": Op("PRelu", (2, 2), _prelu_shapes, _prelu, one_flop_each, dtypes=_PRELU_DTYPES),
    "ThresholdedRelu": unary("ThresholdedRelu", thresholded_relu, REALS, _alpha(1.0)),
    "Clip": Op("Clip", (1, 3), _clip_shapes, _clip, one_flop_each, dtypes=Dtypes(ALL_NUMBERS), trainable=(0,)),
    "Shrink": unary("Shrink", _shrink, ALL_NUMBERS, {"bias": AttrSpec("float", 0.0), "lambd": AttrSpec("float", 0.5)}),
    "Elu": unary("Elu", elu, REALS, _alpha(1.0)),
    "Selu": unary("Selu", _selu, REALS, _SELU),
    "Celu": unary("Celu", _celu, REALS, _alpha(1.0)),
    "Tanh": unary("Tanh", np.tanh, REALS),
    "Sigmoid": unary("Sigmoid", sigmoid, REALS),
    "HardSigmoid": unary("HardSigmoid", hard_sigmoid, REALS, {**_alpha(0.2), "beta": AttrSpec("float", 0.5)}),
    "HardSwish": unary("HardSwish", lambda x: x * hard_sigmoid(x, 1 / 6, 0.5), REALS),
    "Softplus": unary("Softplus", softplus, REALS),
    "Softsign": unary("Softsign", softsign, REALS),
    "Mish": unary("Mish", lambda x: x * np.tanh(softplus(x)), REALS),
    "Swish": unary("Swish", _swish, REALS, _alpha(1.0)),
    "Gelu": unary("Gelu", _gelu, REALS, {"approximate": AttrSpec("string", "none", choices=("none", "tanh"))}),
    **SOFTMAX,
}
