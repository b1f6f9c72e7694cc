"""Ops of one tensor that bend it: number by number, or along one axis (Softmax)."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.row import NUMBERS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, one_flop_each, refuse_batch, same_shape, size_of


def _relu(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [np.maximum(x, x.dtype.type(0))]


def _leaky_relu(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [np.where(x < 0, x * x.dtype.type(attrs["alpha"]), x)]


def _tanh(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.tanh(given(inputs[0]))]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, small, 1) / (1 + small), dtype=x.dtype)


def _sigmoid(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [sigmoid(given(inputs[0]))]


def _softmax(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    powers = np.exp(x - x.max(axis=attrs["axis"], keepdims=True))
    return [powers / powers.sum(axis=attrs["axis"], keepdims=True)]


def _softmax_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    refuse_batch(shape, axis_of(attrs["axis"], len(shape)), "softmax along")
    return [shape]


def _softmax_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 5 * size_of(outs[0])  # maximum, difference, exponential, sum, quotient


ACTIVATIONS = {
    "Relu": Op("Relu", (1, 1), same_shape, _relu, one_flop_each, dtypes=Dtypes(NUMBERS)),
    "LeakyRelu": Op("LeakyRelu", (1, 1), same_shape, _leaky_relu, one_flop_each, {"alpha": AttrSpec("float", 0.01)}),
    "Tanh": Op("Tanh", (1, 1), same_shape, _tanh, one_flop_each),
    "Sigmoid": Op("Sigmoid", (1, 1), same_shape, _sigmoid, one_flop_each),
    "Softmax": Op("Softmax", (1, 1), _softmax_shapes, _softmax, _softmax_flops, {"axis": AttrSpec("int", -1)}),
}
