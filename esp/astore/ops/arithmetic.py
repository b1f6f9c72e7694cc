"""Arithmetic of two or more tensors, number by number, with NumPy's broadcasting."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from esp.astore.ops import sizes
from esp.astore.ops.pointwise import FLAG, binary, broadcast_all, pairwise, variadic
from esp.astore.ops.row import ALL_NUMBERS, MANY, REALS, Array, Attrs, Dtypes, Op, Shape, given
from esp.astore.ops.rules import one_flop_each, size_of


def divide(left: Array, right: Array) -> Array:
    """Quotient; of integers rounded towards zero, as in C."""
    if np.issubdtype(left.dtype, np.integer):
        quotient, rest = np.divmod(left, right)
        return np.asarray(quotient + ((rest != 0) & ((left < 0) != (right < 0))), dtype=left.dtype)
    return np.asarray(np.true_divide(left, right))


def power(base: Array, exponent: Array) -> Array:
    """``base`` ** ``exponent`` in the dtype of ``base``; whole numbers to a negative power round towards zero."""
    if base.dtype.kind == "f" or exponent.dtype.kind == "f":
        return np.asarray(np.power(base, exponent))
    whole = np.power(base, np.maximum(exponent, 0).astype(base.dtype))
    part = np.trunc(np.power(base, exponent, dtype=np.float64)).astype(base.dtype)
    return np.where(exponent < 0, part, whole)


def _mod(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    compute = pairwise(np.fmod if attrs["fmod"] else np.mod)
    return [compute(given(inputs[0]), given(inputs[1]))]


def _mean(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [np.asarray(reduce(np.add, map(given, inputs)) / given(inputs[0]).dtype.type(len(inputs)))]


def _mean_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(outs[0]) * len(ins)


_NUMBERS = Dtypes(ALL_NUMBERS)
_POWERS = Dtypes((*REALS, "int32", "int64"), {1: ALL_NUMBERS})

ARITHMETIC = {
    "Add": binary("Add", np.add, _NUMBERS, sizes.add),
    "Sub": binary("Sub", np.subtract, _NUMBERS, sizes.subtract),
    "Mul": binary("Mul", np.multiply, _NUMBERS, sizes.multiply),
    "Div": binary("Div", divide, _NUMBERS, sizes.quotient),
    "Pow": binary("Pow", power, _POWERS, trainable=(0,)),
    "Mod": Op("Mod", (2, 2), broadcast_all, _mod, one_flop_each, {"fmod": FLAG}, dtypes=_NUMBERS, trainable=()),
    "Sum": variadic("Sum", np.add, REALS),
    "Max": variadic("Max", np.maximum, ALL_NUMBERS, sizes.larger),
    "Min": variadic("Min", np.minimum, ALL_NUMBERS, sizes.smaller),
    "Mean": Op("Mean", (1, MANY), broadcast_all, _mean, _mean_flops, dtypes=Dtypes(REALS)),
}
