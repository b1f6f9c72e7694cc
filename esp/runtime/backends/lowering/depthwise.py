"""The depthwise case of Conv: a filter a channel, whose taps lie in lines along the last axis."""

from math import prod

import numpy as np

from esp.astore.graph import Array
from esp.astore.ops.sliding import Geometry
from esp.kernels import plan
from esp.kernels.compile import Instruction
from esp.kernels.lanes import LANES
from esp.runtime.backends.lowering.dense import padded_bias
from esp.runtime.backends.lowering.lowering import Lowering
from esp.runtime.backends.lowering.values import Buffer, Index, Value


def depthwise(made: Lowering, x: Value, out: Value, where: Geometry, weights: Array, bias: Array | None) -> None:
    """y[p, c] = bias[c] + the window of x[:, c] at p times weights[c], without a padded picture."""
    x = _repeated(made, x, len(weights) // x.dims[0])
    channels, spans = x.dims[0], _spans(x.dims[-1], where)
    whole = np.flatnonzero((spans[:, 1] - spans[:, 0]) == where.kernel[-1])
    left, right = (int(whole[0]), int(whole[-1]) + 1) if len(whole) else (0, 0)
    shape = np.array(
        [prod(where.out[:-1]), where.out[-1], channels, left, right, where.strides[-1] * channels,
         where.dilations[-1] * channels, where.kernel[-1]], np.int64,
    )  # fmt: skip
    begin, taps = _lines(x.dims[1:], where)
    taps *= channels
    filters = np.ascontiguousarray(weights.reshape(channels, -1).T)
    made.emit(
        _kernel(channels, spans, where), x.buffer, out.buffer, shape, begin, taps, spans, x.size, filters, *made.bounds,
        b=padded_bias(bias, channels),
    )  # fmt: skip


def _repeated(made: Lowering, x: Value, times: int) -> Value:
    """Every channel as often as it has filters."""
    if times == 1:
        return x
    channels, *sizes = x.dims
    wide = Value(Buffer(x.size * times), (None, channels * times, *sizes), x.order)
    return made.gathered(x, np.repeat(x.positions(), times, axis=0), wide)


def _kernel(channels: int, spans: Index, where: Geometry) -> Instruction:
    """The kernel of this form of window where there is one, whose pixels lie at most half outside."""
    kernel, half = where.kernel[-1], where.kernel[-1] // 2
    is_near = spans[:, 0].max() <= half and spans[:, 1].min() >= kernel - half
    if channels >= LANES and len(spans) > 1 and where.dilations[-1] == 1 and is_near:
        return plan.DEPTHWISE_LINES.get((kernel, where.strides[-1]), plan.DEPTHWISE)
    return plan.DEPTHWISE


def _spans(size: int, where: Geometry) -> Index:
    """For each pixel of a line of the output its first tap within the picture, and the first after those."""
    spots = _spots(size, where, -1)
    inside = (spots >= 0) & (spots < size)
    first, count = inside.argmax(axis=1), inside.sum(axis=1)
    return np.stack([first, first + count], axis=1).astype(np.int64)


def _spots(size: int, where: Geometry, axis: int) -> Index:
    """Where along an axis the taps of each output lie: [out, kernel]."""
    first = np.arange(where.out[axis])[:, None] * where.strides[axis] - where.pads_begin[axis]
    return np.asarray(first + np.arange(where.kernel[axis]) * where.dilations[axis], np.int64)


def _lines(sizes: tuple[int, ...], where: Geometry) -> tuple[Index, Index]:
    """For each line of the output where its lines of taps begin: starts, and pairs of the pixel of x and the tap of the kernel."""
    lines, taps = np.zeros((1, 1), np.int64), np.zeros(1, np.int64)
    inside = np.ones((1, 1), np.bool_)
    for axis, size in enumerate(sizes[:-1]):
        spots = _spots(size, where, axis)
        shape = (len(lines) * len(spots), lines.shape[1] * spots.shape[1])
        lines = (lines[:, None, :, None] * size + spots[None, :, None, :]).reshape(shape)
        inside = (inside[:, None, :, None] & ((spots >= 0) & (spots < size))[None, :, None, :]).reshape(shape)
        taps = (taps[:, None] * where.kernel[axis] + np.arange(where.kernel[axis])).reshape(-1)
    pairs = np.stack([lines * sizes[-1] - where.pads_begin[-1], np.broadcast_to(taps * where.kernel[-1], lines.shape)], axis=-1)
    begin = np.concatenate([[0], np.cumsum(inside.sum(axis=1))]).astype(np.int64)
    return begin, np.ascontiguousarray(pairs[inside], np.int64)
