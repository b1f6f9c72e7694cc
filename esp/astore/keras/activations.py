"""Keras's activation functions as nodes, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.config import layer_spec
from esp.astore.keras.values import Held

Pointwise = Callable[[Call, str], str]
ALONG_AXIS = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}


def activate(call: Call, value: Held, setting: Any) -> Held:
    """``value`` through an activation as a config gives it. Raises GraphError for one that Keras does not define."""
    name = _name(setting)
    if name in POINTWISE:
        return values.each(call.build, value, lambda tensor: POINTWISE[name](call, tensor))
    if name in ALONG_AXIS:
        return along_axis(call, value, name, -1)
    if name == "glu":
        return _glu(call, value)
    if isinstance(setting, Mapping) and isinstance(setting.get("config"), Mapping):
        return _by_layer(call, value, setting)
    mend = f"use one of: {', '.join(sorted({*POINTWISE, *ALONG_AXIS}))}"
    raise call.refused(f"there is no rule for the activation {setting!r:.80}", mend)


def along_axis(call: Call, value: Held, name: str, axis: int) -> Held:
    """Softmax or log-softmax along an axis of the Keras tensor."""
    perm, tensor = values.favourite(call.build, value)
    place = perm.index(axis % len(perm))
    return call.held(call.build.add(ALONG_AXIS[name], tensor, axis=place), perm)


def _name(setting: Any) -> str:
    """The activation's name; Keras 3 may wrap it."""
    if setting is None:
        return "linear"
    if isinstance(setting, Mapping):
        is_own = str(setting.get("module") or "keras").split(".")[0] in ("keras", "builtins") and not setting.get("registered_name")
        inner = setting.get("config")
        return inner if is_own and setting.get("class_name") == "function" and isinstance(inner, str) else ""
    return str(setting)


def _by_layer(call: Call, value: Held, setting: Mapping[str, Any]) -> Held:
    """An activation that is a layer itself, without weights."""
    return call.inner(layer_spec(setting, f"{call.spec.where}.activation"), [value], None)[0]


def _glu(call: Call, value: Held) -> Held:
    perm, name = values.favourite(call.build, value)
    left, right = call.build.add_many("Split", [name], [True, True], axis=perm.index(len(perm) - 1), num_outputs=2)
    return call.held(call.build.add("Mul", left, call.build.add("Sigmoid", right)), perm)


def _op(op: str, **attrs: float | str) -> Pointwise:
    return lambda call, x: call.build.add(op, x, **attrs)


def clip(call: Call, x: str, low: float, high: float) -> str:
    """The tensor held within two numbers."""
    return call.build.add("Clip", x, call.number(low), call.number(high))


def scaled(call: Call, x: str, scale: float, offset: float = 0.0) -> str:
    """x * scale + offset."""
    x = call.build.add("Mul", x, call.number(scale))
    return call.build.add("Add", x, call.number(offset)) if offset else x


def _relu6(call: Call, x: str) -> str:
    return clip(call, x, 0, 6)


def _swish(call: Call, x: str) -> str:
    return call.build.add("Mul", x, call.build.add("Sigmoid", x))


def _hard_sigmoid(call: Call, x: str) -> str:
    return call.build.add("HardSigmoid", x, alpha=hard_sigmoid_slope(call), beta=0.5)


def hard_sigmoid_slope(call: Call) -> float:
    """The slope of hard_sigmoid, which changed with Keras 3."""
    return 1 / 6 if call.origin.generation >= 3 else 0.2


def _log_sigmoid(call: Call, x: str) -> str:
    return call.build.add("Neg", call.build.add("Softplus", call.build.add("Neg", x)))


def _tanh_shrink(call: Call, x: str) -> str:
    return call.build.add("Sub", x, call.build.add("Tanh", x))


def _soft_shrink(call: Call, x: str) -> str:
    return call.build.add("Sub", x, clip(call, x, -0.5, 0.5))


def _hard_shrink(call: Call, x: str) -> str:
    is_far = call.build.add("Greater", call.build.add("Abs", x), call.number(0.5))
    return call.build.add("Where", is_far, x, call.number(0.0))


def _sparse_plus(call: Call, x: str) -> str:
    """0 to -1, (x + 1)^2 / 4 to 1, x from there: relu(x - 1) + clip((x + 1) / 2, 0, 1)^2."""
    part = clip(call, scaled(call, x, 0.5, 0.5), 0, 1)
    above = call.build.add("Relu", call.build.add("Sub", x, call.number(1.0)))
    return call.build.add("Add", above, call.build.add("Mul", part, part))


def _squareplus(call: Call, x: str) -> str:
    root = call.build.add("Sqrt", scaled(call, call.build.add("Mul", x, x), 1.0, 4.0))
    return scaled(call, call.build.add("Add", x, root), 0.5)


POINTWISE: Mapping[str, Pointwise] = {
    "celu": _op("Elu", alpha=1.0),
    "elu": _op("Elu", alpha=1.0),
    "exponential": _op("Exp"),
    "gelu": _op("Gelu"),
    "hard_shrink": _hard_shrink,
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _op("HardSwish"),
    "hard_swish": _op("HardSwish"),
    "hard_tanh": lambda call, x: clip(call, x, -1, 1),
    "leaky_relu": _op("LeakyRelu", alpha=0.2),
    "linear": lambda call, x: x,
    "log_sigmoid": _log_sigmoid,
    "mish": _op("Mish"),
    "relu": _op("Relu"),
    "relu6": _relu6,
    "selu": _op("Selu"),
    "sigmoid": _op("Sigmoid"),
    "silu": _swish,
    "soft_shrink": _soft_shrink,
    "softplus": _op("Softplus"),
    "softsign": _op("Softsign"),
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": lambda call, x: clip(call, scaled(call, x, 0.5, 0.5), 0, 1),
    "squareplus": _squareplus,
    "swish": _swish,
    "tanh": _op("Tanh"),
    "tanh_shrink": _tanh_shrink,
}
