"""Recurrent layers, one way or both ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.astore.graph import Array, Attr
from esp.astore.hdf5 import keras1, layouts
from esp.astore.keras import values
from esp.astore.keras.activations import hard_sigmoid_slope, scaled
from esp.astore.keras.call import Call
from esp.astore.keras.config import layer_spec
from esp.astore.keras.settings import Settings
from esp.astore.keras.values import Held

_OPS = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM"}
_FUNCTIONS: dict[str, tuple[str, float | None, float | None]] = {  # of a gate: its name in ONNX, alpha, beta
    "elu": ("Elu", 1.0, None),
    "hard_sigmoid": ("HardSigmoid", 0.2, 0.5),
    "leaky_relu": ("LeakyRelu", 0.2, None),
    "linear": ("Affine", 1.0, 0.0),
    "relu": ("Relu", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "softplus": ("Softplus", None, None),
    "softsign": ("Softsign", None, None),
    "tanh": ("Tanh", None, None),
}
_HARMLESS = (
    "consume_less", "dropout", "dropout_U", "dropout_W", "enable_caching_device", "implementation", "input_dim", "recurrent_dropout",
    "return_runtime", "unit_forget_bias", "unroll", "use_cudnn", "zero_output_for_mask",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Direction:
    """A recurrent layer read: its op, W, R and B of one direction, its gates' functions and what it returns."""

    op: str
    arrays: tuple[Array, Array, Array]
    functions: tuple[tuple[str, float | None, float | None], ...]
    is_reset_first: bool
    is_backwards: bool
    has_sequences: bool
    has_state: bool
    is_biased: bool

    def is_like(self, other: "Direction") -> bool:
        """Whether one node can hold both."""
        mine, theirs = ((one.op, one.is_reset_first, one.has_sequences, one.has_state, one.is_biased) for one in (self, other))
        return mine == theirs and self.arrays[1].shape == other.arrays[1].shape


def recurrent(call: Call) -> list[Held]:
    """SimpleRNN, GRU or LSTM."""
    way = _direction(call, call.settings, call.arrays)
    states = _initial_states(call)
    outputs = _run(call, [way], "reverse" if way.is_backwards else "forward", states)
    sequences, *ends = outputs
    if way.has_sequences:
        steps = call.build.shapes[sequences][0]
        assert isinstance(steps, int)
        name = values.reshape(call.build, sequences, (steps, *call.build.shapes[sequences][2:]))
        if way.is_backwards:  # Keras gives the steps in the order in which it took them
            name = call.build.add("Slice", name, call.ints(-1), call.ints(-steps - 1), call.ints(0), call.ints(-1))
        result = call.held(name, values.steps_first(3))
    else:
        result = call.held(_row(call, ends[0]))
    return [result, *(call.held(_row(call, end)) for end in ends)] if way.has_state else [result]


def bidirectional(call: Call) -> list[Held]:
    """The same layer forwards and backwards, their outputs joined."""
    settings = call.settings
    forward = layer_spec(settings.get("layer"), f"{call.spec.where}.layer")
    if forward.kind not in _OPS:
        raise call.refused(f"there is no rule for both ways of {forward.kind}", f"use {', '.join(_OPS)}")
    backward_config = settings.get("backward_layer")
    backward = forward if backward_config is None else layer_spec(backward_config, f"{call.spec.where}.backward_layer")
    settings.ignore("weights")
    arrays = [*(call.arrays or ())]
    half = len(arrays) // 2
    parts = ((forward, arrays[:half]), (backward, arrays[half:]))
    ways = [_inner(call, spec.kind, spec.config, spec.where, part) for spec, part in parts]
    is_turned = ways[0].is_backwards or (backward_config is not None and not ways[1].is_backwards)
    if is_turned or not ways[0].is_like(ways[1]):
        raise call.refused("its two layers differ in more than weights and functions", "use the same layer both ways")
    outputs = _run(call, ways, "bidirectional", _initial_states(call))
    mode = settings.choice("merge_mode", ("concat", "sum", "mul", "ave", "none"), "none")
    merged = _merged(call, outputs, ways[0].has_sequences, mode)
    if not ways[0].has_state:
        return merged
    split = [call.build.add_many("Split", [end], [True, True], axis=0, num_outputs=2) for end in outputs[1:]]
    return [*merged, *(call.held(_row(call, part[way])) for way in range(2) for part in split)]


def _inner(call: Call, kind: str, config: Any, where: str, arrays: Sequence[Array]) -> Direction:
    settings = Settings(kind, config, where)
    way = _direction(call, settings, arrays)
    settings.check_left()
    return way


def _direction(call: Call, settings: Settings, arrays: Sequence[Array] | None) -> Direction:
    kind = settings.kind
    settings.whole("units")
    settings.ignore(*_HARMLESS)
    for key in ("stateful", "time_major"):
        if settings.flag(key):
            raise settings.refused(key, "every event is scored by itself", "save the model without it")
    act = _function(call, settings, "activation", "tanh")
    functions = [act]
    if kind != "SimpleRNN":
        gate = _function(call, settings, "recurrent_activation", "hard_sigmoid" if call.origin.generation < 3 else "sigmoid")
        functions = [gate, act] if kind == "GRU" else [gate, act, act]
    is_reset_first = kind == "GRU" and settings.flag("reset_after")
    return Direction(
        _OPS[kind],
        _weights(call, kind, settings.flag("use_bias", True), arrays),
        tuple(functions),
        is_reset_first,
        settings.flag("go_backwards"),
        settings.flag("return_sequences"),
        settings.flag("return_state"),
        settings.flag("use_bias", True),
    )


