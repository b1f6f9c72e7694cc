"""Rules for RNN, GRU and LSTM: the weights packed, and a row of the plan for each direction's walk through time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array, Node
from esp.astore.ops.rules import size_of
from esp.kernels import plan
from esp.kernels import pointwise as kinds
from esp.kernels import recurrent as kernels
from esp.kernels.dense import pack
from esp.runtime.backends.lowering.dense import padded_bias
from esp.runtime.backends.lowering.looking import floats
from esp.runtime.backends.lowering.lowering import Lowering, Operand
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value, plain

_DEFAULTS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_KINDS = {"RNN": kernels.RNN, "GRU": kernels.GRU, "LSTM": kernels.LSTM}


@dataclass(frozen=True, slots=True)
class _Form:
    """The kernel of a function, and the defaults of its parameters; None where it takes none from the node, then they are ``fixed``."""

    kind: int
    alpha: float | None = None
    beta: float | None = None
    fixed: tuple[float, float] = (0.0, 0.0)


_FORMS: Mapping[str, _Form] = {
    "relu": _Form(kinds.CLIP, fixed=(0.0, float("inf"))),
    "tanh": _Form(kinds.TANH),
    "sigmoid": _Form(kinds.SIGMOID),
    "softsign": _Form(kinds.SOFTSIGN),
    "softplus": _Form(kinds.SOFTPLUS),
    "leakyrelu": _Form(kinds.LEAKY_RELU, 0.01),
    "thresholdedrelu": _Form(kinds.THRESHOLDED_RELU, 1.0),
    "elu": _Form(kinds.ELU, 1.0, fixed=(0.0, 1.0)),
    "hardsigmoid": _Form(kinds.HARD_SIGMOID, 0.2, 0.5),
    "affine": _Form(kinds.LINE, 1.0, 0.0),
    "scaledtanh": _Form(kinds.SCALED_TANH, 1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """The weights of one direction: w[inputs, gates], r[units, gates], the halves of the bias, and the peepholes."""

    w: Array
    r: Array
    bias_w: Array
    bias_r: Array
    look: Array | None

    @property
    def units(self) -> int:
        return len(self.r)


def recurrent(made: Lowering, node: Node, attrs: Attrs) -> list[Value | None]:
    """The outputs Y, Y_h and, of an LSTM, Y_c; those that nobody uses are not made."""
    x = made.value(node, 0)
    x = made.arranged(x, (1, 0, 2))
    reversals = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[attrs["direction"]]
    forms = _forms(node, attrs, len(reversals))
    outputs = [_room(made, name) for name in node.outputs]
    lengths = _lengths(made, node)
    for direction, is_reversed in enumerate(reversals):
        cell = _cell(made, node, direction)
        states = _states(made, node, direction, len(reversals), cell.units)
        shape = _shape(node, attrs, cell, (x.dims[0], is_reversed), outputs[0], forms[direction])
        _walk(made, node, x, cell, shape, states, (outputs[0], direction), lengths)
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


def _lengths(made: Lowering, node: Node) -> Buffer | int:
    """How many steps each row has, as float32; 0 where all have all."""
    return floats(made, node, 4).buffer if len(node.inputs) > 4 and node.inputs[4] else 0


def _forms(node: Node, attrs: Attrs, directions: int) -> list[list[list[int]]]:
    """The forms of each direction's functions; alphas and betas go, in order, to those that take one."""
    defaults = _DEFAULTS[node.op]
    alphas, betas = iter(attrs["activation_alpha"] or ()), iter(attrs["activation_beta"] or ())
    made = []
    for name in attrs["activations"] or defaults * directions:
        form = _FORMS[name.lower()]
        alpha = form.fixed[0] if form.alpha is None else next(alphas, form.alpha)
        beta = form.fixed[1] if form.beta is None else next(betas, form.beta)
        made.append(_form(form.kind, alpha, beta))
    return [made[at : at + len(defaults)] for at in range(0, len(made), len(defaults))]


def _form(kind: int, alpha: float, beta: float) -> list[int]:
    return [kind, 1, plan.bits(alpha), plan.bits(beta)]


def _shape(
    node: Node, attrs: Attrs, cell: _Cell, time: tuple[int, bool], y: Value | None, forms: Sequence[list[int]]
) -> Array:  # fmt: skip
    """What the kernel reads of the node beside its weights (``kernels.SHAPE``)."""
    steps, is_reversed = time
    usual = [_form(_FORMS[name].kind, *_FORMS[name].fixed) for name in _DEFAULTS[node.op]]
    flag = attrs.get("linear_before_reset") or attrs.get("input_forget") or 0
    clip = attrs["clip"]
    is_plain = list(forms) == usual and clip is None and cell.look is None and not attrs.get("input_forget")
    bound = _form(kinds.CLIP, -clip, clip) if clip is not None else [0] * kernels.FORM
    shape = np.zeros(kernels.SHAPE, np.int64)
    inputs, step = len(cell.w), 0 if y is None else y.size // steps
    head = [_KINDS[node.op], steps, cell.units, inputs, is_reversed, step, is_plain, flag]
    head += [plan.MULTIPLY.address, plan.ACTIVATE.address, clip is not None]
    numbers = [*head, *bound, *(number for form in forms for number in form)]
    shape[: len(numbers)] = numbers
    shape[kernels.STARTS :] = np.arange(kernels.BLOCK_STEPS) * inputs
    return shape


def _cell(made: Lowering, node: Node, direction: int) -> _Cell:
    w, r, bias, look = (made.weight(node, index) for index in (1, 2, 3, 7))
    assert w is not None
    assert r is not None
    both = np.zeros(2 * w.shape[1], np.float32) if bias is None else bias[direction]
    return _Cell(w[direction].T, r[direction].T, both[: w.shape[1]], both[w.shape[1] :], None if look is None else look[direction])


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
    made: Lowering, node: Node, x: Value, cell: _Cell, shape: Array, states: list[Buffer], y: tuple[Value | None, int],
    lengths: Buffer | int,
) -> None:  # fmt: skip
    """The row of one direction."""
    units, (out, direction), is_linear = cell.units, y, node.op == "GRU" and shape[kernels.FLAG]
    bias, kept = cell.bias_w + cell.bias_r, 2 * units if node.op == "GRU" else cell.r.shape[1]
    if is_linear:  # the recurrent bias of the new state is added before the reset
        bias = np.concatenate([bias[:kept], cell.bias_w[kept:]])
    gates = len(bias)
    panels = [pack(np.ascontiguousarray(weights, np.float32)) for weights in (cell.w, cell.r[:, :kept])]
    room = [Buffer(min(x.dims[0], kernels.BLOCK_STEPS) * gates), Buffer(4 * units + kernels.MORE)]
    look: Operand | int = 0 if cell.look is None else np.ascontiguousarray(cell.look)
    new: list[Operand | int] = [0, 0]
    if node.op == "GRU":
        new = [pack(np.ascontiguousarray(cell.r[:, kept:])), padded_bias(cell.bias_r[kept:] if is_linear else None, units)]
    fields = [shape, panels[0], padded_bias(bias, gates), panels[1], *room, look, *new, lengths]
    target = None if out is None else out.buffer
    second = states[1] if len(states) > 1 else None
    made.emit(plan.RECURRENT, x.buffer, target, *fields, b=states[0], c=second, y_at=direction * units)
