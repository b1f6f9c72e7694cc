"""Convolutions by planes: where few channels would leave a channels-last tile half empty and a pool follows, vectors hold pixels.

The picture is split so that pixels which the windows of neighbouring results read lie beside each other, in planes: one for each
remainder of a pixel's place divided by the distance of two windows of the pool. The result has one plane for each place under the
pool's window.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from esp.astore.graph import Array, Node, complete_attrs
from esp.astore.ops.sliding import Geometry, geometry
from esp.errors import GraphError
from esp.kernels import plan
from esp.kernels.dense import padded
from esp.kernels.lanes import LANES
from esp.kernels.planar import pack_planar
from esp.runtime.backends.lowering.assembly import LINE
from esp.runtime.backends.lowering.lowering import Lowering, bounds_of
from esp.runtime.backends.lowering.pictures import channels_last, outer_sums, pixel_strides
from esp.runtime.backends.lowering.pointwise import FORMS
from esp.runtime.backends.lowering.values import Buffer, Index, Scattered, Shape, Value, plain

POOLS = ("MaxPool", "AveragePool")


@dataclass(frozen=True, slots=True)
class Split:
    """How pixels become planes, one number an axis: ``step`` planes, ``size`` pixels of each, windows of ``pool`` results."""

    where: Geometry
    pool: tuple[int, ...]
    step: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def out(self) -> tuple[int, ...]:
        """The sizes of the pool's result."""
        return tuple(size // pool for size, pool in zip(self.where.out, self.pool))

    @property
    def pixels(self) -> int:
        """How far a plane of results reaches: rows of results lie as far apart as rows of pixels."""
        return 1 + sum((count - 1) * stride for count, stride in zip(self.out, pixel_strides(self.size)))

    @property
    def room(self) -> int:
        """Floats of a plane of results."""
        return -(-self.pixels // LINE) * LINE

    def rasters(self, axes: list[Index]) -> Index:
        """The place in a plane of each combination of one number an axis."""
        return outer_sums(axes, pixel_strides(self.size))


def _split(sizes: tuple[int, ...], where: Geometry, pool: tuple[int, ...]) -> Split:
    step = tuple(stride * count for stride, count in zip(where.strides, pool))
    wide = (size + begin + end for size, begin, end in zip(sizes, where.pads_begin, where.pads_end))
    return Split(where, pool, step, tuple(-(-size // one) for size, one in zip(wide, step)))


def by_planes(made: Lowering, node: Node, x: Value, where: Geometry, weights: Array, bias: Array | None) -> Value | None:
    """The result of a Conv in planes, or None where that would not pay."""
    pool = _pool_after(made, node, where.out)
    if pool is None:
        return None
    split, channels = _split(x.dims[1:], where, pool), weights.shape[0]
    if not pays(split, channels):
        return None
    places = prod(pool)
    source = _planes(made, x, split)
    taps = _taps(split, x.dims[0])
    # [out, in, *kernel] -> [*kernel, in, out]: the order of the sums is that of the channels-last tile
    lines = np.moveaxis(weights, (0, 1), (-1, -2)).reshape(-1, channels)
    packed, biases = pack_planar(lines, np.zeros(channels, np.float32) if bias is None else bias)
    out = Buffer(places * channels * split.room)
    made.emit(
        plan.PLANAR, source, out, source.size, places, taps, len(lines), packed, channels, split.pixels, split.room, *made.bounds,
        b=biases,
    )  # fmt: skip
    shape = made.net.shapes[node.outputs[0]]
    return Value(out, shape, plain(shape), Scattered(_results(split, channels), out.size, pool))


def pays(split: Split, channels: int) -> bool:
    """Whether less of the vectors stays empty than with a pixel's channels in them."""
    by_channels = prod(split.where.out) * padded(channels)
    return prod(split.pool) * -(-split.pixels // LANES) * LANES * channels <= by_channels


def _pool_after(made: Lowering, node: Node, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The window of the pool that follows, perhaps behind functions of one tensor, where its windows lie side by side."""
    user = made.net.only_user(node.outputs[0])
    while user is not None and (user.op in FORMS or bounds_of(made, user) is not None):
        user = made.net.only_user(user.outputs[0])
    if user is None or user.op not in POOLS or any(user.outputs[1:]):
        return None
    attrs = complete_attrs(user)
    try:
        where = geometry(attrs, sizes, attrs["kernel_shape"])
    except GraphError:
        return None
    is_plain = where.strides == where.kernel and set(where.dilations) == {1} and not any((*where.pads_begin, *where.spill))
    return where.kernel if is_plain and not any(where.pads_end) else None


def _planes(made: Lowering, x: Value, split: Split) -> Buffer:
    """The picture as [channels, planes, pixels], pads as zeros."""
    dims, where = x.dims, split.where
    wide = [size * step for size, step in zip(split.size, split.step)]
    index = np.full((dims[0], *wide), -1, np.int64)
    inside = tuple(slice(begin, begin + size) for begin, size in zip(where.pads_begin, dims[1:]))
    index[(slice(None), *inside)] = x.positions()
    axes = len(wide)
    parts = index.reshape(dims[0], *(number for pair in zip(split.size, split.step) for number in pair))
    turned = np.transpose(parts, (0, *range(2, 2 * axes + 1, 2), *range(1, 2 * axes, 2)))
    places = np.ascontiguousarray(turned).reshape(-1)
    planes = Buffer(places.size)
    if (places < 0).any():
        made.emit(plan.GATHER_OR, x.buffer, planes, planes.size, places, x.size, 0.0)
    else:
        made.emit(plan.GATHER, x.buffer, planes, planes.size, places, x.size)
    return planes


def _taps(split: Split, channels: int) -> Index:
    """[places under the pool's window, numbers of a window]: how far each number lies from the result's place in a plane."""
    where, plane, strides = split.where, prod(split.size), pixel_strides(split.size)
    planes = prod(split.step)
    lines = []
    for place in np.ndindex(*split.pool):
        reach = [
            start * stride + np.arange(count) * dilation
            for start, stride, count, dilation in zip(place, where.strides, where.kernel, where.dilations)
        ]
        which = outer_sums([spots % step for spots, step in zip(reach, split.step)], pixel_strides(split.step))
        shift = outer_sums([spots // step for spots, step in zip(reach, split.step)], strides)
        lines.append(((which * plane + shift)[:, None] + np.arange(channels) * (planes * plane)).reshape(-1))
    return np.ascontiguousarray(lines, np.int64)


def _results(split: Split, channels: int) -> Index:
    """Where each number of the Conv's result lies; those that no window of the pool covers are not there (and stand as the first)."""
    index = np.zeros((channels, *split.where.out), np.int64)
    base = split.rasters([np.arange(size) for size in split.out]).reshape(split.out) + _lines(channels, len(split.out), split.room)
    for number, place in enumerate(np.ndindex(*split.pool)):
        spots = tuple(slice(at, size * step, step) for at, size, step in zip(place, split.out, split.pool))
        index[(slice(None), *spots)] = base + number * channels * split.room
    return index


def _lines(channels: int, axes: int, room: int) -> Index:
    return np.arange(channels, dtype=np.int64).reshape(-1, *(1,) * axes) * room


def pooled(made: Lowering, x: Value, window: tuple[int, ...], is_average: bool, shape: Shape) -> Value | None:
    """The pool, channels last, of a value that lies in a plane for each place of its window; None where it does not."""
    if not isinstance(x.flat, Scattered) or x.flat.window != window:
        return None
    size = x.room // prod(window)
    out = Buffer(size)
    made.emit(plan.POOL_PLANES, x.buffer, out, prod(window), size, int(is_average))
    spots = tuple(slice(0, count * step, step) for count, step in zip(shape[2:], window) if count is not None)
    places = np.ascontiguousarray(x.flat.positions()[(slice(None), *spots)])
    return made.arranged(Value(out, shape, plain(shape), Scattered(places, size)), channels_last(len(shape)))
