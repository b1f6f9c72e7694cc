"""Products of matrices: Gemm and MatMul."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.row import REALS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import broadcast, per_row, refuse_batch, show, size_of
from esp.errors import GraphError


def _inner(left: Shape, right: Shape, left_axis: int, right_axis: int) -> None:
    """Raises GraphError unless the axes summed over are equal and neither is the batch."""
    refuse_batch(left, left_axis, "summing over")
    refuse_batch(right, right_axis, "summing over")
    if left[left_axis] != right[right_axis]:
        what = f"{show(left)} times {show(right)} sums over {left[left_axis]} and {right[right_axis]}"
        raise GraphError(what, mend="make the inner sizes equal")


def _gemm_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    left, right = given_shape(shapes[0]), given_shape(shapes[1])
    if len(left) != 2 or len(right) != 2:
        raise GraphError(f"wants two matrices, got {show(left)} and {show(right)}", mend="flatten the input first")
    left_inner, right_inner = (0 if attrs["transA"] else 1), (1 if attrs["transB"] else 0)
    _inner(left, right, left_inner, right_inner)
    out = (left[1 - left_inner], right[1 - right_inner])
    bias = shapes[2] if len(shapes) > 2 else None
    if bias is not None and broadcast(bias, out) != out:
        raise GraphError(f"bias {show(bias)} does not broadcast to {show(out)}", mend="give it one number a column")
    return [out]


def _gemm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    left, right = given(inputs[0]), given(inputs[1])
    product = (left.T if attrs["transA"] else left) @ (right.T if attrs["transB"] else right)
    out = product.dtype.type(attrs["alpha"]) * product
    if len(inputs) > 2 and inputs[2] is not None:
        out = out + out.dtype.type(attrs["beta"]) * inputs[2]
    return [np.asarray(out)]


def _gemm_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    inner = given_shape(ins[0])[0 if attrs["transA"] else 1]
    biased = len(ins) > 2 and ins[2] is not None
    return size_of(outs[0]) * (2 * per_row(inner) + biased)


def _matmul_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    left, right = given_shape(shapes[0]), given_shape(shapes[1])
    if not left or not right:
        raise GraphError(f"wants one axis or more, got {show(left)} and {show(right)}", mend="use Mul for a scalar")
    _inner(left, right, -1, -2 if len(right) > 1 else -1)
    return [(*broadcast(left[:-2], right[:-2]), *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))]


def _matmul(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.asarray(given(inputs[0]) @ given(inputs[1]))]


def _matmul_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 2 * size_of(outs[0]) * per_row(given_shape(ins[0])[-1])


_GEMM_ATTRS = {
    "alpha": AttrSpec("float", 1.0),
    "beta": AttrSpec("float", 1.0),
    "transA": AttrSpec("int", 0, choices=(0, 1)),
    "transB": AttrSpec("int", 0, choices=(0, 1)),
}

_DTYPES = Dtypes((*REALS, "int32", "int64", "uint32", "uint64"))

DENSE = {
    "Gemm": Op("Gemm", (2, 3), _gemm_shapes, _gemm, _gemm_flops, _GEMM_ATTRS, dtypes=_DTYPES),
    "MatMul": Op("MatMul", (2, 2), _matmul_shapes, _matmul, _matmul_flops, dtypes=_DTYPES),
}
