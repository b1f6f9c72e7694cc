"""Rules for RNN, GRU and LSTM: one product for all steps' inputs, then a walk through time for each direction."""

from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array, Node
from esp.astore.ops.rules import size_of
from esp.kernels import plan
from esp.kernels import recurrent as kernels
from esp.kernels.dense import pack, padded
from esp.runtime.backends.lowering.dense import ZERO, multiply, padded_bias
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value, plain

_DEFAULTS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_KINDS = {"RNN": kernels.RNN, "GRU": kernels.GRU, "LSTM": kernels.LSTM}


@dataclass(frozen=True, slots=True)
class _Cell:
    """The weights of one direction: w[inputs, gates], r[units, gates], and the halves of the bias."""

    w: Array
    r: Array
    bias_w: Array
    bias_r: Array

    @property
    def units(self) -> int:
        return len(self.r)


def recurrent(made: Lowering, node: Node, attrs: Attrs) -> list[Value | None]:
    """The outputs Y, Y_h and, of an LSTM, Y_c; those that nobody uses are not made."""
    flag = _check(made, node, attrs)
    x = made.value(node, 0)
    x = made.arranged(x, (1, 0, 2))
    reversals = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[attrs["direction"]]
    outputs = [_room(made, name) for name in node.outputs]
    for direction, is_reversed in enumerate(reversals):
        cell = _cell(made, node, direction)
        states = _states(made, node, direction, len(reversals), cell.units)
        _walk(made, node, x, cell, states, (outputs[0], direction), (is_reversed, flag))
        for out, state in zip(outputs[1:], states):
            if out is not None:
                units = cell.units
                made.emit(plan.COPY, state, out.buffer, 1, units, units, units, out.size, y_at=direction * units)
    return outputs


def _room(made: Lowering, name: str) -> Value | None:
    if not name:
        return None
    shape = made.net.shapes[name]
    return Value(Buffer(size_of(shape)), shape, plain(shape))


def _check(made: Lowering, node: Node, attrs: Attrs) -> int:
    """Refuses what the kernels do not do; gives the flag of the row: linear_before_reset, or relu."""
    names = tuple(name.lower() for name in attrs["activations"] or ())
    count = 2 if attrs["direction"] == "bidirectional" else 1
    is_relu = node.op == "RNN" and names == ("relu",) * count
    if names and not is_relu and names != _DEFAULTS[node.op] * count:
        refuse(node, f"activations {', '.join(names)}")
    for key in ("clip", "activation_alpha", "activation_beta", "input_forget"):
        if attrs.get(key):
            refuse(node, key)
    for index, what in ((4, "sequence_lens"), (7, "peepholes")):
        if index < len(node.inputs) and node.inputs[index]:
            refuse(node, what)
    return int(is_relu or bool(attrs.get("linear_before_reset")))


def _cell(made: Lowering, node: Node, direction: int) -> _Cell:
    w, r, bias = (made.weight(node, index) for index in (1, 2, 3))
    assert w is not None
    assert r is not None
    both = np.zeros(2 * w.shape[1], np.float32) if bias is None else bias[direction]
    return _Cell(w[direction].T, r[direction].T, both[: w.shape[1]], both[w.shape[1] :])


def _states(made: Lowering, node: Node, direction: int, directions: int, units: int) -> list[Buffer]:
    """The states before the first step: zeros, or what the node is given."""
    states = []
    for index in (5, 6) if node.op == "LSTM" else (5,):
        state = Buffer(units)
        if index < len(node.inputs) and node.inputs[index]:
            start = made.value(node, index)
            start = made.arranged(start, plain(start.shape))
            made.emit(plan.COPY, start.buffer, state, 1, units, directions * units, units, units, x_at=direction * units)
        else:
            made.emit(plan.COPY, np.zeros(units, np.float32), state, 1, units, 0, units, units)
        states.append(state)
    return states


def _walk(
    made: Lowering, node: Node, x: Value, cell: _Cell, states: list[Buffer], y: tuple[Value | None, int], flags: tuple[bool, int]
) -> None:
    """The rows of one direction: the product of all inputs, then the steps."""
    steps, units, (out, direction), (is_reversed, flag) = x.dims[0], cell.units, y, flags
    bias, kept = cell.bias_w + cell.bias_r, slice(0, None)
    if node.op == "GRU":
        kept = slice(0, 2 * units)
        if flag:  # the recurrent bias of the new state is added before the reset
            bias = np.concatenate([bias[: 2 * units], cell.bias_w[2 * units :]])
    gates = Buffer(steps * _GATES[node.op] * units)
    multiply(made, x.buffer, gates, steps, cell.w, bias)
    fields = [_KINDS[node.op], steps, units, is_reversed, pack(np.ascontiguousarray(cell.r[:, kept])), ZERO]
    fields += [Buffer((5 if node.op == "GRU" else _GATES[node.op]) * units), 0 if out is None else out.size // steps, flag]
    if node.op == "GRU":
        fields += [pack(np.ascontiguousarray(cell.r[:, 2 * units :]))]
        fields += [padded_bias(cell.bias_r[2 * units :], units) if flag else np.zeros(padded(units), np.float32)]
    target = None if out is None else out.buffer
    second = states[1] if len(states) > 1 else None
    made.emit(plan.RECURRENT, gates, target, *fields, b=states[0], c=second, y_at=direction * units)
