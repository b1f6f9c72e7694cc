"""Whole numbers that come in: where each of them lies in the caller's array, and the rules of the ops that take them up.

They never enter the arena. What only moves them, or adds a constant to them, is a change of the notes kept here; Gather from
a table, OneHot and Cast to float32 then read the caller's array itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from esp.astore.graph import Node, Value, complete_attrs, op_of
from esp.astore.ops.cast import dtype_of_code
from esp.astore.ops.rules import size_of
from esp.runtime.backends.lowering.passes import Net
from esp.runtime.backends.lowering.values import Index, Shape

_MOVES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Tile", "Expand")
_REAL = ("float16", "float32", "float64")
_RECURRENT = ("RNN", "GRU", "LSTM")


class Limit(NamedTuple):
    """The least and the most that each number of an input's row may be, and what the numbers are."""

    low: Index
    high: Index
    what: str


Limits = Mapping[int, Limit]  # by input


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor whose numbers are those of input ``slot`` at ``places`` of its row, plus ``shifts``; both have the tensor's shape.

    ``source`` is the dtype of the input, ``dtype`` that of the tensor. Where a number may have wrapped around on its way, only
    what looks it up in a table may use it: there a limit keeps it within what cannot wrap.
    """

    slot: int
    source: str
    dtype: str
    places: Index
    shifts: Index
    size: int
    may_wrap: bool = False

    @property
    def pairs(self) -> Index:
        """Place and shift of each number, in the order in which they are written."""
        return np.ascontiguousarray(np.stack([self.places.reshape(-1), self.shifts.reshape(-1)], axis=1))


def trace(net: Net, inputs: tuple[Value, ...]) -> dict[str, Given]:
    """The inputs that are not float32, and what is made of any input without being computed."""
    starts = {value.name: _start(slot, value) for slot, value in enumerate(inputs)}
    found = {name: start for name, start in starts.items() if start.dtype != "float32"}
    for node in net.nodes:
        first = node.inputs[0] if node.inputs else ""
        given = found.get(first, starts.get(first))
        if node.op == "Cast" and given is not None:
            _cast(net, node, given, found)
        elif node.op in _MOVES and first in found:
            _move(net, node, found[first], found)
        elif node.op in ("Add", "Sub"):
            _shift(net, node, found)
    return found


def _start(slot: int, value: Value) -> Given:
    shape = (1, *(size_of((size,)) for size in value.shape[1:]))
    places = np.arange(size_of(shape), dtype=np.int64).reshape(shape)
    return Given(slot, value.dtype, value.dtype, places, np.zeros_like(places), places.size)


def _one_row(shape: Shape) -> tuple[int, ...]:
    return tuple(1 if size is None else int(size) for size in shape)


def _cast(net: Net, node: Node, given: Given, found: dict[str, Given]) -> None:
    """A cast among whole numbers changes none of them, or only those that the other dtype cannot hold."""
    dtype = dtype_of_code(complete_attrs(node)["to"])
    if dtype in (*_REAL, "bool"):
        return
    wraps = given.may_wrap or not np.can_cast(given.dtype, dtype, "safe")
    found[node.outputs[0]] = replace(given, dtype=dtype, may_wrap=wraps)


def _move(net: Net, node: Node, given: Given, found: dict[str, Given]) -> None:
    constants = [net.weight(node, at) for at in range(1, len(node.inputs))]
    if any(name and constant is None for name, constant in zip(node.inputs[1:], constants)):
        return
    moved = [
        op_of(node).reference(complete_attrs(node), [array, *constants], len(node.outputs))
        for array in (given.places, given.shifts)
    ]
    for name, places, shifts in zip(node.outputs, *moved):
        if name and places.shape == _one_row(net.shapes[name]):
            found[name] = replace(given, places=places, shifts=shifts)


def _shift(net: Net, node: Node, found: dict[str, Given]) -> None:
    """The sum of given numbers and constants, and given numbers less constants."""
    for at, other in ((0, 1), (1, 0))[: 2 if node.op == "Add" else 1]:
        given, constant = found.get(node.inputs[at]), net.weight(node, other)
        shape = _one_row(net.shapes[node.outputs[0]])
        if given is None or constant is None or np.broadcast_shapes(given.places.shape, constant.shape) != shape:
            continue
        change = constant.astype(np.int64) * (-1 if node.op == "Sub" else 1)
        shifts, places = given.shifts + change, np.broadcast_to(given.places, shape)
        wraps = given.may_wrap or given.dtype != "int64"
        found[node.outputs[0]] = replace(given, places=places, shifts=np.broadcast_to(shifts, shape), may_wrap=wraps)


def limits(net: Net, found: Mapping[str, Given]) -> Limits:
    """What the numbers of each input must lie within, for the tables that they are looked up in, and the steps that they count.

    Inputs without such numbers are left out.
    """
    kept: dict[int, Limit] = {}
    for node in net.nodes:
        if node.op == "Gather" and node.inputs[1] in found:
            rows = net.shapes[node.inputs[0]][complete_attrs(node)["axis"]] or 0
            _bound(kept, found[node.inputs[1]], (-rows, rows - 1), "it names a row of a table")
        elif node.op in _RECURRENT and len(node.inputs) > 4 and node.inputs[4] in found:
            _bound(kept, found[node.inputs[4]], (0, net.shapes[node.inputs[0]][0] or 0), "it is a number of steps")
    return kept


def _bound(kept: dict[int, Limit], given: Given, ends: tuple[int, int], what: str) -> None:
    """Narrows what the numbers of an input may be to those that end, shifted, within ``ends``."""
    widest = np.iinfo(np.int64)
    whole = Limit(np.full(given.size, widest.min, np.int64), np.full(given.size, widest.max, np.int64), what)
    limit, places, (low, high) = kept.setdefault(given.slot, whole), given.places.reshape(-1), ends
    np.maximum.at(limit.low, places, (low - given.shifts).reshape(-1))
    np.minimum.at(limit.high, places, (high - given.shifts).reshape(-1))
