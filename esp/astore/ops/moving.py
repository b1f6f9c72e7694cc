"""Ops that repeat, pad and regroup: Tile, Pad, axes of size 1, blocks between depth and space, and whole steps reversed."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.dims import Dim, Rows
from esp.astore.ops.parameters import THEN_INT64, WHOLE, axes_of, expect_one, is_given, optional, wholes_at
from esp.astore.ops.row import DTYPES, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, expect, fixed, is_batch, no_flops, refuse_batch, show, sizes_at
from esp.errors import GraphError

_ANY = Dtypes(DTYPES)


def _tiled(size: Dim, times: Dim) -> Dim:
    if times == 1:
        return size
    number = fixed(size, "a size that is repeated")
    if isinstance(times, int):
        if times < 0:
            raise GraphError(f"repeats {times} is below 0", mend="repeat 0 times or more")
        return number * times
    if not is_batch(times) or number < 1:
        raise GraphError(f"{number} repeated {times} times is no size of a batch", mend="repeat a fixed number of times")
    per_row = number * (times.times if isinstance(times, Rows) else 1)
    return None if per_row == 1 else Rows(per_row)


def _tile_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, repeats = given_shape(shapes[0]), sizes_at(constants, 1, "the repeats")
    if len(repeats) != len(shape):
        raise GraphError(f"{len(repeats)} repeats do not fit {show(shape)}", mend="give one for each axis")
    return [tuple(_tiled(size, times) for size, times in zip(shape, repeats))]


def _tile(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.tile(given(inputs[0]), given(inputs[1]).tolist())]


def _pad_pairs(pads: Sequence[int], axes: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """Pads before and after, for each of all axes."""
    if len(pads) != 2 * len(axes):
        raise GraphError(f"{len(pads)} pads do not fit {len(axes)} axes", mend="give one before and one after for each axis")
    pairs = [(0, 0)] * rank
    for at, axis in enumerate(axes_of(axes, rank)):
        pairs[axis] = (int(pads[at]), int(pads[at + len(axes)]))
    return pairs


def _padded(shape: Shape, axis: int, before: int, after: int, is_constant: bool) -> Dim:
    if before == after == 0:
        return shape[axis]
    refuse_batch(shape, axis, "padding")
    size = fixed(shape[axis], f"axis {axis} of {show(shape)}")
    kept = size + min(before, 0) + min(after, 0)
    if kept < 0 or (kept == 0 and not is_constant and max(before, after) > 0):
        raise GraphError(f"pads {before} and {after} leave nothing of axis {axis} of {show(shape)}", mend="cut less")
    return kept + max(before, 0) + max(after, 0)


def _pad_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, pads = given_shape(shapes[0]), wholes_at(constants, 1, "the pads")
    if is_given(shapes, 2):
        expect_one("the constant", shapes[2])
    axes = wholes_at(constants, 3, "the axes") if is_given(shapes, 3) else range(len(shape))
    pairs = _pad_pairs(pads, axes, len(shape))
    return [tuple(_padded(shape, axis, *pair, attrs["mode"] == "constant") for axis, pair in enumerate(pairs))]


def _pad(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, value, axes = given(inputs[0]), optional(inputs, 2), optional(inputs, 3)
    pairs = _pad_pairs(given(inputs[1]).tolist(), range(x.ndim) if axes is None else axes.reshape(-1).tolist(), x.ndim)
    cut = tuple(slice(max(-before, 0), size - max(-after, 0)) for size, (before, after) in zip(x.shape, pairs))
    wider = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if attrs["mode"] == "constant":
        number = x.dtype.type(0) if value is None else value.reshape(-1)[0]
        return [np.pad(x[cut], wider, "constant", constant_values=number)]
    return [np.pad(x[cut], wider, attrs["mode"])]


def _squeeze_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    if not is_given(shapes, 1):
        if any(map(is_batch, shape)):
            raise GraphError(f"squeezing {show(shape)} would lose a batch of one row", mend="name the axes")
        return [tuple(size for size in shape if size != 1)]
    axes = axes_of(wholes_at(constants, 1, "the axes"), len(shape))
    for axis in axes:
        refuse_batch(shape, axis, "squeezing")
        if shape[axis] != 1:
            raise GraphError(f"axis {axis} of {show(shape)} is not of size 1", mend="squeeze only axes of size 1")
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _squeeze(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    axes = optional(inputs, 1)
    return [np.squeeze(given(inputs[0]), None if axes is None else tuple(axes.reshape(-1).tolist()))]


def _unsqueeze_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, wanted = given_shape(shapes[0]), wholes_at(constants, 1, "the axes")
    axes = axes_of(wanted, len(shape) + len(wanted))
    kept = iter(shape)
    return [tuple(1 if axis in axes else next(kept) for axis in range(len(shape) + len(axes)))]


def _unsqueeze(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.expand_dims(given(inputs[0]), tuple(given(inputs[1]).reshape(-1).tolist()))]


def _planes(shape: Shape, block: int) -> tuple[int, int, int]:
    """Channels, height and width of a batch of planes."""
    if len(shape) != 4 or block < 1:
        raise GraphError(f"wants [N, C, H, W] and blocks of 1 or more, got {show(shape)} and {block}", mend="give four axes")
    for axis in (1, 2, 3):
        refuse_batch(shape, axis, "moving blocks along")
    channels, height, width = (fixed(size, "a size of the planes") for size in shape[1:])
    return channels, height, width


def _to_space_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, block = given_shape(shapes[0]), attrs["blocksize"]
    channels, height, width = _planes(shape, block)
    if channels % block**2:
        raise GraphError(f"{channels} channels are no multiple of {block} x {block}", mend="choose another blocksize")
    return [(shape[0], channels // block**2, height * block, width * block)]


def _to_space(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, block = given(inputs[0]), attrs["blocksize"]
    rows, channels, height, width = x.shape
    deep = channels // block**2
    if attrs["mode"] == "DCR":
        split = x.reshape(rows, block, block, deep, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(rows, deep, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return [split.reshape(rows, deep, height * block, width * block)]


def _to_depth_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, block = given_shape(shapes[0]), attrs["blocksize"]
    channels, height, width = _planes(shape, block)
    if height % block or width % block:
        raise GraphError(f"planes of {height} x {width} are no multiple of {block} x {block}", mend="choose another blocksize")
    return [(shape[0], channels * block**2, height // block, width // block)]


def _to_depth(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, block = given(inputs[0]), attrs["blocksize"]
    rows, channels, height, width = x.shape
    split = x.reshape(rows, channels, height // block, block, width // block, block).transpose(0, 3, 5, 1, 2, 4)
    return [split.reshape(rows, channels * block**2, height // block, width // block)]


def _reverse_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    rows, time = (axis_of(attrs[name], len(shape)) for name in ("batch_axis", "time_axis"))
    if {rows, time} != {0, 1}:
        raise GraphError(f"batch_axis {rows} and time_axis {time} are not 0 and 1", mend="name 0 and 1, or 1 and 0")
    refuse_batch(shape, time, "reversing along")
    expect("sequence_lens", shapes[1], (shape[rows],))
    return [shape]


def _reverse(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, lengths = given(inputs[0]), given(inputs[1])
    turned = np.moveaxis(x, attrs["batch_axis"], 0).copy()
    for row, length in zip(turned, lengths):
        row[:length] = row[:length][::-1].copy()
    return [np.moveaxis(turned, 0, attrs["batch_axis"])]


_BLOCK = {"blocksize": AttrSpec("int", is_required=True)}
_PAD_MODES = AttrSpec("string", "constant", choices=("constant", "reflect", "edge", "wrap"))
_REVERSE_ATTRS = {"batch_axis": AttrSpec("int", 1, choices=(0, 1)), "time_axis": AttrSpec("int", 0, choices=(0, 1))}

MOVING = {
    "Tile": Op("Tile", (2, 2), _tile_shapes, _tile, no_flops, dtypes=THEN_INT64, trainable=(0,)),
    "Pad": Op(
        "Pad",
        (2, 4),
        _pad_shapes,
        _pad,
        no_flops,
        {"mode": _PAD_MODES},
        dtypes=Dtypes(DTYPES, {1: ("int64",), 3: WHOLE}),
        trainable=(0,),
    ),
    "Squeeze": Op("Squeeze", (1, 2), _squeeze_shapes, _squeeze, no_flops, dtypes=THEN_INT64, trainable=(0,)),
    "Unsqueeze": Op("Unsqueeze", (2, 2), _unsqueeze_shapes, _unsqueeze, no_flops, dtypes=THEN_INT64, trainable=(0,)),
    "DepthToSpace": Op(
        "DepthToSpace",
        (1, 1),
        _to_space_shapes,
        _to_space,
        no_flops,
        {**_BLOCK, "mode": AttrSpec("string", "DCR", choices=("DCR", "CRD"))},
        dtypes=_ANY,
    ),
    "SpaceToDepth": Op("SpaceToDepth", (1, 1), _to_depth_shapes, _to_depth, no_flops, _BLOCK, dtypes=_ANY),
    "ReverseSequence": Op(
        "ReverseSequence", (2, 2), _reverse_shapes, _reverse, no_flops, _REVERSE_ATTRS, dtypes=THEN_INT64, trainable=(0,)
    ),
}
