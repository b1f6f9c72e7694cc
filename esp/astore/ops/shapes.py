"""Ops that tell shapes, and those that make tensors out of a shape or of nothing."""

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

import numpy as np

from esp.astore.ops.cast import dtype_of_code
from esp.astore.ops.dims import Dim, Rows, of_rows
from esp.astore.ops.parameters import array_of, expect_one
from esp.astore.ops.row import DTYPES, Array, Attrs, AttrSpec, Dtypes, Op, Shape, Tensor, given, given_shape
from esp.astore.ops.rules import broadcast, no_flops, one_flop_each, refuse_batch, show, sizes_at
from esp.errors import GraphError

_VALUES = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}
_ZERO = Tensor.of(np.zeros(1, np.float32))


def _shape_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return [(len(given_shape(shapes[0])[attrs["start"] : attrs["end"]]),)]


def _shape(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.array(given(inputs[0]).shape[attrs["start"] : attrs["end"]], np.int64)]


def _size_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return [()]


def _size(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.array(given(inputs[0]).size, np.int64)]


def _constant_value(attrs: Attrs) -> Array:
    said = [name for name in ("value", *_VALUES) if attrs[name] is not None]
    if len(said) != 1:
        raise GraphError(
            f"a constant wants one value, got {', '.join(said) or 'none'}", mend=f"give value or one of: {', '.join(_VALUES)}"
        )
    value = attrs[said[0]]
    if isinstance(value, Tensor):
        return array_of(value, "the value")
    try:
        return np.array(value, _VALUES[said[0]])
    except OverflowError as err:
        raise GraphError(f"{said[0]} does not fit into int64", mend="give a smaller number") from err


def _constant_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return [_constant_value(attrs).shape]


