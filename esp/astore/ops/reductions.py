"""Ops that fold or scan axes: the Reduce family, ArgMax and ArgMin, CumSum and CumProd. The batch is never folded."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.astore.ops.arithmetic import divide
from esp.astore.ops.pointwise import FLAG
from esp.astore.ops.row import ALL_NUMBERS, REALS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, numbers_at, one_flop_each, refuse_batch, show, size_of
from esp.errors import GraphError

Axes = tuple[int, ...]
Fold = Callable[[Array, Axes], Array]


def _whole(constants: Sequence[Array | None], what: str) -> list[int]:
    """The numbers of input 1. Raises GraphError unless they are known and whole."""
    array = numbers_at(constants, 1, what)
    if array.dtype.kind not in "iu":
        raise GraphError(f"{what} (input 1) are {array.dtype.name}, whole numbers are wanted", mend="give int64")
    return [int(number) for number in array.reshape(-1)]


def _axes(attrs: Attrs, shape: Shape, constants: Sequence[Array | None], is_given: bool) -> Axes:
    """The axes to fold; without any in the node all of them, or none where the attribute says so."""
    axes = tuple(axis_of(axis, len(shape)) for axis in _whole(constants, "the axes")) if is_given else ()
    if len(set(axes)) < len(axes):
        raise GraphError(f"axes {list(axes)} name one twice", mend="name each axis once")
    return axes if axes or attrs["noop_with_empty_axes"] else tuple(range(len(shape)))


def _reduce_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    axes = _axes(attrs, shape, constants, len(shapes) > 1 and shapes[1] is not None)
    for axis in axes:
        refuse_batch(shape, axis, "reducing")
    return [_folded(shape, axes, bool(attrs["keepdims"]))]


def _folded(shape: Shape, axes: Axes, keeps: bool) -> Shape:
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keeps or axis not in axes)


def _reduce_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(ins[0])


def _sum(x: Array, axes: Axes) -> Array:
    return np.asarray(np.sum(x, axis=axes, dtype=x.dtype, keepdims=True))


def _prod(x: Array, axes: Axes) -> Array:
    return np.asarray(np.prod(x, axis=axes, dtype=x.dtype, keepdims=True))


def _mean(x: Array, axes: Axes) -> Array:
    count = np.prod([x.shape[axis] for axis in axes], dtype=np.int64)
    return divide(_sum(x, axes), count.astype(x.dtype))


def _least_of(dtype: np.dtype) -> float | int | bool:
    return False if dtype.kind == "b" else -np.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)


def _most_of(dtype: np.dtype) -> float | int | bool:
    return True if dtype.kind == "b" else np.inf if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _max(x: Array, axes: Axes) -> Array:
    return np.asarray(np.max(x, axis=axes, keepdims=True, initial=_least_of(x.dtype)))


def _min(x: Array, axes: Axes) -> Array:
    return np.asarray(np.min(x, axis=axes, keepdims=True, initial=_most_of(x.dtype)))


def _log_sum_exp(x: Array, axes: Axes) -> Array:
    wide = x if x.dtype.kind == "f" else x.astype(np.float64)
    largest = _max(wide, axes)
    largest = np.where(np.isfinite(largest), largest, wide.dtype.type(0))
    return np.asarray(np.log(_sum(np.exp(wide - largest), axes)) + largest)


_REDUCE_ATTRS = {"keepdims": AttrSpec("int", 1, choices=(0, 1)), "noop_with_empty_axes": FLAG}
_WIDE = (*REALS, "int32", "int64", "uint32", "uint64")


def _reduce(name: str, fold: Fold, allowed: tuple[str, ...] = _WIDE) -> Op:
    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        x, named = given(inputs[0]), inputs[1] if len(inputs) > 1 else None
        axes = _axes(attrs, x.shape, (None, named), named is not None)
        made = np.asarray(fold(x, axes), dtype=x.dtype)
        return [made if attrs["keepdims"] else made.squeeze(axes)]

    dtypes = Dtypes(allowed, {1: ("int64",)})
    return Op(name, (1, 2), _reduce_shapes, reference, _reduce_flops, _REDUCE_ATTRS, dtypes=dtypes)


def _arg_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    axis = axis_of(attrs["axis"], len(shape))
    refuse_batch(shape, axis, "searching")
    if shape[axis] == 0:
        raise GraphError(f"axis {axis} of {show(shape)} is empty", mend="search an axis with numbers")
    return [_folded(shape, (axis,), bool(attrs["keepdims"]))]


def _arg(name: str, search: Callable[..., Array]) -> Op:
    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        x, axis, keeps = given(inputs[0]), attrs["axis"], bool(attrs["keepdims"])
        if not attrs["select_last_index"]:
            return [np.asarray(search(x, axis=axis, keepdims=keeps), dtype=np.int64)]
        return [np.asarray(x.shape[axis] - 1 - search(np.flip(x, axis), axis=axis, keepdims=keeps), dtype=np.int64)]

    attrs = {"axis": AttrSpec("int", 0), "keepdims": AttrSpec("int", 1, choices=(0, 1)), "select_last_index": FLAG}
    dtypes = Dtypes(ALL_NUMBERS, outputs={0: "int64"})
    return Op(name, (1, 1), _arg_shapes, reference, _reduce_flops, attrs, dtypes=dtypes, trainable=())


def _scan_axis(constants: Sequence[Array | None], rank: int) -> int:
    axes = _whole(constants, "the axis")
    if len(axes) != 1:
        raise GraphError(f"the axis is {len(axes)} numbers", mend="give one")
    return axis_of(axes[0], rank)


def _scan_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    refuse_batch(shape, _scan_axis(constants, len(shape)), "running along")
    return [shape]


def _scan(name: str, run: Callable[..., Array], start: int) -> Op:
    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        x = given(inputs[0])
        axis = _scan_axis(inputs, x.ndim)
        ordered = np.moveaxis(np.flip(x, axis) if attrs["reverse"] else x, axis, 0)
        if attrs["exclusive"]:
            ordered = np.concatenate([np.full_like(ordered[:1], start), ordered[:-1]])
        made = np.moveaxis(run(ordered, axis=0, dtype=x.dtype), 0, axis)
        return [np.flip(made, axis) if attrs["reverse"] else made]

    attrs = {"exclusive": FLAG, "reverse": FLAG}
    return Op(name, (2, 2), _scan_shapes, reference, one_flop_each, attrs, dtypes=Dtypes(_WIDE, {1: ("int32", "int64")}))


REDUCTIONS = {
    "ReduceSum": _reduce("ReduceSum", _sum),
    "ReduceMean": _reduce("ReduceMean", _mean),
    "ReduceProd": _reduce("ReduceProd", _prod),
    "ReduceMax": _reduce("ReduceMax", _max, (*_WIDE, "int8", "uint8", "bool")),
    "ReduceMin": _reduce("ReduceMin", _min, (*_WIDE, "int8", "uint8", "bool")),
    "ReduceL1": _reduce("ReduceL1", lambda x, axes: _sum(np.abs(x), axes)),
    "ReduceL2": _reduce("ReduceL2", lambda x, axes: np.asarray(np.sqrt(_sum(np.square(x), axes)))),
    "ReduceSumSquare": _reduce("ReduceSumSquare", lambda x, axes: _sum(np.square(x), axes)),
    "ReduceLogSum": _reduce("ReduceLogSum", lambda x, axes: np.asarray(np.log(_sum(x, axes)))),
    "ReduceLogSumExp": _reduce("ReduceLogSumExp", _log_sum_exp),
    "ArgMax": _arg("ArgMax", np.argmax),
    "ArgMin": _arg("ArgMin", np.argmin),
    "CumSum": _scan("CumSum", np.cumsum, 0),
    "CumProd": _scan("CumProd", np.cumprod, 1),
}
