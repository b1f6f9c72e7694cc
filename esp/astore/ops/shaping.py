"""Ops that move numbers about without changing them."""

from collections.abc import Sequence
from math import prod

import numpy as np

from esp.astore.ops.dims import Dim, Unknown, of_rows, outer_of, rows_in
from esp.astore.ops.row import DTYPES, MANY, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, batch_axis, fixed, no_flops, per_row, refuse_batch, same_shape, show, size_of, sizes_at
from esp.errors import GraphError

_ANY = Dtypes(DTYPES)


def _lost(shape: Shape, wanted: str) -> GraphError:
    mend = "keep the batch an axis of its own: 0 or -1 in its place, the others fixed"
    return GraphError(f"the batch of {show(shape)} is lost in {wanted}", mend=mend)


def _identity(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [given(inputs[0])]


def _flatten_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    axis = axis_of(attrs["axis"], len(shape), extra=1)
    halves = []
    for part in (shape[:axis], shape[axis:]):
        at = batch_axis(part)
        halves.append(size_of(part) if at is None else of_rows(size_of(part), size_of(part[:at]) * outer_of(part[at])))
    return [tuple(halves)]


def _flatten(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    axis = axis_of(attrs["axis"], x.ndim, extra=1)
    return [x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))]


def _wanted(target: Sequence[Dim], shape: Shape, allowzero: bool) -> list[Dim]:
    """The target with 0 (the input's own size, unless ``allowzero``) filled in; -1 stays."""
    if len([size for size in target if size == -1]) > 1 or any(isinstance(size, int) and size < -1 for size in target):
        raise GraphError(f"shape {show(tuple(target))} has more than one -1 or a size below it", mend="leave one size open")
    wanted: list[Dim] = []
    for axis, size in enumerate(target):
        if size == 0 and not allowzero and axis >= len(shape):
            raise GraphError(f"shape {show(tuple(target))} copies axis {axis}, which {show(shape)} lacks", mend="give the size")
        wanted.append(shape[axis] if size == 0 and not allowzero else size)
    return wanted


def reshaped(shape: Shape, target: Sequence[Dim], allowzero: bool = False) -> Shape:
    """The shape that Reshape gives, the batch kept an axis of its own or a part of one.

    >>> show(reshaped((None, 4, 6), (0, -1))), show(reshaped((None, 4, 6), (-1, 6)))
    ('[N, 24]', '[4N, 6]')
    >>> merged = reshaped((5, None, 6), (-1, 6))
    >>> show(merged), show(reshaped(merged, (5, -1, 2, 3)))
    ('[5*N, 6]', '[5, N, 2, 3]')
    """
    wanted, said = _wanted(target, shape, allowzero), f"shape {show(tuple(target))}"
    batch = batch_axis(shape)
    if any(isinstance(size, Unknown) for size in (*shape, *wanted)):
        raise GraphError(f"{show(shape)} has a size that depends on the data", mend="reshape before it does")
    if -1 in wanted:
        known = prod(per_row(size) for size in wanted if size != -1)
        if not known:
            raise GraphError(f"{said} leaves a size open beside one of 0", mend="give all sizes")
        left_over, rest = divmod(size_of(shape), known)
        is_batch = batch is not None and not any(map(rows_in, wanted))
        if is_batch and (left_over == 0 or rest):
            raise _lost(shape, said)
        wanted[wanted.index(-1)] = of_rows(left_over) if is_batch else left_over
    result = tuple(wanted)
    lies = batch_axis(result)
    if batch is not None and lies is None:
        raise _lost(shape, said)
    if size_of(result) != size_of(shape) or (batch is None and lies is not None):
        raise GraphError(f"{show(shape)} does not fit {said}", mend="make the sizes' products equal")
    if batch is None or lies is None:
        return result
    outer, rest = divmod(size_of(shape[:batch]) * outer_of(shape[batch]), size_of(result[:lies]) or 1)
    times = rows_in(result[lies])
    if rest or outer == 0 or times % outer:
        raise _lost(shape, said)  # it would lie across the axes
    return (*result[:lies], of_rows(times, outer), *result[lies + 1 :])


def _reshape_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return [reshaped(given_shape(shapes[0]), sizes_at(constants, 1, "the shape"), bool(attrs["allowzero"]))]


def _reshape(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    target = [int(size) for size in given(inputs[1])]
    return [x.reshape([x.shape[axis] if size == 0 and not attrs["allowzero"] else size for axis, size in enumerate(target)])]


def _transpose_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    shape = given_shape(shapes[0])
    perm = attrs["perm"] if attrs["perm"] is not None else tuple(reversed(range(len(shape))))
    if sorted(perm) != list(range(len(shape))):
        raise GraphError(f"perm {list(perm)} is no order of the axes of {show(shape)}", mend="name each axis once")
    return [tuple(shape[axis] for axis in perm)]


def _transpose(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.transpose(given(inputs[0]), attrs["perm"])]


def _concat_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    if None in shapes:
        raise GraphError("an input is left out", mend="name every input")
    parts = [given_shape(shape) for shape in shapes]
    axis = axis_of(attrs["axis"], len(parts[0]))
    total = 0
    for part in parts:
        if len(part) != len(parts[0]) or (*part[:axis], *part[axis + 1 :]) != (*parts[0][:axis], *parts[0][axis + 1 :]):
            raise GraphError(f"{show(parts[0])} and {show(part)} differ off axis {axis}", mend="make the other sizes equal")
        refuse_batch(part, axis, "joining along")
        total += fixed(part[axis], f"axis {axis} of {show(part)}")
    return [(*parts[0][:axis], total, *parts[0][axis + 1 :])]


def _concat(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.concatenate([given(array) for array in inputs], axis=attrs["axis"])]


_RESHAPE = Op(
    "Reshape",
    (2, 2),
    _reshape_shapes,
    _reshape,
    no_flops,
    {"allowzero": AttrSpec("int", 0, choices=(0, 1))},
    dtypes=Dtypes(DTYPES, {1: ("int64",)}),
    trainable=(),
)

SHAPING = {
    "Identity": Op("Identity", (1, 1), same_shape, _identity, no_flops, dtypes=_ANY),
    "Flatten": Op("Flatten", (1, 1), _flatten_shapes, _flatten, no_flops, {"axis": AttrSpec("int", 1)}, dtypes=_ANY),
    "Reshape": _RESHAPE,
    "Transpose": Op("Transpose", (1, 1), _transpose_shapes, _transpose, no_flops, {"perm": AttrSpec("ints")}, dtypes=_ANY),
    "Concat": Op("Concat", (1, MANY), _concat_shapes, _concat, no_flops, {"axis": AttrSpec("int", is_required=True)}, dtypes=_ANY),
}
