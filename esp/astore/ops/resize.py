"""Resize: every axis sampled anew at other places, by the nearest number, a line or a cubic through those around."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.ops.dims import Dim
from esp.astore.ops.parameters import axes_of, is_given, optional
from esp.astore.ops.row import DTYPES, REALS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import fixed, is_batch, numbers_at, refuse_batch, show, size_of, sizes_at
from esp.errors import GraphError

_CROP = "tf_crop_and_resize"
_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
_TOGETHER = {
    4: ((2, 3), (1, 2)),
    5: ((2, 3, 4),),
}  # rank -> the axes of a picture, channels first or last, of which none is read alone


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one axis is sampled: ``width`` numbers become ``made``; ``scale`` of them for each one, as said; the crop, in parts of 1."""

    width: int
    made: int
    scale: float
    crop: tuple[float, float] = (0.0, 1.0)

    @property
    def is_idle(self) -> bool:
        return self.width == self.made and self.scale == 1 and self.crop == (0.0, 1.0)

    @property
    def length(self) -> float:
        """How many numbers come out by the scale, not rounded down."""
        length = self.width * self.scale
        return self.made if np.isclose(length, self.made, rtol=1e-6, atol=0) else length


def _sampled(width: int, scale: float) -> Sampling:
    """``scale`` in float32, in which ONNX hands it over and rounds the size down."""
    if not 0 < scale < 2**31 or width >= 2**31:
        raise GraphError(f"scale {scale} of size {width} is not above 0 or too large", mend="give a scale above 0")
    return Sampling(width, int(np.floor(np.float32(width) * np.float32(scale))), float(np.float32(scale)))


def _fitted(attrs: Attrs, widths: Sequence[int], wanted: Sequence[int]) -> list[Sampling]:
    """Samplings that give the sizes wanted, or those nearest by one scale for all axes where the aspect ratio is kept."""
    if any(width != size and min(width, size) < 1 for width, size in zip(widths, wanted)):
        raise GraphError(f"sizes {list(widths)} cannot become {list(wanted)}", mend="give sizes above 0")
    scales = [1.0 if width == size else size / width for width, size in zip(widths, wanted)]
    if attrs["keep_aspect_ratio_policy"] == "stretch" or not scales:
        return [Sampling(width, size, scale) for width, size, scale in zip(widths, wanted, scales)]
    scale = (min if attrs["keep_aspect_ratio_policy"] == "not_larger" else max)(scales)
    return [Sampling(width, int(np.floor(width * scale + 0.5)), scale) for width in widths]


def _axes(attrs: Attrs, rank: int) -> list[int]:
    return axes_of(range(rank) if attrs["axes"] is None else attrs["axes"], rank)


def _has_numbers(shapes: Sequence[Shape | None], index: int) -> bool:
    """Whether the optional input is there; an empty one counts as left out."""
    return is_given(shapes, index) and shapes[index] != (0,)


def _off_batch(attrs: Attrs, shape: Shape, wanted: Sequence[Dim | float], by_scale: bool) -> dict[int, tuple[int, Dim | float]]:
    """Axis -> its size and the size or scale wanted, the batch left out. Raises GraphError where the batch is to be resized."""
    axes = _axes(attrs, len(shape))
    if len(wanted) != len(axes):
        raise GraphError(f"{len(wanted)} sizes or scales do not fit {len(axes)} axes", mend="give one for each axis")
    for axis, size in zip(axes, wanted):
        if is_batch(shape[axis]) and (attrs["keep_aspect_ratio_policy"] != "stretch" or size != (1.0 if by_scale else shape[axis])):
            refuse_batch(shape, axis, "resizing")
    return {
        axis: (fixed(shape[axis], f"axis {axis} of {show(shape)}"), size)
        for axis, size in zip(axes, wanted)
        if not is_batch(shape[axis])
    }


def _check_crop(attrs: Attrs, shape: Shape, roi: Array) -> None:
    """Raises GraphError unless the crop has a beginning and an end for each axis and leaves the batch whole."""
    axes = _axes(attrs, len(shape))
    if roi.shape != (2 * len(axes),) or not np.all(np.isfinite(roi)):
        raise GraphError(
            f"roi has shape {show(roi.shape)} for {len(axes)} axes", mend="give all beginnings, then all ends, as finite numbers"
        )
    for at, axis in enumerate(axes):
        if is_batch(shape[axis]) and (roi[at], roi[at + len(axes)]) != (0, 1):
            refuse_batch(shape, axis, "cropping")


