"""How an input's column becomes an array for a backend: one fused pass where the steps are simple, ``prepare`` otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from esp.astore.graph import Array, Graph, Node, Value
from esp.astore.model import Astore, Input, Step
from esp.astore.preprocess import Prepared, prepare
from esp.astore.steps import prepared_shape
from esp.kernels.intake import any_nan, take_in
from esp.runtime.backends.image_steps import CODES, image_steps, scaling
from esp.runtime.backends.images import Images, Scalings
from esp.runtime.events import Bools, Column, VarColumn

_LAYOUT = ("channels_first", "reshape")  # steps that move numbers without changing them


class Intake:
    """One input of an astore, ready to take columns of events.

    ``is_lifted``: the layout steps at the end have become nodes of the graph (``lift``), which takes the numbers as they come.
    """

    def __init__(self, input: Input, dtype: str, is_lifted: bool) -> None:
        kept = split_steps(input.steps)[0] if is_lifted else input.steps
        self.input, self.dtype = replace(input, steps=kept), dtype  # with the steps that are done here
        self.fused = _fused(self.input) if dtype == "float32" else None
        self.passes_nan = input.missing == "nan"

    @property
    def is_plain(self) -> bool:
        """Whether its float32 are handed through as they lie, but for those that the policy refuses."""
        return isinstance(self.fused, Numbers) and self.fused.is_plain and self.fused.is_laid_out and self.input.missing != "impute"

    def take(self, column: Column, valid: Bools | None) -> Prepared:
        """The array of a column, and the rows that are refused."""
        array = self.whole(column, valid)
        return self.prepared(column, valid) if array is None else Prepared(array, None, ())

    def whole(self, column: Column, valid: Bools | None) -> Array | None:
        """The array of a column in one pass; None for files, nulls, and a NaN that is not to be passed on."""
        if self.fused and isinstance(column, np.ndarray) and (valid is None or valid.all()) and column.flags.c_contiguous:
            array, has_nan = self.fused.take(column)
            if not has_nan or self.passes_nan:
                return array
        return None

    def prepared(self, column: Column, valid: Bools | None) -> Prepared:
        """What ``whole`` does not take: files in a pass of their own, the rest by the reference."""
        if isinstance(self.fused, Images) and isinstance(column, VarColumn):
            return self.fused.take_files(column, valid)
        return prepare(self.input, column, valid, self.dtype)


class Numbers:
    """One input's columns, scaled number by number: float32 as they lie are handed through."""

    def __init__(self, input: Input, work: Sequence[Step]) -> None:
        self.input, self.shape = input, prepared_shape(input)
        self.is_plain, self.is_laid_out = not work and input.dtype == "float32", self.shape == input.shape
        self.is_looked_through = input.missing != "nan"
        self.scalings = Scalings(prod(input.shape), [scaling(step, input.shape) for step in work])

    def take(self, column: Array) -> tuple[Array, bool]:
        """What the steps make of a contiguous column, and whether there was a NaN in it (not looked for where it may pass)."""
        if self.is_plain:
            array = column if self.is_laid_out else column.reshape(len(column), *self.shape)
            return array, self.is_looked_through and any_nan(column.ravel())
        array = np.empty((len(column), *self.shape), np.float32)
        return array, take_in(column.ravel(), array.ravel(), self.scalings.call)


def _fused(input: Input) -> Numbers | Images | None:
    """The pass for the steps of an input; None where they are not one."""
    work, layout = split_steps(input.steps)
    is_scaled = all(step.op in CODES for step in work) and all(step.op == "reshape" for step in layout)
    if input.dtype != "blob" and is_scaled:
        return Numbers(input, work)
    steps = image_steps(input)
    return Images(input, steps) if steps else None


def split_steps(steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The steps, and those at the end that only change the layout."""
    at = len(steps)
    while at and steps[at - 1].op in _LAYOUT:
        at -= 1
    return steps[:at], steps[at:]


def lift(astore: Astore) -> Graph:
    """The astore's graph with the layout steps at the end of its inputs as nodes: a plan has them for nothing."""
    graph = astore.graph
    for at, input in enumerate(astore.inputs):
        if graph.inputs[at].dtype == "float32":
            graph = _lift_input(graph, at, input)
    return replace(graph, layers=())


def _lift_input(graph: Graph, at: int, input: Input) -> Graph:
    work, layout = split_steps(input.steps)
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
