"""Rules for functions of one tensor, number by number, and for sums and extremes of several."""

from collections.abc import Callable, Mapping

import numpy as np

from esp.astore.graph import Node
from esp.kernels import plan
from esp.kernels import pointwise as kinds
from esp.runtime.backends.lowering.elementwise import joined, side_of
from esp.runtime.backends.lowering.lowering import Lowering, bounds_of, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value

Form = tuple[int, float, float]  # the kind of the kernel and its two parameters


def _plain(kind: int, alpha: float = 0.0, beta: float = 0.0) -> Callable[[Attrs], Form]:
    return lambda attrs: (kind, alpha, beta)


FORMS: Mapping[str, Callable[[Attrs], Form]] = {
    "Relu": _plain(kinds.CLIP, 0.0, float("inf")),
    "LeakyRelu": lambda attrs: (kinds.LEAKY_RELU, attrs["alpha"], 0.0),
    "ThresholdedRelu": lambda attrs: (kinds.THRESHOLDED_RELU, attrs["alpha"], 0.0),
    "Shrink": lambda attrs: (kinds.SHRINK, attrs["bias"], attrs["lambd"]),
    "Elu": lambda attrs: (kinds.ELU, attrs["alpha"], 1.0),
    "Selu": lambda attrs: (kinds.ELU, attrs["alpha"], attrs["gamma"]),
    "Celu": lambda attrs: (kinds.CELU, attrs["alpha"], 0.0),
    "HardSigmoid": lambda attrs: (kinds.HARD_SIGMOID, attrs["alpha"], attrs["beta"]),
    "HardSwish": _plain(kinds.HARD_SWISH, 1 / 6, 0.5),
    "Tanh": _plain(kinds.TANH),
    "Sigmoid": _plain(kinds.SIGMOID),
    "Swish": lambda attrs: (kinds.SWISH, attrs["alpha"], 0.0),
    "Gelu": lambda attrs: (kinds.GELU_TANH if attrs["approximate"] == "tanh" else kinds.GELU, 0.0, 0.0),
    "Mish": _plain(kinds.MISH),
    "Softplus": _plain(kinds.SOFTPLUS),
    "Softsign": _plain(kinds.SOFTSIGN),
    "Exp": _plain(kinds.EXP),
    "Log": _plain(kinds.LOG),
    "Sqrt": _plain(kinds.SQRT),
    "Abs": _plain(kinds.ABS),
    "Neg": _plain(kinds.NEG),
    "Reciprocal": _plain(kinds.RECIPROCAL),
    "Erf": _plain(kinds.ERF),
}

_POWERS = {2.0: kinds.SQUARE, 3.0: kinds.CUBE}
_JOINS = {"Sum": "Add", "Mean": "Add", "Max": "Max", "Min": "Min"}


def bent(made: Lowering, x: Value, form: Form) -> Value:
    """A function of every number; where they lie stays as it was."""
    kind, alpha, beta = form
    out = Buffer(x.room)
    made.emit(plan.ACTIVATE, x.buffer, out, kind, out.size, float(alpha), float(beta))
    return Value(out, x.shape, x.order, x.flat)


def activation(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    if node.op == "Celu" and attrs["alpha"] <= 0:
        refuse(node, "an alpha that is not above 0")
    return [bent(made, made.value(node, 0), FORMS[node.op](attrs))]


def clip(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    x, bounds = made.value(node, 0), bounds_of(made, node)
    if bounds is None:
        refuse(node, "bounds that are no constant numbers")
    return [bent(made, x, (kinds.CLIP, *bounds))]


def power(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Pow by one constant number."""
    x, exponent = made.value(node, 0), made.net.weight(node, 1)
    if exponent is None or exponent.size != 1 or exponent.ndim > len(x.shape):
        refuse(node, "an exponent that is not one constant number")
    number = float(exponent.reshape(-1)[0])
    if number != float(np.float32(number)):
        refuse(node, f"the exponent {number}, which is no float32")
    return [bent(made, x, (_POWERS.get(number, kinds.POW), number, 0.0))]


def several(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Sum, Mean, Max and Min of any number of tensors, two at a time: what is computed first, then the constants."""
    shape = made.net.shapes[node.outputs[0]]
    sides = sorted((side_of(made, node, index) for index in range(len(node.inputs))), key=lambda side: not isinstance(side, Value))
    total = sides[0]
    if not isinstance(total, Value):
        refuse(node, "constants alone")
    for side in sides[1:]:
        total = joined(made, node, _JOINS[node.op], [total, side], shape)
    if node.op == "Mean":
        total = joined(made, node, "Div", [total, np.array(len(sides), np.float32)], shape)
    return [total]