def _shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    by_scale = _has_numbers(shapes, 2)
    if by_scale == _has_numbers(shapes, 3):
        raise GraphError("wants either scales or sizes", mend="give one of the two")
    if attrs["coordinate_transformation_mode"] == _CROP:
        _check_crop(attrs, shape, numbers_at(constants, 1, "the roi"))
    if by_scale:
        scales = numbers_at(constants, 2, "the scales").reshape(-1).tolist()
        parts = _off_batch(attrs, shape, scales, by_scale)
        made = [_sampled(width, float(scale)) for width, scale in parts.values()]  # type: ignore[arg-type]
    else:
        parts = _off_batch(attrs, shape, sizes_at(constants, 3, "the sizes"), by_scale)
        wanted = [fixed(size, "a size wanted") for _, size in parts.values()]  # type: ignore[arg-type]
        made = _fitted(attrs, [width for width, _ in parts.values()], wanted)
    if any(sampling.width == 0 and sampling.made > 0 for sampling in made):
        raise GraphError(f"{show(shape)} has no numbers to sample", mend="give sizes above 0")
    return [tuple({axis: sampling.made for axis, sampling in zip(parts, made)}.get(at, size) for at, size in enumerate(shape))]


def samplings(
    attrs: Attrs, shape: Sequence[int], roi: Array | None, scales: Array | None, sizes: Array | None
) -> dict[int, Sampling]:
    """How each axis that is read between its numbers is sampled: those that change, and those beside them that onnxruntime reads so.

    That matters to what is not finite: 0 times a NaN is NaN.
    """
    axes = _axes(attrs, len(shape))
    widths = [shape[axis] for axis in axes]
    if scales is not None and scales.size:
        made = [_sampled(width, scale) for width, scale in zip(widths, scales.tolist())]
    else:
        made = _fitted(attrs, widths, given(sizes).tolist())
    if attrs["coordinate_transformation_mode"] == _CROP:
        crops = given(roi).astype(np.float64).reshape(2, -1).T.tolist()
        made = [Sampling(one.width, one.made, one.scale, (crop[0], crop[1])) for one, crop in zip(made, crops)]
    changed = {axis: sampling for axis, sampling in zip(axes, made) if not sampling.is_idle}
    if attrs["mode"] == "nearest" or attrs["antialias"]:
        return changed
    beside = next((those for those in _TOGETHER.get(len(shape), ()) if changed and changed.keys() <= set(those)), ())
    return {axis: Sampling(shape[axis], shape[axis], 1.0) for axis in beside} | changed


def _places(mode: str, sampling: Sampling) -> Array:
    """Where each new number lies among the old ones, in float32 as onnxruntime has it."""
    at, width, scale = np.arange(sampling.made, dtype=np.float32), sampling.width, np.float32(sampling.scale)
    length = sampling.length
    if mode == "align_corners":
        return at * np.float32(width - 1) / np.float32(length - 1) if length != 1 else 0 * at
    if mode == "asymmetric":
        return at / scale
    if mode == _CROP:
        start, end = map(np.float32, sampling.crop)
        span = (end - start) * np.float32(width - 1)
        return start * np.float32(width - 1) + (at * span / np.float32(length - 1) if length != 1 else span / 2 + 0 * at)
    half = (at + np.float32(0.5)) / scale - np.float32(0.5)
    if mode == "half_pixel_symmetric":
        return half + np.float32(width / 2 * (1 - sampling.made / length))
    return 0 * at if mode == "pytorch_half_pixel" and length == 1 else half


def _nearest(places: Array, mode: str) -> Array:
    if mode.startswith("round"):
        mode, places = ("ceil", places - 0.5) if mode == "round_prefer_floor" else ("floor", places + 0.5)
    return np.asarray(np.floor(places) if mode == "floor" else np.ceil(places))


def _hat(away: Array) -> Array:
    return np.asarray(np.maximum(1 - np.abs(away), 0))