def _function(call: Call, settings: Settings, key: str, default: str) -> tuple[str, float | None, float | None]:
    name = settings.get(key, default)
    if isinstance(name, dict) and name.get("class_name") == "function":
        name = name.get("config")
    if not isinstance(name, str) or name not in _FUNCTIONS:
        raise settings.refused(key, "a gate has no rule for it", f"use one of: {', '.join(_FUNCTIONS)}")
    onnx, alpha, beta = _FUNCTIONS[name]
    return onnx, hard_sigmoid_slope(call) if name == "hard_sigmoid" else alpha, beta


def _weights(call: Call, kind: str, is_biased: bool, arrays: Sequence[Array] | None) -> tuple[Array, Array, Array]:
    found = [np.asarray(array, np.float32) for array in arrays or () if np.asarray(array).dtype.kind == "f"]
    if call.origin.generation == 1 and kind != "SimpleRNN":
        found = [*(keras1.keras1_lstm(found) if kind == "LSTM" else keras1.keras1_gru(found))]
    if len(found) != 2 + is_biased:
        raise call.refused(
            f"the file has {len(found)} weights for one direction, wanted {2 + is_biased}", "give the file of this model"
        )
    layout = {"LSTM": layouts.lstm, "GRU": layouts.gru, "SimpleRNN": layouts.simple_rnn}[kind]
    w, r, b = layout(found[0], found[1], found[2] if is_biased else None)
    return w, r, b


def _initial_states(call: Call) -> list[Held]:
    """The states that the layer is called with: further inputs, or given by name."""
    named = call.take("initial_state")
    if named is None:
        return list(call.inputs[1:])
    return list(named) if isinstance(named, list | tuple) else [named]


def _run(call: Call, ways: Sequence[Direction], direction: str, states: Sequence[Held]) -> tuple[str, ...]:
    """The outputs of one node for all directions: h of every step, then the last states."""
    first, count = ways[0], 2 if ways[0].op == "LSTM" else 1
    if len(states) not in (0, count * len(ways)):
        raise call.refused(f"it is given {len(states)} states, wanted {count * len(ways)}", "give h, for LSTM h and c")
    value = call.floating(call.inputs[0])
    if len(value.shape) != 3:
        raise call.refused(f"its input has {len(value.shape)} axes, 3 are wanted", "mend the model")
    parts = [np.concatenate(part) for part in zip(*(way.arrays for way in ways))]
    words = ("kernel", "recurrent_kernel", "bias" if first.is_biased else "zeros")
    weights = [call.build.weight(word, part) for word, part in zip(words, parts)]
    inputs = [call.tensor(value, values.steps_first(3)), *weights]
    if states:
        inputs += ["", *(_stacked(call, states[at::count]) for at in range(count))]
    ends = count if first.has_state else 0 if first.has_sequences else 1
    wanted = [first.has_sequences, *[True] * ends]
    return call.build.add_many(first.op, inputs, wanted, direction=direction, **_attrs(ways))


def _attrs(ways: Sequence[Direction]) -> dict[str, Attr]:
    functions = [function for way in ways for function in way.functions]
    alphas = tuple(alpha for _, alpha, _ in functions if alpha is not None)
    betas = tuple(beta for _, _, beta in functions if beta is not None)
    attrs: dict[str, Attr] = {"activations": tuple(name for name, _, _ in functions), "hidden_size": ways[0].arrays[1].shape[-1]}
    if alphas:
        attrs["activation_alpha"] = alphas
    if betas:
        attrs["activation_beta"] = betas
    return attrs | {"linear_before_reset": 1} if ways[0].is_reset_first else attrs


def _stacked(call: Call, states: Sequence[Held]) -> str:
    """One state of each direction, [directions, N, units]."""
    rows = []
    for state in states:
        shape = state.shape
        rows.append(values.reshape(call.build, call.tensor(call.floating(state)), (1, *shape)))
    return rows[0] if len(rows) == 1 else call.build.add("Concat", *rows, axis=0)


def _row(call: Call, state: str) -> str:
    """[1, N, units] as [N, units]."""
    return values.reshape(call.build, state, call.build.shapes[state][1:])


def _merged(call: Call, outputs: Sequence[str], has_sequences: bool, mode: str) -> list[Held]:
    """The two directions' outputs [steps, 2, N, units], or last states [2, N, units], joined."""
    name, axis = (outputs[0], 1) if has_sequences else (outputs[1], 0)
    perm = values.steps_first(3) if has_sequences else values.plain(2)
    if mode == "concat":
        order = (0, 2, 1, 3) if has_sequences else (1, 0, 2)
        turned = call.build.add("Transpose", name, perm=order)
        *lead, ways, units = call.build.shapes[turned]
        assert isinstance(ways, int)
        assert isinstance(units, int)
        return [call.held(values.reshape(call.build, turned, (*lead, ways * units)), perm)]
    both = call.build.add_many("Split", [name], [True, True], axis=axis, num_outputs=2)
    shape = call.build.shapes[both[0]]
    halves = [values.reshape(call.build, half, (*shape[:axis], *shape[axis + 1 :])) for half in both]
    if mode == "none":
        return [call.held(half, perm) for half in halves]
    joined = call.build.add("Mul" if mode == "mul" else "Add", *halves)
    return [call.held(scaled(call, joined, 0.5) if mode == "ave" else joined, perm)]
