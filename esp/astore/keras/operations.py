"""Arithmetic that stands in a functional model as a layer: ``x * 2 + y`` in Keras 3 and in Keras 2 over TensorFlow."""

from collections.abc import Mapping
from typing import Any

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held

_TENSORFLOW = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.divide": "Div",
    "math.multiply": "Mul",
    "math.subtract": "Sub",
    "math.truediv": "Div",
}


def arithmetic(call: Call, op: str) -> Held:
    """One operation on two tensors of one shape or broadcast along axes of size 1, or on a tensor and a number."""
    sides = [call.floating(side) if isinstance(side, Held) else side for side in _sides(call)]
    tensors = [side for side in sides if isinstance(side, Held)]
    if len({len(value.shape) for value in tensors}) != 1:
        raise call.refused("its tensors differ in their numbers of axes", "reshape them before")
    perm, names = values.together(call.build, tensors)
    left = iter(names)
    return call.held(call.build.add(op, *(next(left) if isinstance(side, Held) else call.number(side) for side in sides)), perm)


def unary(call: Call, op: str) -> Held:
    """One operation number by number."""
    return values.each(call.build, call.floating(), lambda name: call.build.add(op, name))


def tensorflow(call: Call) -> Held:
    """An operation of TensorFlow that is arithmetic."""
    function = call.settings.get("function")
    if function not in _TENSORFLOW:
        raise call.refused(f"there is no rule for TensorFlow's {function!r}", f"use one of: {', '.join(_TENSORFLOW)}")
    return arithmetic(call, _TENSORFLOW[function])


def _sides(call: Call) -> list[Any]:
    given = list(_flat(call.args))
    for name in ("x", "x1", "y", "x2"):
        side = call.take(name)
        if side is not None:
            given.append(side)
    is_well = len(given) == 2 and all(isinstance(side, Held | int | float) and not isinstance(side, bool) for side in given)
    if not is_well:
        raise call.refused("wanted two tensors, or a tensor and a number", "build the model of layers")
    return given


def _flat(value: Any) -> list[Any]:
    return [item for part in value for item in _flat(part)] if isinstance(value, list | tuple) else [value]


BINARY: Mapping[str, str] = {"Add": "Add", "Divide": "Div", "Multiply": "Mul", "Subtract": "Sub", "TrueDivide": "Div"}
UNARY: Mapping[str, str] = {
    "Absolute": "Abs",
    "Exp": "Exp",
    "Log": "Log",
    "Negative": "Neg",
    "Relu": "Relu",
    "Sigmoid": "Sigmoid",
    "Sqrt": "Sqrt",
    "Tanh": "Tanh",
}
