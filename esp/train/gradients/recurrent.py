"""Gradients of RNN, GRU and LSTM: backpropagation through time, one direction after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from esp.errors import GraphError
from esp.train.gradients.cells import Cell, Way, make_cell
from esp.train.gradients.row import Array, Call, Gradient, Grads


@dataclass(frozen=True, slots=True)
class Scan:
    """What one direction keeps: ``order`` is the time step that each row reads at each step of the scan."""

    cell: Cell
    way: Way
    order: Array  # time x batch
    alive: Array | None  # time x batch x 1: is this step within the row's length
    steps: list[Any]
    xs: Array  # the input in the order of the scan


def _check(call: Call, op: str) -> None:
    for name in ("clip", "input_forget"):
        if call.attrs.get(name):
            raise GraphError(f"cannot train through {op} with {name}", mend="leave the attribute out")


def _order(times: int, lengths: Array, is_reverse: bool) -> Array:
    """Forward: 0, 1, ...; reverse: a row's own last step first, what lies past its length stays where it is."""
    steps = np.arange(times)[:, None]
    return np.where(steps < lengths, lengths - 1 - steps, steps) if is_reverse else np.broadcast_to(steps, (times, len(lengths)))


def _take(values: Array, order: Array) -> Array:
    """values[order[t, n], n]; the same call undoes it, for an order is its own inverse."""
    return values[order, np.arange(values.shape[1])[None, :]]


def _way(call: Call, at: int, size: int) -> tuple[Way, Array]:
    """One direction's weights, and its input bias."""
    bias, rows = call.optional(3), call.input(2).shape[1]
    both = np.zeros(2 * rows, call.input(0).dtype) if bias is None else bias[at]
    peepholes = call.optional(7)
    return Way(size, call.input(2)[at], both[rows:], None if peepholes is None else peepholes[at]), both[:rows]


def forward(op: str, call: Call) -> list[Array]:
    """Y, Y_h (and Y_c), with ONNX's meaning of directions and lengths."""
    _check(call, op)
    x, given = call.input(0), call.optional(4)
    times, batch, size = x.shape[0], x.shape[1], call.input(2).shape[2]
    lengths = np.full(batch, times) if given is None else given
    alive = None if given is None else (np.arange(times)[:, None] < given)[..., None]
    ways = call.input(1).shape[0]
    y, last = np.zeros((times, ways, batch, size), x.dtype), np.zeros((2, ways, batch, size), x.dtype)
    call.saved = []
    for at in range(ways):
        order = _order(times, lengths, call.attrs["direction"] == "reverse" or at == 1)
        way, bias = _way(call, at, size)
        scan = Scan(make_cell(op, call.attrs, at), way, order, alive, [], _take(x, order))
        first_h, first_c = (_start(call, i, at, (batch, size)) for i in (5, 6))
        made, last[0, at], last[1, at] = _scan(scan, scan.xs @ call.input(1)[at].T + bias, first_h, first_c)
        y[:, at] = _take(made, order)
        call.saved.append(scan)
    return [y, last[0], last[1]][: call.outputs]


def _start(call: Call, index: int, at: int, shape: tuple[int, int]) -> Array:
    given = call.optional(index)
    return np.zeros(shape, call.input(0).dtype) if given is None else given[at]


def _scan(scan: Scan, projected: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """All states in the order of the scan (0 past a row's length), and the last h and c."""
    made = np.zeros((len(projected), *h.shape), h.dtype)
    for t, x in enumerate(projected):
        new_h, new_c, saved = scan.cell.forward(scan.way, x, h, c)
        scan.steps.append(saved)
        if scan.alive is not None:
            made[t] = np.where(scan.alive[t], new_h, 0)
            h, c = np.where(scan.alive[t], new_h, h), np.where(scan.alive[t], new_c, c)
        else:
            made[t], h, c = new_h, new_h, new_c
    return made, h, c


def _scan_back(scan: Scan, by_y: Array, by_h: Array, by_c: Array) -> tuple[Array, Array, Array]:
    """Gradients of the projected input, of the first h and of the first c."""
    by_x: list[Array] = []
    for t in range(len(scan.steps) - 1, -1, -1):
        grad_h, grad_c = by_h + by_y[t], by_c
        if scan.alive is not None:
            grad_h, grad_c = np.where(scan.alive[t], grad_h, 0), np.where(scan.alive[t], grad_c, 0)
        step_x, old_h, old_c = scan.cell.backward(scan.way, scan.steps[t], grad_h, grad_c)
        by_x.append(step_x)
        if scan.alive is not None:
            old_h, old_c = np.where(scan.alive[t], old_h, by_h), np.where(scan.alive[t], old_c, by_c)
        by_h, by_c = old_h, old_c
    return np.stack(by_x[::-1]), by_h, by_c


def backward(op: str, call: Call, grads: Sequence[Array | None]) -> Grads:
    """Gradients of X, W, R, B, the initial states and the peepholes."""
    by_y, by_last_h, by_last_c = _outer(call, grads)
    found: Grads = [None if call.optional(i) is None or i == 4 else np.zeros_like(call.input(i)) for i in range(len(call.inputs))]
    for at, scan in enumerate(call.saved):
        by_x, by_h, by_c = _scan_back(scan, _take(by_y[:, at], scan.order), by_last_h[at], by_last_c[at])
        if found[0] is not None and call.wants(0):
            found[0] += _take(by_x @ call.input(1)[at], scan.order)
        flat = by_x.reshape(-1, by_x.shape[2])
        by_bias = np.concatenate([flat.sum(axis=0), scan.way.by_recurrent_bias])
        by_weight = flat.T @ scan.xs.reshape(len(flat), -1)
        gathered = {1: by_weight, 2: scan.way.by_recurrent, 3: by_bias, 5: by_h, 6: by_c, 7: scan.way.by_peepholes}
        for index, value in gathered.items():
            target = found[index] if index < len(found) else None
            if target is not None and value is not None:
                target[at] = value
    return found


def _outer(call: Call, grads: Sequence[Array | None]) -> tuple[Array, Array, Array]:
    """The gradients of Y, Y_h and Y_c, zero where nothing depends on an output."""
    times, batch = call.saved[0].order.shape
    state = (len(call.saved), batch, call.input(2).shape[2])
    shapes = [(times, *state), state, state]
    given = [*grads, None, None][:3]
    found = [np.zeros(shape, call.input(0).dtype) if grad is None else grad for shape, grad in zip(shapes, given)]
    return found[0], found[1], found[2]


RECURRENT = {op: Gradient(partial(forward, op), partial(backward, op)) for op in ("RNN", "GRU", "LSTM")}
