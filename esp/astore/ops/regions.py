"""Cutting one region out of one picture: sampled between pixels (RoiAlign), or the largest of whole ones (MaxRoiPool)."""

from collections.abc import Sequence
from itertools import product
from math import ceil, floor

import numpy as np

from esp.astore.ops.row import Array, Attrs, AttrSpec

MAX_SAMPLES = 256  # an axis and bin, where as many as fit are taken

ALIGN_ATTRS = {
    "coordinate_transformation_mode": AttrSpec("string", "half_pixel", choices=("half_pixel", "output_half_pixel")),
    "mode": AttrSpec("string", "avg", choices=("avg", "max")),
    "output_height": AttrSpec("int", 1),
    "output_width": AttrSpec("int", 1),
    "sampling_ratio": AttrSpec("int", 0),
    "spatial_scale": AttrSpec("float", 1.0),
}
MAX_POOL_ATTRS = {"pooled_shape": AttrSpec("ints", is_required=True), "spatial_scale": AttrSpec("float", 1.0)}

# For the samples of one axis [bins, samples]: the pixels before and after, and the weight of each.
Samples = tuple[tuple[Array, Array], tuple[Array, Array]]


def align(attrs: Attrs, picture: Array, roi: Array) -> Array:
    """[channels, height, width] at the region (x1, y1, x2, y2), as [channels, *output].

    A region that is not finite, or so large that more than ``MAX_SAMPLES`` fit a bin, gives NaN.
    """
    is_half = attrs["coordinate_transformation_mode"] == "half_pixel"
    ends = roi.astype(np.float64) * attrs["spatial_scale"] - (0.5 if is_half else 0.0)
    axes = []
    for axis, key in ((1, "output_height"), (0, "output_width")):
        length = ends[axis + 2] - ends[axis] if is_half else max(ends[axis + 2] - ends[axis], 1.0)
        samples = _samples(ends[axis], length, attrs[key], attrs["sampling_ratio"], picture.shape[2 - axis])
        if samples is None:
            return np.full((picture.shape[0], attrs["output_height"], attrs["output_width"]), np.nan, picture.dtype)
        axes.append(samples)
    return (_mean if attrs["mode"] == "avg" else _largest)(picture, axes[0], axes[1])


def _samples(start: float, length: float, bins: int, ratio: int, size: int) -> Samples | None:
    if not (np.isfinite(start) and np.isfinite(length)) or (not ratio and length / bins > MAX_SAMPLES):
        return None
    count = ratio or max(ceil(length / bins), 0)
    at = start + length / bins * (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / max(count, 1))
    is_in = (at >= -1) & (at <= size)
    at = np.clip(at, 0, size - 1)
    before = at.astype(np.int64)
    part = at - before
    return (before, np.where(is_in, 1 - part, 0)), (np.minimum(before + 1, size - 1), np.where(is_in, part, 0))


def _mean(picture: Array, rows: Samples, columns: Samples) -> Array:
    return np.asarray(_weights(rows, picture.shape[1]) @ picture @ _weights(columns, picture.shape[2]).T)


def _weights(samples: Samples, size: int) -> Array:
    """How much each pixel of an axis counts in each bin; [bins, size]."""
    bins, count = samples[0][0].shape
    weights = np.zeros((bins, size))
    for pixels, shares in samples:
        np.add.at(weights, (np.arange(bins)[:, None], pixels), shares)
    return np.asarray(weights / max(count, 1))


def _largest(picture: Array, rows: Samples, columns: Samples) -> Array:
    """The largest of the four weighted neighbours of every sample."""
    out = np.full((picture.shape[0], len(rows[0][0]), len(columns[0][0])), -np.inf)
    for i, j in np.ndindex(*out.shape[1:]):
        for (row, row_share), (column, column_share) in product(rows, columns):
            near = picture[:, row[i][:, None], column[j]] * (row_share[i][:, None] * column_share[j])
            out[:, i, j] = np.maximum(out[:, i, j], near.max(axis=(1, 2), initial=-np.inf))
    return np.where(np.isneginf(out), 0, out)


def pool_largest(attrs: Attrs, picture: Array, roi: Array) -> Array:
    """The largest pixels of each bin of the region (x1, y1, x2, y2), 0 where a bin is empty or the region not finite."""
    bins = tuple(attrs["pooled_shape"])
    out = np.zeros((picture.shape[0], *bins), picture.dtype)
    ends = roi.astype(np.float64) * attrs["spatial_scale"]
    if not np.isfinite(ends).all():
        return out
    rows, columns = (_bins(ends[axis], ends[axis + 2], bins[1 - axis], picture.shape[2 - axis]) for axis in (1, 0))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            part = picture[:, row, column]
            if part.size:
                out[:, i, j] = part.max(axis=(1, 2))
    return out


def _bins(start: float, end: float, bins: int, size: int) -> Sequence[slice]:
    first, last = _round(start), _round(end)
    step = max(last - first + 1, 1) / bins
    edges = [(floor(at * step) + first, ceil((at + 1) * step) + first) for at in range(bins)]
    return [slice(min(max(low, 0), size), min(max(high, 0), size)) for low, high in edges]


def _round(number: float) -> int:
    """To the nearest whole number, halves away from 0."""
    return floor(number + 0.5) if number >= 0 else ceil(number - 0.5)
