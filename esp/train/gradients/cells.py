"""One step of RNN, GRU and LSTM, forward and back; gates in ONNX's order (GRU z r h, LSTM i o f c)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from esp.errors import GraphError
from esp.train.gradients.elementwise import stable_sigmoid
from esp.train.gradients.row import Array


@dataclass(frozen=True, slots=True)
class Activation:
    """A function, and its derivative told from its value."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


_ACTIVATIONS = {
    "sigmoid": Activation(stable_sigmoid, lambda y: y * (1 - y)),
    "tanh": Activation(np.tanh, lambda y: 1 - y * y),
    "relu": Activation(lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype)),
}


def activation(name: str) -> Activation:
    """An activation of a recurrent op by its ONNX name."""
    if name.lower() not in _ACTIVATIONS:
        raise GraphError(f"cannot train through a recurrent activation {name}", mend="use Sigmoid, Tanh or Relu")
    return _ACTIVATIONS[name.lower()]


@dataclass(slots=True)
class Way:
    """One direction of a recurrent op: weights, and the gradients gathered beside them."""

    hidden: int
    recurrent: Array  # gates * hidden x hidden
    recurrent_bias: Array  # gates * hidden
    peepholes: Array | None = None  # 3 * hidden, in the order i o f
    by_recurrent: Array = field(init=False)
    by_recurrent_bias: Array = field(init=False)
    by_peepholes: Array | None = field(init=False)

    def __post_init__(self) -> None:
        self.by_recurrent, self.by_recurrent_bias = np.zeros_like(self.recurrent), np.zeros_like(self.recurrent_bias)
        self.by_peepholes = None if self.peepholes is None else np.zeros_like(self.peepholes)

    def project(self, h: Array, gates: slice = slice(None)) -> Array:
        """h times the recurrent weights of some gates, plus their bias."""
        rows = self._rows(gates)
        return np.asarray(h @ self.recurrent[rows].T + self.recurrent_bias[rows])

    def project_back(self, grad: Array, h: Array, gates: slice = slice(None)) -> Array:
        """Gathers the gradients of ``project`` and gives that of h."""
        rows = self._rows(gates)
        self.by_recurrent[rows] += grad.T @ h
        self.by_recurrent_bias[rows] += grad.sum(axis=0)
        return np.asarray(grad @ self.recurrent[rows])

    def _rows(self, gates: slice) -> slice:
        size = self.hidden
        return slice(None if gates.start is None else gates.start * size, None if gates.stop is None else gates.stop * size)

    def peephole(self, gate: int, c: Array) -> Array | float:
        return 0.0 if self.peepholes is None else self.peepholes[gate * self.hidden : (gate + 1) * self.hidden] * c

    def peephole_back(self, gate: int, grad: Array, c: Array) -> Array | float:
        """Gathers the gradient of a peephole and gives that of c."""
        if self.peepholes is None or self.by_peepholes is None:
            return 0.0
        part = slice(gate * self.hidden, (gate + 1) * self.hidden)
        self.by_peepholes[part] += (grad * c).sum(axis=0)
        return np.asarray(grad * self.peepholes[part])


Step = tuple[Array, Array, Any]  # next h, next c, what backward needs
Back = tuple[Array, Array, Array]  # gradients of the input's projection, of h and of c


class Cell(Protocol):
    """One step: ``x`` is the input times its weights plus its bias; ``c`` passes through where a cell has none."""

    def forward(self, way: Way, x: Array, h: Array, c: Array) -> Step: ...

    def backward(self, way: Way, saved: Any, by_h: Array, by_c: Array) -> Back: ...


@dataclass(frozen=True, slots=True)
class RnnCell:
    """h' = f(x + R h)."""

    f: Activation

    def forward(self, way: Way, x: Array, h: Array, c: Array) -> Step:
        y = self.f.value(x + way.project(h))
        return y, c, (h, y)

    def backward(self, way: Way, saved: Any, by_h: Array, by_c: Array) -> Back:
        h, y = saved
        grad = by_h * self.f.slope(y)
        return grad, way.project_back(grad, h), by_c


