"""Whole numbers that name rows of a table, or count steps, must be such: which events hold others, and what to say of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array, Graph, Value
from esp.errors import BackendError
from esp.kernels.given import KINDS, outside
from esp.kernels.intake import address
from esp.runtime.backends.lowering.given import Limits, limits, trace
from esp.runtime.backends.lowering.passes import simplify
from esp.runtime.backends.lowering.values import Index
from esp.runtime.events import Bools


@dataclass(frozen=True, slots=True)
class Bar:
    """The least and the most that each number of a row of input ``slot`` may be."""

    value: Value
    slot: int
    low: Index
    high: Index
    what: str

    def check(self, array: Array) -> None:
        """BackendError for a number beyond, before anything is read by it; ``array`` is C-contiguous."""
        sides = (self.low.ctypes.data, self.high.ctypes.data)
        at = outside(len(array), len(self.low), KINDS[self.value.dtype], address(array.reshape(-1)), *sides)
        if at >= 0:
            row, place = divmod(at, len(self.low))
            raise BackendError(self.reason(array, row, place), where=f"row {row}", mend="send numbers within these")

    def refused(self, array: Array) -> dict[int, str]:
        """The rows that hold a number beyond, and the reason for each."""
        flat = array.reshape(len(array), len(self.low))  # of a block without events too
        with np.errstate(invalid="ignore"):
            whole = np.trunc(flat) if flat.dtype.kind == "f" else flat
        is_beyond = ~((whole >= self.low) & (whole <= self.high))
        return {
            int(row): self.reason(array, int(row), int(is_beyond[row].argmax())) for row in np.flatnonzero(is_beyond.any(axis=1))
        }

    def reason(self, array: Array, row: int, place: int) -> str:
        where = ",".join(str(int(one)) for one in np.unravel_index(place, array.shape[1:])) if array.ndim > 1 else ""
        at = f" at [{where}]" if where else ""
        found = array.reshape(len(array), -1)[row, place]
        return f"input '{self.value.name}' is {found}{at}, wanted {self.low[place]} to {self.high[place]}: {self.what}"


def bars_of(graph: Graph, kept: Limits) -> list[Bar]:
    """The bars of a graph's inputs, of limits that were found in it."""
    return [Bar(graph.inputs[slot], slot, *limit) for slot, limit in kept.items()]


def find_bars(graph: Graph) -> list[Bar]:
    """The bars of a graph that is not lowered; none where a plan could not know them either."""
    try:
        net = simplify(graph)
    except BackendError:
        return []
    return bars_of(graph, limits(net, trace(net, graph.inputs)))


def refused_by(bars: Sequence[Bar], arrays: Sequence[Array]) -> tuple[Bools, tuple[str, ...]] | None:
    """The rows that any bar refuses, with a reason for each, in row order; None where there is no such row."""
    reasons: dict[int, str] = {}
    for bar in reversed(bars):
        reasons |= bar.refused(arrays[bar.slot])
    if not reasons:
        return None
    mask = np.zeros(len(arrays[0]), np.bool_)
    mask[list(reasons)] = True
    return mask, tuple(reasons[row] for row in sorted(reasons))
