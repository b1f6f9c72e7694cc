"""Ops that scale channels by statistics, and Dropout, as they are when scoring."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.row import FLOATS, NUMBERS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import expect, no_flops, show, size_of
from esp.errors import GraphError


def _batch_norm_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    if len(shape) < 2 or not isinstance(shape[1], int):
        raise GraphError(f"wants [N, channels, ...], got {show(shape)}", mend="put the batch first, channels second")
    for what, given_one in zip(("scale", "bias", "mean", "variance"), shapes[1:]):
        expect(what, given_one, (shape[1],))
    return [shape]


def _batch_norm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    along = (-1,) + (1,) * (x.ndim - 2)
    scale, bias, mean, variance = (given(array).reshape(along) for array in inputs[1:])
    epsilon = x.dtype.type(attrs["epsilon"])
    return [np.asarray((x - mean) / np.sqrt(variance + epsilon) * scale + bias)]


def _batch_norm_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 2 * size_of(outs[0])  # one multiply-add a number, the statistics folded beforehand


def _dropout_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    training = constants[2] if len(constants) > 2 else None
    if len(shapes) > 2 and shapes[2] is not None and (training is None or bool(training.any())):
        raise GraphError("training_mode is not the constant false", mend="export the graph for inference")
    return [given_shape(shapes[0])] * 2


def _dropout(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [x, np.ones(x.shape, np.bool_)][:outputs]


_BATCH_NORM_ATTRS = {
    "epsilon": AttrSpec("float", 1e-5),
    "momentum": AttrSpec("float", 0.9),
    "training_mode": AttrSpec("int", 0, choices=(0,)),
}
_DROPOUT_DTYPES = Dtypes(NUMBERS, {1: ("float16", *FLOATS), 2: ("bool",)}, {1: "bool"})

NORMALISATION = {
    "BatchNormalization": Op(
        "BatchNormalization", (5, 5), _batch_norm_shapes, _batch_norm, _batch_norm_flops, _BATCH_NORM_ATTRS, trainable=(1, 2)
    ),
    "Dropout": Op(
        "Dropout", (1, 3), _dropout_shapes, _dropout, no_flops, {"seed": AttrSpec("int")}, (1, 2), _DROPOUT_DTYPES, trainable=()
    ),
}
