"""How an input's column becomes an array for a backend: one fused pass where the steps are simple, ``prepare`` otherwise."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from esp.astore.graph import Array, Graph, Node, Value
from esp.astore.model import Astore, Input, Step
from esp.astore.preprocess import prepare
from esp.astore.steps import prepared_shape
from esp.kernels.intake import KINDS, NORMALISED, SCALED, address, any_nan, take_in
from esp.runtime.events import Bools, Column

_LAYOUT = ("channels_first", "reshape")  # steps that move numbers without changing them
_NAMES = {"scale": ("scale", "offset"), "normalise": ("mean", "std")}
_CODES = {"scale": SCALED, "normalise": NORMALISED}


@dataclass(frozen=True, slots=True)
class Taken:
    """What ``Intake.take`` gives: the array for the backend, and which rows are refused, with a reason for each."""

    array: Array
    refused: Bools | None = None
    reasons: tuple[str, ...] = ()


class Intake:
    """One input of an astore, ready to take columns of events.

    ``is_lifted``: the layout steps at the end have become nodes of the graph (``lift``), which takes the numbers as they come.
    """

    def __init__(self, input: Input, dtype: str, is_lifted: bool) -> None:
        self.input, self.dtype = input, dtype
        work, layout = _split(input.steps)
        self.left = () if is_lifted else layout
        self.kept = (*work, *self.left)  # the steps that are done here
        self.is_fused = dtype == "float32" and input.dtype in KINDS and all(step.op in _CODES for step in work)
        shape = input.shape
        self.size = int(np.prod(shape, dtype=np.int64))
        self.is_plain = self.is_fused and not work and input.dtype == "float32"
        self.vectors = [[_spread(step.params[key], shape) for key in _NAMES[step.op]] for step in work] if self.is_fused else []
        rows = [(_CODES[step.op], *(vector.ctypes.data for vector in pair)) for step, pair in zip(work, self.vectors)]
        self.table = np.array(rows, np.int64).reshape(len(rows), 3)
        self.steps = (self.table.ctypes.data, len(rows))

    def take(self, column: Column, valid: Bools | None) -> Taken:
        """The array of a column; a null, or a NaN that is not to be passed on, takes the way of the reference."""
        if self.is_fused and isinstance(column, np.ndarray) and (valid is None or valid.all()) and column.flags.c_contiguous:
            array, has_nan = self._fused(column)
            if not has_nan or self.input.missing == "nan":
                return Taken(array)
        done = prepare(replace(self.input, steps=self.kept), column, valid, self.dtype)
        return Taken(done.array, done.refused, done.reasons)

    def _fused(self, column: Any) -> tuple[Array, bool]:
        n = len(column)
        array: Any = column
        if self.is_plain:
            has_nan: int = self.input.missing != "nan" and any_nan(column.reshape(-1))
        else:
            array = np.empty((n, *self.input.shape), np.float32)
            source = address(column.reshape(-1))
            has_nan = take_in(n, self.size, KINDS[self.input.dtype], source, *self.steps, address(array.reshape(-1)))
        for step in self.left:
            array = np.moveaxis(array, -1, 1) if step.op == "channels_first" else array.reshape(n, *step.params["shape"])
        return np.ascontiguousarray(array), bool(has_nan)


def _split(steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The steps, and those at the end that only change the layout."""
    at = len(steps)
    while at and steps[at - 1].op in _LAYOUT:
        at -= 1
    return steps[:at], steps[at:]


def _spread(value: Any, shape: tuple[int, ...]) -> Any:
    """One number, or one a channel of the last axis, as one for each number of an event."""
    return np.ascontiguousarray(np.broadcast_to(np.asarray(value, np.float32), shape), np.float32).reshape(-1)


def lift(astore: Astore) -> Graph:
    """The astore's graph with the layout steps at the end of its inputs as nodes: a plan has them for nothing."""
    graph = astore.graph
    for at, input in enumerate(astore.inputs):
        if graph.inputs[at].dtype == "float32":
            graph = _lift_input(graph, at, input)
    return replace(graph, layers=())


def _lift_input(graph: Graph, at: int, input: Input) -> Graph:
    work, layout = _split(input.steps)
    shapes = [prepared_shape(replace(input, steps=(*work, *layout[:step]))) for step in range(len(layout) + 1)]
    target, weights = graph.inputs[at].name, dict(graph.weights)
    names = [_fresh(graph, f"{target}.taken{step}") for step in range(len(layout))] + [target]
    nodes = []
    for step, (op, source, made) in enumerate(zip(layout, names, names[1:])):
        if op.op == "channels_first":
            rank = len(shapes[step])
            nodes.append(Node("Transpose", (source,), (made,), {"perm": (0, rank, *range(1, rank))}))
        else:
            sizes = _fresh(graph, f"{made}.shape")
            weights[sizes] = np.array([0, *shapes[step + 1]], np.int64)
            nodes.append(Node("Reshape", (source, sizes), (made,)))
    first = Value(names[0], "float32", (None, *shapes[0]))
    inputs = (*graph.inputs[:at], first, *graph.inputs[at + 1 :])
    return replace(graph, nodes=(*nodes, *graph.nodes), inputs=inputs, weights=weights)


def _fresh(graph: Graph, name: str) -> str:
    """A name like the one given that the graph does not have."""
    taken = {*graph.weights, *(value.name for value in graph.inputs), *(one for node in graph.nodes for one in node.outputs)}
    while name in taken:
        name += "'"
    return name
