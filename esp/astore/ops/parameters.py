"""Parameters of an op that are inputs or tensors: numbers that its shape rule must know before there are data."""

from collections.abc import Sequence
from math import prod

import numpy as np

from esp.astore.ops.dims import Dim
from esp.astore.ops.row import DTYPES, Array, Dtypes, Shape, Tensor
from esp.astore.ops.rules import axis_of, fixed, show, sizes_at
from esp.errors import GraphError

WHOLE = ("int32", "int64")
THEN_INT64, THEN_WHOLE = Dtypes(DTYPES, {1: ("int64",)}), Dtypes(DTYPES, {1: WHOLE})  # of input 1


def is_given(shapes: Sequence[Shape | None], index: int) -> bool:
    """Whether the optional input ``index`` is there."""
    return index < len(shapes) and shapes[index] is not None


def optional(inputs: Sequence[Array | None], index: int) -> Array | None:
    """Input ``index`` of a reference, None where it is left out."""
    return inputs[index] if index < len(inputs) else None


def wholes_at(constants: Sequence[Array | None], index: int, what: str) -> list[int]:
    """Input ``index``, a list of whole numbers, none of them the batch. Raises GraphError where they are not known."""
    return [fixed(size, what) for size in sizes_at(constants, index, what)]


def one_at(constants: Sequence[Array | None], index: int, what: str) -> Dim:
    """Input ``index``, one whole number or the batch. Raises GraphError where it is not known or not one."""
    sizes = sizes_at(constants, index, what)
    if len(sizes) != 1:
        raise GraphError(f"{what} (input {index}) wants one number, got {len(sizes)}", mend="give one")
    return sizes[0]


def expect_one(what: str, shape: Shape | None) -> None:
    """Raises GraphError unless the input ``what`` is a single number."""
    if shape not in ((), (1,)):
        raise GraphError(f"{what} wants one number, got shape {show(shape)}", mend="give one")


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front. Raises GraphError for one outside of the rank or named twice."""
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise GraphError(f"axes {list(axes)} name one of {rank} twice", mend="name each axis once")
    return found


def array_of(tensor: Tensor, what: str) -> Array:
    """The array that a tensor attribute holds. Raises GraphError where its bytes are not as many as it says, or of no known dtype."""
    if tensor.dtype not in DTYPES:
        raise GraphError(f"{what} has unknown dtype {tensor.dtype!r}", mend=f"use one of: {', '.join(DTYPES)}")
    wanted = prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    if any(size < 0 for size in tensor.shape) or len(tensor.data) != wanted:
        raise GraphError(
            f"{what} of shape {show(tensor.shape)} wants {wanted} bytes, got {len(tensor.data)}", mend="write all of it"
        )
    return tensor.array.astype(tensor.dtype)
