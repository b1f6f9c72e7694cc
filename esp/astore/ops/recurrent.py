"""Recurrent layers: RNN, GRU and LSTM over [steps, batch, inputs], either way or both."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from esp.astore.ops.gates import Activation, activations
from esp.astore.ops.row import Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import expect, per_row, show, size_of
from esp.errors import GraphError

# What one step makes of (the input's part of the gates, the states): the new states, h first.
Cell = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]


def _directions(attrs: Attrs) -> tuple[bool, ...]:
    """For each direction, whether it runs backwards."""
    return {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[attrs["direction"]]


def _slot(inputs: Sequence[Array | None], index: int, direction: int) -> Array | None:
    """Input ``index`` of one direction, where it is given."""
    array = inputs[index] if index < len(inputs) else None
    return None if array is None else array[direction]


def _walk(
    x: Array, cell: Cell, start: tuple[Array, ...], lengths: Array | None, is_reverse: bool
) -> tuple[Array, tuple[Array, ...]]:
    """h of every step [steps, batch, hidden], 0 past a row's length, and the states after the last step taken."""
    steps, states = x.shape[0], start
    out = np.zeros((steps, *start[0].shape), x.dtype)
    for step in reversed(range(steps)) if is_reverse else range(steps):
        is_on = np.ones((x.shape[1], 1), np.bool_) if lengths is None else (step < lengths)[:, None]
        states = tuple(np.where(is_on, new, old) for new, old in zip(cell(x[step], states), states))
        out[step] = np.where(is_on, states[0], 0)
    return out, states


def _run(attrs: Attrs, inputs: Sequence[Array | None], outputs: int, cells: Iterator[Cell], state_at: Sequence[int]) -> list[Array]:
    """Every direction walked; ``state_at`` are the inputs that hold the initial states."""
    x, r = given(inputs[0]), given(inputs[2])
    lengths = inputs[4] if len(inputs) > 4 else None
    if lengths is not None and ((lengths < 0) | (lengths > len(x))).any():
        raise IndexError(f"a length of {lengths[(lengths < 0) | (lengths > len(x))][0]} in a series of {len(x)} steps")
    zero = np.zeros((x.shape[1], r.shape[2]), x.dtype)
    walked = []
    for direction, (cell, is_reverse) in enumerate(zip(cells, _directions(attrs))):
        given_states = (_slot(inputs, index, direction) for index in state_at)
        start = tuple(zero if state is None else state for state in given_states)
        walked.append(_walk(x, cell, start, lengths, is_reverse))
    ends = [np.stack(states) for states in zip(*(states for _, states in walked))]
    return [np.stack([out for out, _ in walked], axis=1), *ends][:outputs]


def _weights(inputs: Sequence[Array | None], direction: int) -> tuple[Array, Array, Array, Array]:
    """W, R and the two halves of B of one direction; a bias left out is 0."""
    w, r = given(inputs[1])[direction], given(inputs[2])[direction]
    bias = _slot(inputs, 3, direction)
    if bias is None:
        bias = np.zeros(2 * w.shape[0], w.dtype)
    return w, r, bias[: w.shape[0]], bias[w.shape[0] :]