def _constant(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [_constant_value(attrs)]


def _constant_dtype(attrs: Attrs) -> str:
    return _constant_value(attrs).dtype.name


def _expect_list(shape: Shape | None) -> None:
    if shape is None or len(shape) != 1:
        raise GraphError(f"the shape wants a list of sizes, got shape {show(shape)}", mend="give a tensor of one axis")


def _fill_of(attrs: Attrs) -> Array:
    value = array_of(attrs["value"], "the value")
    if value.size != 1:
        raise GraphError(f"the value wants one number, got {value.size}", mend="give one")
    return value.reshape(())


def _sizes(constants: Sequence[Array | None], index: int) -> tuple[Dim, ...]:
    sizes = sizes_at(constants, index, "the shape")
    if any(isinstance(size, int) and size < 0 for size in sizes):
        raise GraphError(f"shape {show(tuple(sizes))} has a size below 0", mend="give sizes of 0 or more")
    return tuple(sizes)


def _fill_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    _expect_list(shapes[0])
    _fill_of(attrs)
    return [_sizes(constants, 0)]


def _fill(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    value = _fill_of(attrs)
    return [np.full(given(inputs[0]).tolist(), value, value.dtype)]


def _fill_dtype(attrs: Attrs) -> str:
    return _fill_of(attrs).dtype.name


def _count(start: Any, limit: Any, delta: Any) -> Dim:
    """How many numbers lie from ``start`` to ``limit`` in steps of ``delta``."""
    if isinstance(limit, Rows) and not isinstance(start, Rows) and start == 0 and not isinstance(delta, Rows) and delta > 0:
        if delta != int(delta) or limit.times % int(delta):
            raise GraphError(f"a range to {limit} in steps of {delta} has no fixed count for a row", mend="use a step of 1")
        return of_rows(limit.times // int(delta))
    if any(isinstance(number, Rows) for number in (start, limit, delta)):
        raise GraphError(f"a range from {start} to {limit} in steps of {delta} mixes rows", mend="let it go from 0 to N")
    if delta == 0 or not all(map(isfinite, (start, limit, delta))):
        raise GraphError(f"a range from {start} to {limit} in steps of {delta} has no end", mend="use finite numbers, a step not 0")
    is_whole = all(isinstance(number, int) for number in (start, limit, delta))
    count = -((start - limit) // delta) if is_whole else (limit - start) / delta
    if not isfinite(count):
        raise GraphError(f"a range from {start} to {limit} in steps of {delta} is too long", mend="use a larger step")
    whole_count: int = ceil(count)
    return max(whole_count, 0)


def _range_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    for what, shape in zip(("start", "limit", "delta"), shapes):
        expect_one(f"the {what}", shape)
    if any(array is None or array.size != 1 for array in constants):
        raise GraphError("start, limit and delta are not all constants", mend="make them constant weights, or sizes of a shape")
    return [(_count(*(given(array).reshape(-1).tolist()[0] for array in constants)),)]


def _range(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    start, limit, delta = (given(array).reshape(()) for array in inputs)
    count = _count(start.item(), limit.item(), delta.item())
    assert isinstance(count, int)
    return [(start + np.arange(count) * delta).astype(start.dtype)]


def _expand_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    _expect_list(shapes[1])
    return [broadcast(given_shape(shapes[0]), _sizes(constants, 1))]


def _expand(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    shape = np.broadcast_shapes(x.shape, tuple(given(inputs[1]).tolist()))
    return [np.broadcast_to(x, shape).copy()]


def _eye_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    if len(shape) != 2:
        raise GraphError(f"wants a matrix, got {show(shape)}", mend="give a tensor of two axes")
    for axis in (0, 1):
        refuse_batch(shape, axis, "a diagonal over")
    if attrs["dtype"] is not None:
        dtype_of_code(attrs["dtype"])  # refuses what no tensor can have
    return [shape]


def _eye(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    dtype = x.dtype if attrs["dtype"] is None else np.dtype(dtype_of_code(attrs["dtype"]))
    return [np.eye(x.shape[0], x.shape[1], attrs["k"], dtype)]


def _eye_dtype(attrs: Attrs) -> str | int:
    return 0 if attrs["dtype"] is None else dtype_of_code(attrs["dtype"])


_CONSTANT_ATTRS = {
    "value": AttrSpec("tensor"),
    "value_float": AttrSpec("float"),
    "value_floats": AttrSpec("floats"),
    "value_int": AttrSpec("int"),
    "value_ints": AttrSpec("ints"),
}
_TOLD = Dtypes(DTYPES, outputs={0: "int64"})
_RANGED = Dtypes(("float16", "float32", "float64", "int16", "int32", "int64"))

SHAPES = {
    "Shape": Op(
        "Shape",
        (1, 1),
        _shape_shapes,
        _shape,
        no_flops,
        {"start": AttrSpec("int", 0), "end": AttrSpec("int")},
        dtypes=_TOLD,
        trainable=(),
    ),
    "Size": Op("Size", (1, 1), _size_shapes, _size, no_flops, dtypes=_TOLD, trainable=()),
    "Constant": Op(
        "Constant", (0, 0), _constant_shapes, _constant, no_flops, _CONSTANT_ATTRS, dtypes=Dtypes(outputs={0: _constant_dtype})
    ),
    "ConstantOfShape": Op(
        "ConstantOfShape",
        (1, 1),
        _fill_shapes,
        _fill,
        no_flops,
        {"value": AttrSpec("tensor", _ZERO)},
        dtypes=Dtypes(("int64",), outputs={0: _fill_dtype}),
    ),
    "Range": Op("Range", (3, 3), _range_shapes, _range, one_flop_each, dtypes=_RANGED, trainable=()),
    "Expand": Op("Expand", (2, 2), _expand_shapes, _expand, no_flops, dtypes=Dtypes(DTYPES, {1: ("int64",)}), trainable=(0,)),
    "EyeLike": Op(
        "EyeLike",
        (1, 1),
        _eye_shapes,
        _eye,
        no_flops,
        {"dtype": AttrSpec("int"), "k": AttrSpec("int", 0)},
        dtypes=Dtypes(DTYPES, outputs={0: _eye_dtype}),
        trainable=(),
    ),
}
