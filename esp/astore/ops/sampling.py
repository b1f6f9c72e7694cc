"""GridSample: a picture of any rank read at the places that a grid names, between its pixels."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from esp.astore.ops.row import FLOATS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import show, size_of
from esp.astore.ops.sliding import image_shape
from esp.errors import GraphError

_CUBIC = -0.75  # the slope of the cubic at 1 (Keys, 1981)
_MOST_RANK = 4  # a cubic reads 4 ** rank pixels


def _shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, grid = given_shape(shapes[0]), given_shape(shapes[1])
    channels, spatial = image_shape(x)
    if len(grid) != len(x) or grid[0] != x[0] or grid[-1] != len(spatial) or not all(isinstance(at, int) for at in grid[1:]):
        raise GraphError(f"grid {show(grid)} does not fit {show(x)}", mend="give it [N, *places, one coordinate an axis]")
    if min(spatial) < 1 or len(spatial) > _MOST_RANK:
        raise GraphError(f"cannot sample {show(x)}", mend=f"give 1 to {_MOST_RANK} axes that have pixels")
    return [(x[0], channels, *grid[1:-1])]


def _sample(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, grid = given(inputs[0]), given(inputs[1])
    sizes = x.shape[2:]
    taps = [_taps(attrs, grid[..., len(sizes) - 1 - axis], size) for axis, size in enumerate(sizes)]  # x comes first in a grid
    rows = np.arange(x.shape[0]).reshape(-1, *(1,) * len(sizes))
    last = np.moveaxis(x, 1, -1)
    out = np.zeros((*grid.shape[:-1], x.shape[1]), np.result_type(x.dtype, grid.dtype))
    for chosen in product(*taps):
        weight = np.prod([share for _, share in chosen], axis=0)
        out += last[(rows, *(at for at, _ in chosen))] * weight[..., None]
    return [np.moveaxis(out, -1, 1).astype(x.dtype)]


def _taps(attrs: Attrs, grid: Array, size: int) -> list[tuple[Array, Array]]:
    """For one axis the pixels to read at each place, each with its weight."""
    low, high = (0.0, size - 1.0) if attrs["align_corners"] else (-0.5, size - 0.5)
    at = (grid + 1) / 2 * (high - low) + low
    at = np.where(np.isfinite(at), at, low - 2).clip(-(2.0**30), 2.0**30)
    if attrs["mode"] == "cubic":
        first = np.floor(at)
        shares = _cubic_shares(at - first)
        pixels = [first + step for step in (-1, 0, 1, 2)]
    else:
        at = _inside(attrs, at, low, high, size)
        first = np.rint(at) if attrs["mode"] == "nearest" else np.floor(at)
        part = at - first
        pixels, shares = ([first], [np.ones_like(at)]) if attrs["mode"] == "nearest" else ([first, first + 1], [1 - part, part])
    return [_tap(attrs, pixel, share, low, high, size) for pixel, share in zip(pixels, shares)]


def _tap(attrs: Attrs, pixel: Array, share: Array, low: float, high: float, size: int) -> tuple[Array, Array]:
    """A pixel that is there: what lies outside counts 0, or is read at the border or its reflection."""
    pixel = _inside(attrs, pixel, low, high, size)
    is_there = (pixel >= 0) & (pixel <= size - 1)
    return np.clip(pixel, 0, size - 1).astype(np.int64), np.where(is_there, share, 0)


def _inside(attrs: Attrs, at: Array, low: float, high: float, size: int) -> Array:
    """Places moved into the picture, as the padding mode says."""
    if attrs["padding_mode"] == "border":
        return np.clip(at, 0, size - 1)
    if attrs["padding_mode"] == "reflection":
        span = high - low
        turned = np.abs((at - low + span) % (2 * span) - span) + low if span else np.full_like(at, low)
        return np.clip(np.where((at < low) | (at > high), turned, at), 0, size - 1)
    return at


def _cubic_shares(part: Array) -> list[Array]:
    far, near = [part + 1, 2 - part], [part, 1 - part]
    inner = [((_CUBIC + 2) * d - (_CUBIC + 3)) * d * d + 1 for d in near]
    outer = [((d - 5) * d + 8) * d * _CUBIC - 4 * _CUBIC for d in far]
    return [outer[0], inner[0], inner[1], outer[1]]


def _flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    taps = {"nearest": 1, "linear": 2, "cubic": 4}[attrs["mode"]]
    return int(2 * taps ** (len(outs[0]) - 2)) * size_of(outs[0])


_ATTRS = {
    "align_corners": AttrSpec("int", 0, choices=(0, 1)),
    "mode": AttrSpec("string", "linear", choices=("linear", "nearest", "cubic")),
    "padding_mode": AttrSpec("string", "zeros", choices=("zeros", "border", "reflection")),
}

SAMPLING = {
    "GridSample": Op("GridSample", (2, 2), _shapes, _sample, _flops, _ATTRS, dtypes=Dtypes(inputs={1: FLOATS}), trainable=())
}
