"""Ops that keep a part: Slice, Split, the largest of an axis (TopK), a triangle (Trilu), the middle (CenterCropPad)."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.dims import Dim
from esp.astore.ops.parameters import THEN_INT64, THEN_WHOLE, WHOLE, axes_of, expect_one, is_given, one_at, optional, wholes_at
from esp.astore.ops.row import ALL_NUMBERS, DTYPES, MANY, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, fixed, is_batch, no_flops, refuse_batch, show, size_of, sizes_at
from esp.errors import GraphError

_TO_THE_END = 2**31 - 1  # an end from here on means all that is there


def _sliced(shape: Shape, axis: int, start: Dim, end: Dim, step: int) -> Dim:
    size = shape[axis]
    if is_batch(size):
        if start == 0 and step == 1 and (end == size or (isinstance(end, int) and end >= _TO_THE_END)):
            return size
        refuse_batch(shape, axis, "slicing")
    number = fixed(size, f"axis {axis} of {show(shape)}")
    if step == 0:
        raise GraphError(f"the step along axis {axis} is 0", mend="use a step above or below 0")
    return len(range(*slice(fixed(start, "the start"), fixed(end, "the end"), step).indices(number)))


def _slice_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    starts, ends = sizes_at(constants, 1, "the starts"), sizes_at(constants, 2, "the ends")
    axes = wholes_at(constants, 3, "the axes") if is_given(shapes, 3) else [*range(len(starts))]
    steps = wholes_at(constants, 4, "the steps") if is_given(shapes, 4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        what = f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps"
        raise GraphError(f"{what} are not equally many", mend="give one of each for each axis")
    sizes = list(shape)
    for axis, start, end, step in zip(axes_of(axes, len(shape)), starts, ends, steps):
        sizes[axis] = _sliced(shape, axis, start, end, step)
    return [tuple(sizes)]


def _slice(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, starts, ends = given(inputs[0]), *(given(array).reshape(-1).tolist() for array in inputs[1:3])
    axes, steps = optional(inputs, 3), optional(inputs, 4)
    for at, axis in enumerate(range(len(starts)) if axes is None else axes.reshape(-1).tolist()):
        step = 1 if steps is None else int(steps.reshape(-1)[at])
        x = np.take(x, np.arange(*slice(starts[at], ends[at], step).indices(x.shape[axis])), axis)
    return [x]


def _even(size: int, count: int) -> list[int]:
    """``size`` in ``count`` parts as equal as can be, the last one smaller."""
    chunk = -(-size // count) if count > 0 else 0
    if not 1 <= count <= max(size, 1) or chunk * (count - 1) > size:
        raise GraphError(f"{size} numbers do not split into {count} parts", mend="split into fewer")
    return [chunk] * (count - 1) + [size - chunk * (count - 1)]


def _split_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, count = given_shape(shapes[0]), attrs["num_outputs"]
    axis = axis_of(attrs["axis"], len(shape))
    refuse_batch(shape, axis, "splitting")
    size = fixed(shape[axis], f"axis {axis} of {show(shape)}")
    if is_given(shapes, 1) == (count is not None):
        raise GraphError("wants either the input split or the attribute num_outputs", mend="give one of the two")
    parts = _even(size, count) if count is not None else wholes_at(constants, 1, "the parts")
    if sum(parts) != size or min(parts, default=0) < 0:
        raise GraphError(f"parts {parts} do not make up axis {axis} of {show(shape)}", mend="let their sum be the axis")
    return [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]


def _split(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, said = given(inputs[0]), optional(inputs, 1)
    parts = _even(x.shape[attrs["axis"]], attrs["num_outputs"]) if said is None else said.tolist()
    return np.split(x, np.cumsum(parts)[:-1], attrs["axis"])


def _top_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    axis = axis_of(attrs["axis"], len(shape))
    refuse_batch(shape, axis, "ranking along")
    expect_one("k", shapes[1])
    k, size = fixed(one_at(constants, 1, "k"), "k"), fixed(shape[axis], f"axis {axis} of {show(shape)}")
    if not 0 <= k <= size:
        raise GraphError(f"k = {k} of axis {axis} of {show(shape)}", mend=f"choose 0 to {size}")
    kept = (*shape[:axis], k, *shape[axis + 1 :])
    return [kept, kept]


def _top(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    """Ties go to the lower index; not a number ranks above all."""
    x, axis = given(inputs[0]), attrs["axis"]
    k, size = int(given(inputs[1]).reshape(-1)[0]), x.shape[axis]
    if attrs["largest"]:
        order = size - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    indices = np.take(order, np.arange(k), axis)
    return [np.take_along_axis(x, indices, axis), indices.astype(np.int64)]


def _top_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(ins[0])


def _triangle_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    if len(shape) < 2:
        raise GraphError(f"wants matrices, got {show(shape)}", mend="give two axes or more")
    for axis in (-2, -1):
        refuse_batch(shape, axis, "cutting a triangle along")
    if is_given(shapes, 1):
        expect_one("k", shapes[1])
    return [shape]


def _triangle(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, k = given(inputs[0]), optional(inputs, 1)
    places = np.arange(x.shape[-1]) - np.arange(x.shape[-2])[:, None]
    diagonal = 0 if k is None else int(k.reshape(-1)[0])
    kept = places >= diagonal if attrs["upper"] else places <= diagonal
    return [np.where(kept, x, x.dtype.type(0))]


def _middle_axes(attrs: Attrs, rank: int) -> list[int]:
    return axes_of(range(rank) if attrs["axes"] is None else attrs["axes"], rank)


def _middle_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape, wanted = given_shape(shapes[0]), sizes_at(constants, 1, "the shape")
    axes = _middle_axes(attrs, len(shape))
    if len(wanted) != len(axes):
        raise GraphError(f"{len(wanted)} sizes do not fit {len(axes)} axes", mend="give one for each axis")
    sizes = list(shape)
    for axis, size in zip(axes, wanted):
        if size != shape[axis]:
            refuse_batch(shape, axis, "cropping")
            fixed(shape[axis], f"axis {axis} of {show(shape)}")
            sizes[axis] = fixed(size, "the size wanted")
        if isinstance(size, int) and size < 0:
            raise GraphError(f"size {size} is below 0", mend="give 0 or more")
    return [tuple(sizes)]


def _middle(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    cuts, wider = [slice(None)] * x.ndim, [(0, 0)] * x.ndim
    for axis, wanted in zip(_middle_axes(attrs, x.ndim), given(inputs[1]).tolist()):
        missing = wanted - x.shape[axis]
        if missing < 0:
            cuts[axis] = slice(-missing // 2, -missing // 2 + wanted)
        else:
            wider[axis] = (missing // 2, missing - missing // 2)
    return [np.pad(x[tuple(cuts)], wider)]


_SLICED = Dtypes(DTYPES, {1: WHOLE, 2: 1, 3: 1, 4: 1})
_TOP_ATTRS = {"axis": AttrSpec("int", -1), "largest": AttrSpec("int", 1), "sorted": AttrSpec("int", 1)}
_SPLIT_ATTRS = {"axis": AttrSpec("int", 0), "num_outputs": AttrSpec("int")}

CUTTING = {
    "Slice": Op("Slice", (3, 5), _slice_shapes, _slice, no_flops, dtypes=_SLICED, trainable=(0,)),
    "Split": Op("Split", (1, 2), _split_shapes, _split, no_flops, _SPLIT_ATTRS, (1, MANY), THEN_INT64, trainable=(0,)),
    "TopK": Op(
        "TopK",
        (2, 2),
        _top_shapes,
        _top,
        _top_flops,
        _TOP_ATTRS,
        (2, 2),
        Dtypes(ALL_NUMBERS, {1: ("int64",)}, {1: "int64"}),
        trainable=(0,),
    ),
    "Trilu": Op(
        "Trilu", (1, 2), _triangle_shapes, _triangle, no_flops, {"upper": AttrSpec("int", 1)}, dtypes=THEN_INT64, trainable=(0,)
    ),
    "CenterCropPad": Op(
        "CenterCropPad", (2, 2), _middle_shapes, _middle, no_flops, {"axes": AttrSpec("ints")}, dtypes=THEN_WHOLE, trainable=(0,)
    ),
}
