"""Gradients of the ops that only move values: Identity, Flatten, Reshape, Transpose, Concat."""

import math
from collections.abc import Sequence

import numpy as np

from esp.train.gradients.row import Array, Call, Gradient, Grads, only


def identity(call: Call) -> list[Array]:
    return [call.input(0)]


def flatten(call: Call) -> list[Array]:
    x, axis = call.input(0), call.attrs["axis"]
    axis += x.ndim if axis < 0 else 0
    return [x.reshape(math.prod(x.shape[:axis]), -1)]


def back_to_shape(call: Call, grads: Sequence[Array | None]) -> Grads:
    return [only(grads).reshape(call.input(0).shape)]


def reshape(call: Call) -> list[Array]:
    """0 copies a size (unless allowzero is set), -1 takes what is left."""
    x, wanted = call.input(0), call.input(1)
    copies = not call.attrs["allowzero"]
    return [x.reshape([x.shape[i] if size == 0 and copies else int(size) for i, size in enumerate(wanted)])]


def _perm(call: Call) -> tuple[int, ...]:
    return tuple(call.attrs["perm"] or range(call.input(0).ndim)[::-1])


def transpose(call: Call) -> list[Array]:
    return [np.transpose(call.input(0), _perm(call))]


def transpose_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    return [np.transpose(only(grads), np.argsort(_perm(call)))]


def concat(call: Call) -> list[Array]:
    return [np.concatenate([call.input(i) for i in range(len(call.inputs))], axis=call.attrs["axis"])]


def concat_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    axis = call.attrs["axis"]
    ends = np.cumsum([call.input(i).shape[axis] for i in range(len(call.inputs))])
    return list(np.split(only(grads), ends[:-1], axis=axis))


SHAPE = {
    "Identity": Gradient(identity, back_to_shape),
    "Flatten": Gradient(flatten, back_to_shape),
    "Reshape": Gradient(reshape, back_to_shape),
    "Transpose": Gradient(transpose, transpose_back),
    "Concat": Gradient(concat, concat_back),
}
