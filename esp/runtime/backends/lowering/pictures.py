"""What rules for pictures of any rank share: channels last, and the places of pixels under windows."""

from math import prod

import numpy as np

from esp.astore.graph import Node
from esp.astore.ops.rules import size_of
from esp.astore.ops.sliding import Geometry
from esp.runtime.backends.lowering.lowering import Lowering
from esp.runtime.backends.lowering.values import Buffer, Index, Value


def channels_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1)


def picture(made: Lowering, node: Node) -> Value:
    """The first input, channels last."""
    value = made.value(node, 0)
    return made.arranged(value, channels_last(len(value.shape)))


def result(made: Lowering, node: Node) -> Value:
    """Room for the first output, channels last."""
    shape = made.net.shapes[node.outputs[0]]
    return Value(Buffer(size_of(shape)), shape, channels_last(len(shape)))


def outer_sums(axes: list[Index], strides: list[int]) -> Index:
    """All sums of one number an axis, each times its axis's stride, in the order of the axes."""
    total = np.zeros(1, np.int64)
    for axis, stride in zip(axes, strides):
        total = (total[:, None] + np.asarray(axis, np.int64) * stride).reshape(-1)
    return total


def pixel_strides(sizes: tuple[int, ...] | list[int]) -> list[int]:
    """How many pixels lie between neighbours of each axis."""
    return [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def window_taps(sizes: tuple[int, ...], where: Geometry) -> tuple[Index, Index, Index]:
    """For each output pixel the input pixels under its window: starts, pixels, and which tap of the kernel each is."""
    spots, inside = np.zeros((1, 1), np.int64), np.ones((1, 1), np.bool_)
    for axis, (size, pixel) in enumerate(zip(sizes, pixel_strides(sizes))):
        spot = np.arange(where.out[axis])[:, None] * where.strides[axis] - where.pads_begin[axis]
        spot = spot + np.arange(where.kernel[axis]) * where.dilations[axis]
        shape = (len(spots) * len(spot), spots.shape[1] * spot.shape[1])
        is_in = (spot >= 0) & (spot < size)
        spots = (spots[:, None, :, None] + (spot * pixel)[None, :, None, :]).reshape(shape)
        inside = (inside[:, None, :, None] & is_in[None, :, None, :]).reshape(shape)
    starts = np.concatenate([[0], np.cumsum(inside.sum(axis=1))]).astype(np.int64)
    return starts, np.ascontiguousarray(spots[inside]), np.ascontiguousarray(np.nonzero(inside)[1].astype(np.int64))
