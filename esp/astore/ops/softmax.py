"""Activations along one axis: Softmax, its logarithm, and the hard one."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.astore.ops.row import REALS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, refuse_batch, size_of


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - _largest(x, axis))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _log_softmax(x: Array, axis: int) -> Array:
    below = x - _largest(x, axis)
    return np.asarray(below - np.log(np.exp(below).sum(axis=axis, keepdims=True)))


def _hardmax(x: Array, axis: int) -> Array:
    made = np.zeros_like(x)
    if x.size:
        np.put_along_axis(made, x.argmax(axis=axis, keepdims=True), 1, axis)
    return made


def _largest(x: Array, axis: int) -> Array:
    return np.asarray(x.max(axis=axis, keepdims=True, initial=-np.inf))


def _shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    refuse_batch(shape, axis_of(attrs["axis"], len(shape)), "softmax along")
    return [shape]


def _flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 5 * size_of(outs[0])  # maximum, difference, exponential, sum, quotient or difference


def _row(name: str, function: Callable[[Array, int], Array], trainable: tuple[int, ...] | None = None) -> Op:
    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        return [function(given(inputs[0]), attrs["axis"])]

    axis = {"axis": AttrSpec("int", -1)}
    return Op(name, (1, 1), _shapes, reference, _flops, axis, dtypes=Dtypes(REALS), trainable=trainable)


SOFTMAX = {
    "Softmax": _row("Softmax", _softmax),
    "LogSoftmax": _row("LogSoftmax", _log_softmax),
    "Hardmax": _row("Hardmax", _hardmax, trainable=()),
}
