"""Ops of two tensors, number by number, with NumPy's broadcasting."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.astore.ops.row import NUMBERS, Array, Attrs, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import broadcast, one_flop_each


def _shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return [broadcast(given_shape(shapes[0]), given_shape(shapes[1]))]


def divide(left: Array, right: Array) -> Array:
    """Quotient; of integers rounded towards zero, as in C."""
    if np.issubdtype(left.dtype, np.integer):
        quotient, rest = np.divmod(left, right)
        return np.asarray(quotient + ((rest != 0) & ((left < 0) != (right < 0))), dtype=left.dtype)
    return np.asarray(np.true_divide(left, right))


def _binary(name: str, function: Callable[[Array, Array], Array]) -> Op:
    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        return [np.asarray(function(given(inputs[0]), given(inputs[1])))]

    return Op(name, (2, 2), _shapes, reference, one_flop_each, dtypes=Dtypes(NUMBERS))


ARITHMETIC = {
    "Add": _binary("Add", np.add),
    "Sub": _binary("Sub", np.subtract),
    "Mul": _binary("Mul", np.multiply),
    "Div": _binary("Div", divide),
}