@dataclass(frozen=True, slots=True)
class GruCell:
    """h' = (1 - z) n + z h, where n looks at r h before (or, with ``is_linear_first``, after) the recurrent weights."""

    f: Activation
    g: Activation
    is_linear_first: bool

    def forward(self, way: Way, x: Array, h: Array, c: Array) -> Step:
        size = way.hidden
        gates = self.f.value(x[:, : 2 * size] + way.project(h, slice(0, 2)))
        z, r = gates[:, :size], gates[:, size:]
        if self.is_linear_first:
            inner = way.project(h, slice(2, 3))
            n = self.g.value(x[:, 2 * size :] + r * inner)
        else:
            inner = r * h
            n = self.g.value(x[:, 2 * size :] + way.project(inner, slice(2, 3)))
        return (1 - z) * n + z * h, c, (h, gates, inner, n)

    def backward(self, way: Way, saved: Any, by_h: Array, by_c: Array) -> Back:
        h, gates, inner, n = saved
        z, r = gates[:, : way.hidden], gates[:, way.hidden :]
        by_n = by_h * (1 - z) * self.g.slope(n)
        if self.is_linear_first:
            by_r, by_old = by_n * inner, way.project_back(by_n * r, h, slice(2, 3))
        else:
            by_inner = way.project_back(by_n, inner, slice(2, 3))
            by_r, by_old = by_inner * h, by_inner * r
        by_gates = np.concatenate([by_h * (h - n), by_r], axis=1) * self.f.slope(gates)
        by_old = by_old + by_h * z + way.project_back(by_gates, h, slice(0, 2))
        return np.concatenate([by_gates, by_n], axis=1), by_old, by_c


@dataclass(frozen=True, slots=True)
class LstmCell:
    """c' = f c + i g, h' = o h(c'), with peepholes from c to i and f and from c' to o where given."""

    f: Activation
    g: Activation
    h: Activation

    def forward(self, way: Way, x: Array, h: Array, c: Array) -> Step:
        a_i, a_o, a_f, a_g = np.split(x + way.project(h), 4, axis=1)
        i, forget = self.f.value(a_i + way.peephole(0, c)), self.f.value(a_f + way.peephole(2, c))
        g = self.g.value(a_g)
        after = forget * c + i * g
        o, y = self.f.value(a_o + way.peephole(1, after)), self.h.value(after)
        return o * y, after, (h, c, after, i, o, forget, g, y)

    def backward(self, way: Way, saved: Any, by_h: Array, by_c: Array) -> Back:
        h, c, after, i, o, forget, g, y = saved
        by_o = by_h * y * self.f.slope(o)
        by_after = by_c + by_h * o * self.h.slope(y) + way.peephole_back(1, by_o, after)
        by_i, by_f = by_after * g * self.f.slope(i), by_after * c * self.f.slope(forget)
        by_g = by_after * i * self.g.slope(g)
        by_old_c = by_after * forget + way.peephole_back(0, by_i, c) + way.peephole_back(2, by_f, c)
        grad = np.concatenate([by_i, by_o, by_f, by_g], axis=1)
        return grad, way.project_back(grad, h), by_old_c


def make_cell(op: str, attrs: Mapping[str, Any], way: int) -> Cell:
    """The cell of one direction of a node, with that direction's activations."""
    defaults = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}[op]
    names = tuple(attrs["activations"] or ()) or defaults * 2
    picked = [activation(name) for name in names[way * len(defaults) : (way + 1) * len(defaults)]]
    if op == "RNN":
        return RnnCell(picked[0])
    if op == "GRU":
        return GruCell(picked[0], picked[1], bool(attrs["linear_before_reset"]))
    return LstmCell(picked[0], picked[1], picked[2])
