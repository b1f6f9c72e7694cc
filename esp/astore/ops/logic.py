"""Comparison, logic, work on bits, and the choice between two tensors."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.astore.ops import sizes
from esp.astore.ops.pointwise import binary, broadcast_all, unary
from esp.astore.ops.row import ALL_NUMBERS, DTYPES, INTEGERS, REALS, Array, Attrs, AttrSpec, Dtypes, Op, given
from esp.astore.ops.rules import one_flop_each


def _compare(
    name: str, function: Callable[[Array, Array], Array], of_sizes: sizes.OfSizes, allowed: tuple[str, ...] = ALL_NUMBERS
) -> Op:
    return binary(name, function, Dtypes(allowed), of_sizes, makes="bool", trainable=())


def _is_inf(x: Array, detect_negative: int, detect_positive: int) -> Array:
    return np.isinf(x) & (((x < 0) & bool(detect_negative)) | ((x > 0) & bool(detect_positive)))


def _bit_shift(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    shift = np.left_shift if attrs["direction"] == "LEFT" else np.right_shift
    return [np.asarray(shift(given(inputs[0]), given(inputs[1])))]


def _where(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.where(given(inputs[0]), given(inputs[1]), given(inputs[2]))]


_WAYS = {"detect_negative": AttrSpec("int", 1, choices=(0, 1)), "detect_positive": AttrSpec("int", 1, choices=(0, 1))}
_DIRECTION = {"direction": AttrSpec("string", is_required=True, choices=("LEFT", "RIGHT"))}
_CHOICE = Dtypes(DTYPES, {0: ("bool",), 1: DTYPES, 2: 1}, {0: 1})

LOGIC = {
    "Equal": _compare("Equal", np.equal, sizes.equal, DTYPES),
    "Less": _compare("Less", np.less, sizes.less),
    "LessOrEqual": _compare("LessOrEqual", np.less_equal, sizes.less_or_equal),
    "Greater": _compare("Greater", np.greater, lambda left, right: sizes.less(right, left)),
    "GreaterOrEqual": _compare("GreaterOrEqual", np.greater_equal, lambda left, right: sizes.less_or_equal(right, left)),
    "Not": unary("Not", np.logical_not, ("bool",)),
    "And": binary("And", np.logical_and, Dtypes(("bool",))),
    "Or": binary("Or", np.logical_or, Dtypes(("bool",))),
    "Xor": binary("Xor", np.logical_xor, Dtypes(("bool",))),
    "IsNaN": unary("IsNaN", np.isnan, REALS, makes="bool", trainable=()),
    "IsInf": unary("IsInf", _is_inf, REALS, _WAYS, makes="bool", trainable=()),
    "BitwiseAnd": binary("BitwiseAnd", np.bitwise_and, Dtypes(INTEGERS)),
    "BitwiseOr": binary("BitwiseOr", np.bitwise_or, Dtypes(INTEGERS)),
    "BitwiseXor": binary("BitwiseXor", np.bitwise_xor, Dtypes(INTEGERS)),
    "BitwiseNot": unary("BitwiseNot", np.bitwise_not, INTEGERS),
    "BitShift": Op("BitShift", (2, 2), broadcast_all, _bit_shift, one_flop_each, _DIRECTION, dtypes=Dtypes(INTEGERS)),
    "Where": Op("Where", (3, 3), broadcast_all, _where, one_flop_each, dtypes=_CHOICE),
}
