"""Rules for pictures of any rank: Conv, its transpose and BatchNormalization, channels last inside."""

from math import prod

import numpy as np

from esp.astore.graph import Node
from esp.astore.ops.convolution import conv_geometry, transpose_spread
from esp.astore.ops.sliding import Geometry, Spread
from esp.kernels import plan
from esp.runtime.backends.lowering.dense import ZERO, padded_bias
from esp.runtime.backends.lowering.depthwise import depthwise
from esp.runtime.backends.lowering.lowering import FREE, Lowering
from esp.runtime.backends.lowering.packed import Packed
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.pictures import channels_last, outer_sums, picture, pixel_strides, result
from esp.runtime.backends.lowering.planar import by_planes
from esp.runtime.backends.lowering.values import Buffer, Index, Value, lying


def conv(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Conv: rows of the product are the windows of output pixels, found by address in a padded picture."""
    x, weights, bias = made.value(node, 0), made.weight(node, 1), made.weight(node, 2)
    assert weights is not None
    where, group = conv_geometry(attrs, x.shape, weights.shape), attrs["group"]
    planes = by_planes(made, node, x, where, weights, bias) if group == 1 else None
    if planes is not None:
        return [planes]
    out, channels = result(made, node), x.dims[0]
    if group == channels > 1:
        depthwise(made, picture(made, node), out, where, weights, bias)
        return [out]
    source, spatial = _padded(made, x, where)
    pixels = pixel_strides(spatial)
    starts = [np.arange(count) * stride for count, stride in zip(where.out, where.strides)]
    at = channels * outer_sums(starts, pixels)
    segment_at, size = _segments(where, pixels, channels, group)
    inner, outer = weights.shape[1], weights.shape[0] // group
    for g in range(group):
        # [out, in, *kernel] -> [*kernel, in, out]: the order in which a window lies
        part = np.moveaxis(weights[g * outer : (g + 1) * outer], (0, 1), (-1, -2))
        mine = None if bias is None else bias[g * outer : (g + 1) * outer]
        made.emit(
            plan.MULTIPLY, source, out.buffer, prod(where.out), prod(spatial) * channels, at, len(segment_at), segment_at, size,
            Packed(part), 0, outer * group, outer, *made.bounds, b=padded_bias(mine, outer), x_at=g * inner, y_at=g * outer,
        )  # fmt: skip
    return [out]


def _segments(where: Geometry, pixels: list[int], channels: int, group: int) -> tuple[Index, int]:
    """Where the runs of one window begin, in floats, and their length: whole kernel rows where they lie together."""
    taps = [np.arange(size) * dilation for size, dilation in zip(where.kernel, where.dilations)]
    if group == 1 and where.dilations[-1] == 1:
        return channels * outer_sums(taps[:-1], pixels[:-1]), where.kernel[-1] * channels
    return channels * outer_sums(taps, pixels), channels // group


def _padded(made: Lowering, x: Value, where: Geometry) -> tuple[Buffer, list[int]]:
    """The picture, channels last, with its pads, and its sizes."""
    sizes, channels, order = list(x.dims[1:]), x.dims[0], channels_last(len(x.shape))
    if not any((*where.pads_begin, *where.pads_end)):
        return made.arranged(x, order).buffer, sizes
    wide = [size + begin + end for size, begin, end in zip(sizes, where.pads_begin, where.pads_end)]
    padded = Buffer(channels * prod(wide))
    if not x.lies_as(order):
        places = np.full((*wide, channels), -1, np.int64)
        inside = tuple(slice(begin, begin + size) for begin, size in zip(where.pads_begin, sizes))
        places[inside] = np.moveaxis(x.positions(), 0, -1)
        made.emit(plan.GATHER_OR, x.buffer, padded, padded.size, places.reshape(-1), x.size, 0.0)
        return padded, wide
    lines = [np.arange(size) + begin for size, begin in zip(sizes[:-1], where.pads_begin)]
    index = channels * (outer_sums(lines, pixel_strides(wide)[:-1]) + where.pads_begin[-1])
    made.emit(plan.PAD, x.buffer, padded, len(index), sizes[-1] * channels, index, padded.size)
    return padded, wide


def conv_transpose(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """ConvTranspose: a product gives what each input pixel sends through each tap; each output pixel sums what reaches it."""
    x, weights, bias, out = picture(made, node), made.weight(node, 1), made.weight(node, 2), result(made, node)
    assert weights is not None
    where, group = transpose_spread(attrs, x.shape, weights.shape), attrs["group"]
    channels, inner, outer = x.dims[0], weights.shape[0] // group, weights.shape[1]
    pixels, taps = prod(x.dims[1:]), prod(where.kernel)
    sent, at = Buffer(pixels * group * taps * outer), np.arange(pixels, dtype=np.int64) * channels
    for g in range(group):
        # [in, out, *kernel] -> [in, *kernel, out]
        part = np.moveaxis(weights[g * inner : (g + 1) * inner], 1, -1).reshape(inner, -1)
        made.emit(
            plan.MULTIPLY, x.buffer, sent, pixels, x.size, at, 1, ZERO, inner, Packed(part), 0, group * taps * outer, taps * outer,
            *FREE, b=padded_bias(None, taps * outer), x_at=g * inner, y_at=g * taps * outer,
        )  # fmt: skip
    starts, spots = _reached(x.dims[1:], where, group)
    summed = Value(Buffer(out.size), out.shape, out.order)
    ones = np.ones(len(spots), np.float32)
    made.emit(plan.BLEND, sent, summed.buffer, prod(where.out) * group, outer, starts, spots, ones, sent.size)
    if bias is None and made.bounds == FREE:
        return [summed]
    size = outer * group
    shift = np.zeros(size, np.float32) if bias is None else bias
    made.emit(plan.AFFINE, summed.buffer, out.buffer, prod(where.out), size, np.ones(size, np.float32), shift, *made.bounds)
    return [out]


def _reached(sizes: tuple[int, ...], where: Spread, group: int) -> tuple[Index, Index]:
    """For each output pixel and group the places (input pixel, group, tap) that send to it, as starts and places."""
    target, pixel, tap = (np.zeros(1, np.int64) for _ in range(3))
    for axis, size in enumerate(sizes):
        spot, which = np.indices((size, where.kernel[axis])).reshape(2, -1)
        to = spot * where.strides[axis] + which * where.dilations[axis] - where.pads[axis]
        kept = (to >= 0) & (to < where.out[axis])
        lines = (target, to, where.out[axis]), (pixel, spot, size), (tap, which, where.kernel[axis])
        target, pixel, tap = ((old[:, None] * count + new[kept]).reshape(-1) for old, new, count in lines)
    order, groups, taps = np.argsort(target, kind="stable"), np.arange(group), prod(where.kernel)
    target = target[order] * group + groups[:, None]
    places = (pixel[order] * group + groups[:, None]) * taps + tap[order]
    order = np.argsort(target.reshape(-1), kind="stable")
    counts = np.bincount(target.reshape(-1), minlength=prod(where.out) * group)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), np.ascontiguousarray(places.reshape(-1)[order])


def normalisation(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """BatchNormalization that joined no weights: a scale and a shift a channel, wherever the channels lie."""
    x = made.value(node, 0)
    gamma, beta, mean, variance = (np.asarray(made.weight(node, index), np.float64) for index in range(1, 5))
    scale = gamma / np.sqrt(variance + attrs["epsilon"])
    if x.flat is not None:
        x = made.arranged(x, (0, *range(1, len(x.shape))))
    rows, vectors = 1, [scale, beta - mean * scale]
    if x.order[-1] == 1:
        rows = x.size // len(scale)
    else:
        along = (-1,) + (1,) * (len(x.shape) - 2)
        vectors = [lying(np.broadcast_to(vector.reshape(along), x.dims), x.shape, x.order) for vector in vectors]
    out = Value(Buffer(x.size), x.shape, x.order)
    scale, shift = (np.ascontiguousarray(vector, np.float32) for vector in vectors)
    made.emit(plan.AFFINE, x.buffer, out.buffer, rows, x.size // rows, scale, shift, *made.bounds)
    return [out]
