"""Whole numbers that stand for real ones: a scale and a zero point for a tensor, an axis of it or blocks along one."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.convolution import CONVOLUTION
from esp.astore.ops.dense import DENSE
from esp.astore.ops.row import Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, expect, fixed, is_batch, one_flop_each, show
from esp.errors import GraphError

_SMALL = ("int8", "uint8")
_STORED = (*_SMALL, "int16", "uint16")
_REAL = ("float32", "float16")
_NUMBERED = {0: "uint8", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}  # by ONNX's number of a dtype


def _scaled_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, scale = given_shape(shapes[0]), given_shape(shapes[1])
    if len(shapes) > 2:
        expect("zero point", shapes[2], scale)
    if scale not in ((), (1,)):
        _check_axis(attrs, x, scale)
    return [x]


def _check_axis(attrs: Attrs, x: Shape, scale: Shape) -> None:
    """Raises GraphError unless the scale has one number for each of an axis, or for each block of ``block_size`` along it."""
    axis, block = axis_of(attrs["axis"], len(x)), attrs["block_size"]
    size = fixed(x[axis], f"axis {axis}, which has a scale for each number,")
    wanted = (*x[:axis], -(-size // block), *x[axis + 1 :]) if block > 0 else (size,)
    if scale != wanted:
        raise GraphError(f"the scale of {show(x)} along axis {axis} is {show(scale)}", mend=f"give it the shape {show(wanted)}")


def _spread(attrs: Attrs, x: Array, array: Array | None) -> Array:
    """A scale or zero point (0 where left out) that broadcasts to ``x``."""
    if array is None or array.size == 1:
        return np.zeros((), np.int32) if array is None else array.reshape(())
    axis = attrs["axis"] % x.ndim
    if attrs["block_size"] > 0:
        repeated = np.repeat(array, attrs["block_size"], axis)
        return np.asarray(repeated[(slice(None),) * axis + (slice(x.shape[axis]),)])
    return array.reshape(-1, *(1,) * (x.ndim - axis - 1))


def _third(inputs: Sequence[Array | None]) -> Array | None:
    return inputs[2] if len(inputs) > 2 else None


def _quantise(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, zero = given(inputs[0]), _third(inputs)
    dtype = np.dtype(_NUMBERED[attrs["output_dtype"]]) if zero is None else zero.dtype
    return [_stored(x / _spread(attrs, x, inputs[1]), _spread(attrs, x, zero), dtype)]


def _stored(x: Array, zero: Array, dtype: np.dtype[np.generic]) -> Array:
    """``x`` rounded, halves to even, put around the zero point and kept within the dtype."""
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    return np.clip(np.nan_to_num(np.rint(x).astype(np.float64)) + zero, limits.min, limits.max).astype(dtype)


def _dequantise(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, scale = given(inputs[0]), given(inputs[1])
    apart = x.astype(np.int64) - _spread(attrs, x, _third(inputs))
    return [np.asarray(apart.astype(np.float32) * _spread(attrs, x, scale).astype(np.float32)).astype(scale.dtype)]


def _dynamic_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    if any(map(is_batch, x)):
        raise GraphError(f"one scale for all of {show(x)} would mix the rows of a batch", mend="quantise with constant scales")
    if 0 in x:
        raise GraphError(f"{show(x)} has no numbers to take a scale of", mend="quantise what has numbers")
    return [x, (), ()]


def _dynamic(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    low, high = np.minimum(x.min(), 0), np.maximum(x.max(), 0)
    scale = np.asarray((high - low) / np.float32(255), np.float32)
    step = scale if scale > 0 else np.float32(1)
    zero = _stored(np.asarray(-low / step), np.zeros(()), np.dtype(np.uint8))
    return [_stored(x / step, zero, np.dtype(np.uint8)), scale, zero][:outputs]


def _product_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    left, right = given_shape(shapes[0]), given_shape(shapes[1])
    made = DENSE["MatMul"].shapes({}, [left, right], constants[:2])
    zeros = [*shapes[2:], None, None][:2]
    rows = () if len(left) < 2 else (left[-2],)
    _expect_any("a_zero_point", zeros[0], ((), (1,), rows, (*left[:-1], 1)))
    _expect_any("b_zero_point", zeros[1], ((), (1,), right[-1:], (*right[:-2], 1, *right[-1:])))
    return made


def _expect_any(what: str, shape: Shape | None, wanted: Sequence[Shape]) -> None:
    if shape is not None and shape not in wanted:
        raise GraphError(f"{what} has the shape {show(shape)}", mend=f"give it one of: {', '.join(map(show, wanted))}")


def _product(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    left, right = given(inputs[0]).astype(np.int64), given(inputs[1]).astype(np.int64)
    left_zero, right_zero = [*inputs[2:], None, None][:2]
    if left_zero is not None:
        left = left - (left_zero[:, None] if left_zero.ndim == 1 and left_zero.size > 1 else left_zero)
    if right_zero is not None:
        right = right - right_zero
    return [np.asarray(left @ right).astype(np.int32)]


def _conv_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    made = CONVOLUTION["Conv"].shapes(attrs, shapes[:2], constants[:2])
    zeros = [*shapes[2:], None, None][:2]
    _expect_any("x_zero_point", zeros[0], ((), (1,)))
    _expect_any("w_zero_point", zeros[1], ((), (1,), given_shape(shapes[1])[:1]))
    return made


def _conv(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, w = given(inputs[0]).astype(np.int64), given(inputs[1]).astype(np.int64)
    x_zero, w_zero = [*inputs[2:], None, None][:2]
    x = x if x_zero is None else x - x_zero.reshape(())
    w = w if w_zero is None else w - w_zero.reshape(-1, *(1,) * (w.ndim - 1))
    return [CONVOLUTION["Conv"].reference(attrs, [x, w], 1)[0].astype(np.int32)]


def _first_two(op: Op, attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return op.flops(attrs, ins[:2], outs)


_AXIS = {"axis": AttrSpec("int", 1), "block_size": AttrSpec("int", 0)}
_QUANTISE_ATTRS = {**_AXIS, "output_dtype": AttrSpec("int", 0, choices=tuple(_NUMBERED)), "saturate": AttrSpec("int", 1)}


class _ByZeroPoint(Dtypes):
    """QuantizeLinear gives the dtype of its zero point, or where there is none the one that an attribute names."""

    def _output(self, attrs: Attrs, dtypes: Sequence[str | None], index: int) -> str:
        return (dtypes[2] if len(dtypes) > 2 else None) or _NUMBERED[attrs["output_dtype"]]


_PRODUCT_DTYPES = Dtypes(_SMALL, {1: _SMALL, 3: 1}, {0: "int32"})

QUANTISATION = {
    "QuantizeLinear": Op(
        "QuantizeLinear", (2, 3), _scaled_shapes, _quantise, one_flop_each, _QUANTISE_ATTRS,
        dtypes=_ByZeroPoint((*_REAL, "int32"), {1: _REAL, 2: _STORED}), trainable=(),
    ),
    "DequantizeLinear": Op(
        "DequantizeLinear", (2, 3), _scaled_shapes, _dequantise, one_flop_each, _AXIS,
        dtypes=Dtypes((*_STORED, "int32"), {1: _REAL}, {0: 1}), trainable=(),
    ),
    "DynamicQuantizeLinear": Op(
        "DynamicQuantizeLinear", (1, 1), _dynamic_shapes, _dynamic, one_flop_each, outputs=(3, 3),
        dtypes=Dtypes(("float32",), outputs={0: "uint8", 1: "float32", 2: "uint8"}), trainable=(),
    ),
    "MatMulInteger": Op(
        "MatMulInteger", (2, 4), _product_shapes, _product, lambda attrs, ins, outs: _first_two(DENSE["MatMul"], attrs, ins, outs),
        dtypes=_PRODUCT_DTYPES, trainable=(),
    ),
    "ConvInteger": Op(
        "ConvInteger", (2, 4), _conv_shapes, _conv, lambda attrs, ins, outs: _first_two(CONVOLUTION["Conv"], attrs, ins, outs),
        CONVOLUTION["Conv"].attrs, dtypes=_PRODUCT_DTYPES, trainable=(),
    ),
}  # fmt: skip