def _cubic(away: Array, a: float) -> Array:
    """Keys' cubic convolution."""
    x = np.abs(away)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def taps(attrs: Attrs, sampling: Sampling) -> tuple[Array, Array]:
    """Which old numbers each new one reads, and their shares in it; both [made, taps]."""
    places = _places(attrs["coordinate_transformation_mode"], sampling).astype(np.float64)
    shrink = min(sampling.scale, 1.0) if attrs["antialias"] else 1.0
    is_linear = attrs["mode"] == "linear"
    reach = int(np.ceil((1 if is_linear else 2) / shrink))
    if is_linear and shrink == 1:
        places = np.clip(places, 0, sampling.width - 1)  # so that the first number's neighbour is the second
    near = np.floor(places)[:, None] + np.arange(1 - reach, reach + 1)
    away = shrink * (near - places[:, None])
    shares = _hat(away) if is_linear else _cubic(away, attrs["cubic_coeff_a"])
    if attrs["exclude_outside"]:
        shares = np.where((near >= 0) & (near < sampling.width), shares, 0)
    shares = shares / shares.sum(axis=1, keepdims=True)
    inside = np.clip(near, 0, sampling.width - 1).astype(np.int64)
    if is_linear and shrink == 1:  # one number twice is halved, so that an infinity at the end stays one
        shares = np.where(inside[:, :1] == inside[:, 1:], 0.5, shares)
    return inside, shares


def _blended(attrs: Attrs, x: Array, axis: int, sampling: Sampling) -> Array:
    """One axis sampled between its numbers. What has no share by the antialiasing filter is not read."""
    near, shares = taps(attrs, sampling)
    along = [-1 if at == axis else 1 for at in range(x.ndim)]
    made = np.zeros((*x.shape[:axis], sampling.made, *x.shape[axis + 1 :]))
    for tap, share in zip(near.T, shares.T):
        part = np.take(x, tap, axis) * share.reshape(along)
        made += np.where(share.reshape(along) == 0, 0, part) if attrs["antialias"] else part
    return made


def _resize(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, mode = given(inputs[0]), attrs["coordinate_transformation_mode"]
    made: Array = x if attrs["mode"] == "nearest" else x.astype(np.float64)
    is_outside = np.zeros((1,) * x.ndim, bool)
    for axis, sampling in samplings(attrs, x.shape, optional(inputs, 1), optional(inputs, 2), optional(inputs, 3)).items():
        places = _places(mode, sampling).astype(np.float64)
        if attrs["mode"] == "nearest":
            nearest = np.clip(_nearest(places, attrs["nearest_mode"]), 0, sampling.width - 1)
            made = np.take(made, nearest.astype(np.int64), axis)
        else:
            made = _blended(attrs, made, axis, sampling)
        if mode == _CROP:
            along = [sampling.made if at == axis else 1 for at in range(x.ndim)]
            is_outside = is_outside | ((places < 0) | (places > sampling.width - 1)).reshape(along)
    return [np.where(is_outside, attrs["extrapolation_value"], made).astype(x.dtype) if is_outside.any() else made.astype(x.dtype)]


def _flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    """A multiply-add for each old number around a new one."""
    if attrs["mode"] == "nearest":
        return 0
    resized = [axis for axis, (old, new) in enumerate(zip(given_shape(ins[0]), outs[0])) if old != new]
    return 2 * size_of(outs[0]) * _TAPS[attrs["mode"]] ** len(resized) if resized else 0


_FLAG = AttrSpec("int", 0, choices=(0, 1))
_ATTRS = {
    "antialias": _FLAG,
    "axes": AttrSpec("ints"),
    "coordinate_transformation_mode": AttrSpec(
        "string",
        "half_pixel",
        choices=("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", _CROP),
    ),
    "cubic_coeff_a": AttrSpec("float", -0.75),
    "exclude_outside": _FLAG,
    "extrapolation_value": AttrSpec("float", 0.0),
    "keep_aspect_ratio_policy": AttrSpec("string", "stretch", choices=("stretch", "not_larger", "not_smaller")),
    "mode": AttrSpec("string", "nearest", choices=tuple(_TAPS)),
    "nearest_mode": AttrSpec("string", "round_prefer_floor", choices=("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")),
}
_TAKEN = Dtypes(DTYPES, {1: REALS, 2: ("float32",), 3: ("int64",)})

RESIZE = {"Resize": Op("Resize", (1, 4), _shapes, _resize, _flops, _ATTRS, dtypes=_TAKEN, trainable=(0,))}