def _rnn(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    bends = activations(attrs, _DEFAULTS["RNN"], len(_directions(attrs)))

    def make(direction: int) -> Cell:
        (bend,) = bends[direction]
        w, r, bias_w, bias_r = _weights(inputs, direction)
        return lambda x, states: (bend(x @ w.T + states[0] @ r.T + bias_w + bias_r),)

    return _run(attrs, inputs, outputs, map(make, range(len(bends))), (5,))


def _gru_cell(attrs: Attrs, weights: tuple[Array, Array, Array, Array], bends: Sequence[Activation]) -> Cell:
    w, r, bias_w, bias_r = weights
    units = r.shape[1]
    bend_gate, bend_hidden = bends

    def cell(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = states
        update_x, reset_x, hidden_x = np.split(x @ w.T + bias_w, 3, axis=1)
        update_h, reset_h = np.split(h @ r[: 2 * units].T + bias_r[: 2 * units], 2, axis=1)
        update, reset = bend_gate(update_x + update_h), bend_gate(reset_x + reset_h)
        r_hidden, bias_hidden = r[2 * units :].T, bias_r[2 * units :]
        if attrs["linear_before_reset"]:
            hidden = bend_hidden(hidden_x + reset * (h @ r_hidden + bias_hidden))
        else:
            hidden = bend_hidden(hidden_x + (reset * h) @ r_hidden + bias_hidden)
        return (np.asarray((1 - update) * hidden + update * h),)

    return cell


def _gru(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    bends = activations(attrs, _DEFAULTS["GRU"], len(_directions(attrs)))
    cells = (_gru_cell(attrs, _weights(inputs, direction), bends[direction]) for direction in range(len(bends)))
    return _run(attrs, inputs, outputs, cells, (5,))


def _lstm_cell(
    attrs: Attrs, weights: tuple[Array, Array, Array, Array], peepholes: Array | None, bends: Sequence[Activation]
) -> Cell:
    w, r, bias_w, bias_r = weights
    bend_gate, bend_cell, bend_hidden = bends
    look = np.zeros(3 * r.shape[1], w.dtype) if peepholes is None else peepholes
    look_in, look_out, look_forget = np.split(look, 3)

    def cell(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        h, c = states
        gate_in, gate_out, gate_forget, fresh = np.split(x @ w.T + h @ r.T + bias_w + bias_r, 4, axis=1)
        take = bend_gate(gate_in + look_in * c)
        keep = 1 - take if attrs["input_forget"] else bend_gate(gate_forget + look_forget * c)
        c = np.asarray(keep * c + take * bend_cell(fresh))
        return np.asarray(bend_gate(gate_out + look_out * c) * bend_hidden(c)), c

    return cell


def _lstm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    bends = activations(attrs, _DEFAULTS["LSTM"], len(_directions(attrs)))
    cells = (
        _lstm_cell(attrs, _weights(inputs, direction), _slot(inputs, 7, direction), bends[direction])
        for direction in range(len(bends))
    )
    return _run(attrs, inputs, outputs, cells, (5, 6))


_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}


def _op(name: str, reference: Callable[[Attrs, Sequence[Array | None], int], list[Array]], own: Mapping[str, AttrSpec]) -> Op:
    gates, is_lstm = _GATES[name], name == "LSTM"

    def shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
        x, w, r = (given_shape(shape) for shape in shapes[:3])
        if len(x) != 3 or not isinstance(x[0], int) or not isinstance(x[2], int):
            raise GraphError(f"wants [steps, batch, inputs], got {show(x)}", mend="put a Transpose with perm 1, 0, 2 before it")
        directions, units = len(_directions(attrs)), r[-1] if r else 0
        if not isinstance(units, int) or attrs["hidden_size"] not in (None, units):
            raise GraphError(f"hidden_size {attrs['hidden_size']} is not the {units} of R {show(r)}", mend="leave it out")
        expect("W", w, (directions, gates * units, x[2]))
        expect("R", r, (directions, gates * units, units))
        state = (directions, x[1], units)
        others = {"B": (directions, 2 * gates * units), "sequence_lens": (x[1],), "initial_h": state, "initial_c": state}
        for (what, wanted), shape in zip({**others, "P": (directions, 3 * units)}.items(), shapes[3:]):
            expect(what, shape, wanted)
        activations(attrs, _DEFAULTS[name], directions)
        return [(x[0], *state), *([state] * (2 if is_lstm else 1))]

    def flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
        steps, inputs = (per_row(given_shape(ins[0])[axis]) for axis in (0, 2))
        rows = size_of(given_shape(ins[2])[:2])  # directions * gates * units
        units = per_row(given_shape(ins[2])[2])
        beside = {"RNN": 1, "GRU": 7, "LSTM": 9}[name]  # per unit: activations, products and sums of the states
        return steps * (rows * (2 * (inputs + units) + 2) + rows // gates * beside)

    dtypes = Dtypes(inputs={4: ("int32",)})
    inputs, outputs = ((3, 8), (1, 3)) if is_lstm else ((3, 6), (1, 2))
    return Op(name, inputs, shapes, reference, flops, {**_ATTRS, **own}, outputs, dtypes, trainable=(1, 2, 3, 7))


_ATTRS = {
    "activations": AttrSpec("strings"),
    "activation_alpha": AttrSpec("floats"),
    "activation_beta": AttrSpec("floats"),
    "clip": AttrSpec("float"),
    "direction": AttrSpec("string", "forward", choices=("forward", "reverse", "bidirectional")),
    "hidden_size": AttrSpec("int"),
    "layout": AttrSpec("int", 0, choices=(0,)),
}

RECURRENT = {
    "RNN": _op("RNN", _rnn, {}),
    "GRU": _op("GRU", _gru, {"linear_before_reset": AttrSpec("int", 0, choices=(0, 1))}),
    "LSTM": _op("LSTM", _lstm, {"input_forget": AttrSpec("int", 0, choices=(0, 1))}),
}
