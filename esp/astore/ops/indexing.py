"""Ops that pick numbers by their place, or put numbers in their place: Gather and Scatter in all their forms, OneHot, Compress."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from esp.astore.ops.dims import Unknown
from esp.astore.ops.parameters import THEN_INT64, THEN_WHOLE, expect_one, one_at
from esp.astore.ops.row import ALL_NUMBERS, DTYPES, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, expect, fixed, is_batch, no_flops, refuse_batch, show, size_of
from esp.errors import GraphError

_REDUCTIONS: Mapping[str, Callable[[Array, tuple[Array, ...], Array], None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "min": np.minimum.at,
    "max": np.maximum.at,
}


def _gather_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    data, indices = given_shape(shapes[0]), given_shape(shapes[1])
    axis = axis_of(attrs["axis"], len(data))
    refuse_batch(data, axis, "gathering from")
    return [(*data[:axis], *indices, *data[axis + 1 :])]


def _gather(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    data = given(inputs[0])
    return [np.asarray(np.take(data, given(inputs[1]), attrs["axis"]), data.dtype)]


def _expect_inside(data: Shape, indices: Shape, axis: int) -> None:
    """Raises GraphError unless off ``axis`` every index lies beside a number of the data, of its own row."""
    refuse_batch(data, axis, "picking along")
    if len(indices) != len(data):
        raise GraphError(f"indices {show(indices)} and data {show(data)} differ in rank", mend="give as many axes")
    for at, (mine, its) in enumerate(zip(data, indices)):
        is_within = isinstance(mine, int) and isinstance(its, int) and its <= mine
        if at != axis and mine != its and not is_within:
            raise GraphError(f"indices {show(indices)} reach beyond data {show(data)}", mend="make the other sizes equal")


def _elements_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    data, indices = given_shape(shapes[0]), given_shape(shapes[1])
    _expect_inside(data, indices, axis_of(attrs["axis"], len(data)))
    return [indices]


def _elements(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    data, indices = given(inputs[0]), given(inputs[1])
    axis = attrs["axis"] % data.ndim
    beside = tuple(slice(None) if at == axis else slice(size) for at, size in enumerate(indices.shape))
    return [np.take_along_axis(data[beside], indices, axis)]


def _tuple_length(indices: Shape, most: int) -> int:
    """How many axes an index of GatherND or ScatterND names."""
    length = fixed(indices[-1], "the length of an index") if indices else 0
    if not 1 <= length <= most:
        raise GraphError(f"indices {show(indices)} name {length} axes, not 1 to {most}", mend="let the last axis hold one index")
    return length


def _gather_nd_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    data, indices, lead = given_shape(shapes[0]), given_shape(shapes[1]), attrs["batch_dims"]
    if not 0 <= lead < min(len(data), len(indices)) or data[:lead] != indices[:lead]:
        raise GraphError(f"{show(data)} and {show(indices)} do not share {lead} leading axes", mend="choose another batch_dims")
    length = _tuple_length(indices, len(data) - lead)
    for axis in range(lead, lead + length):
        refuse_batch(data, axis, "gathering from")
    return [(*indices[:-1], *data[lead + length :])]


def _gather_nd(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    data, indices, lead = given(inputs[0]), given(inputs[1]), attrs["batch_dims"]
    rows, length = prod(data.shape[:lead]), indices.shape[-1]
    flat = data.reshape(rows, *data.shape[lead:])
    each = indices.reshape(rows, prod(indices.shape[lead:-1]), length)
    picked = flat[(np.arange(rows)[:, None], *np.moveaxis(each, -1, 0))]
    return [picked.reshape(*indices.shape[:-1], *data.shape[lead + length :])]


def _scatter_elements_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    data, indices = given_shape(shapes[0]), given_shape(shapes[1])
    axis = axis_of(attrs["axis"], len(data))
    _expect_inside(data, indices, axis)
    refuse_batch(indices, axis, "putting along")
    expect("updates", shapes[2], indices)
    return [data]


def _put(data: Array, places: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    made = data.copy()
    if reduction == "none":
        made[places] = updates
    else:
        _REDUCTIONS[reduction](made, places, updates)
    return made


def _scatter_elements(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    data, indices, updates = (given(array) for array in inputs)
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[attrs["axis"]] = indices
    return [_put(data, tuple(places), updates, attrs["reduction"])]


def _scatter_nd_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    data, indices = given_shape(shapes[0]), given_shape(shapes[1])
    length = _tuple_length(indices, len(data))
    for axis in range(length):
        refuse_batch(data, axis, "putting along")
    if any(map(is_batch, indices)):
        raise GraphError(f"indices {show(indices)} of a batch would mix its rows", mend="make them a weight")
    expect("updates", shapes[2], (*indices[:-1], *data[length:]))
    return [data]


def _scatter_nd(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    data, indices, updates = (given(array) for array in inputs)
    return [_put(data, tuple(np.moveaxis(indices, -1, 0)), updates, attrs["reduction"])]


def _one_hot_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    indices = given_shape(shapes[0])
    expect_one("the depth", shapes[1])
    whole = [array.astype(np.int64) if array is not None and _is_whole(array) else array for array in constants[:2]]
    depth = fixed(one_at(whole, 1, "the depth"), "the depth")
    if depth < 1:
        raise GraphError(f"the depth is {depth}", mend="give 1 or more")
    expect("values", shapes[2], (2,))
    axis = axis_of(attrs["axis"], len(indices) + 1)
    return [(*indices[:axis], depth, *indices[axis:])]


def _is_whole(array: Array) -> bool:
    """Whether a floating array holds but whole numbers that fit."""
    return array.dtype.kind == "f" and bool(np.all((np.abs(array) < 2**31) & (array == np.floor(array))))


def _one_hot(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    indices, depth, values = (given(array) for array in inputs)
    axis, count = attrs["axis"] % (indices.ndim + 1), int(depth.reshape(-1)[0])
    whole = np.expand_dims(indices.astype(np.int64), axis)
    places = np.arange(count).reshape([count if at == axis else 1 for at in range(indices.ndim + 1)])
    return [np.where((whole == places) | (whole + count == places), values[1], values[0])]


def _one_hot_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(outs[0])


def _compress_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    data, condition = given_shape(shapes[0]), given_shape(shapes[1])
    flat = attrs["axis"] is None
    if len(condition) != 1 or any(map(is_batch, condition)) or (flat and any(map(is_batch, data))):
        raise GraphError(f"a condition {show(condition)} on {show(data)} would mix rows", mend="choose along an axis off the batch")
    axis = 0 if flat else axis_of(attrs["axis"], len(data))
    if not flat:
        refuse_batch(data, axis, "choosing along")
    most = size_of(data) if flat else fixed(data[axis], f"axis {axis} of {show(data)}")
    if fixed(condition[0], "the condition") > most:
        raise GraphError(f"a condition of {condition[0]} is longer than the {most} to choose from", mend="shorten it")
    known = constants[1]
    count = Unknown() if known is None or known.dtype == object else int(np.count_nonzero(known))
    return [(count,) if flat else (*data[:axis], count, *data[axis + 1 :])]


def _compress(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.compress(given(inputs[1]), given(inputs[0]), attrs["axis"])]


_REDUCTION = AttrSpec("string", "none", choices=("none", *_REDUCTIONS))
_AXIS = {"axis": AttrSpec("int", 0)}

INDEXING = {
    "Gather": Op("Gather", (2, 2), _gather_shapes, _gather, no_flops, _AXIS, dtypes=THEN_WHOLE, trainable=(0,)),
    "GatherElements": Op("GatherElements", (2, 2), _elements_shapes, _elements, no_flops, _AXIS, dtypes=THEN_WHOLE, trainable=(0,)),
    "GatherND": Op(
        "GatherND",
        (2, 2),
        _gather_nd_shapes,
        _gather_nd,
        no_flops,
        {"batch_dims": AttrSpec("int", 0)},
        dtypes=THEN_INT64,
        trainable=(0,),
    ),
    "ScatterElements": Op(
        "ScatterElements",
        (3, 3),
        _scatter_elements_shapes,
        _scatter_elements,
        no_flops,
        {**_AXIS, "reduction": _REDUCTION},
        dtypes=THEN_WHOLE,
        trainable=(0, 2),
    ),
    "ScatterND": Op(
        "ScatterND",
        (3, 3),
        _scatter_nd_shapes,
        _scatter_nd,
        no_flops,
        {"reduction": _REDUCTION},
        dtypes=THEN_INT64,
        trainable=(0, 2),
    ),
    "OneHot": Op(
        "OneHot",
        (3, 3),
        _one_hot_shapes,
        _one_hot,
        _one_hot_flops,
        {"axis": AttrSpec("int", -1)},
        dtypes=Dtypes(ALL_NUMBERS, {1: ALL_NUMBERS, 2: DTYPES}, {0: 2}),
        trainable=(),
    ),
    "Compress": Op(
        "Compress",
        (2, 2),
        _compress_shapes,
        _compress,
        no_flops,
        {"axis": AttrSpec("int")},
        dtypes=Dtypes(DTYPES, {1: ("bool",)}),
        trainable=(0,),
    ),
}
