"""The layers of a graph that slide along time, and what each window computes of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm
from typing import cast

import numpy as np

from esp.astore.graph import Graph, Node, Value, complete_attrs
from esp.astore.passes import simplify
from esp.astore.validation import Facts, examine
from esp.errors import BackendError
from esp.runtime.backends.lowering.values import Shape
from esp.runtime.backends.sliding.cuts import NONE, Cut, Marks, Range, cut
from esp.runtime.backends.sliding.timeline import MOVES, RULES, Reach, Site

WHOLE = "score whole windows"


@dataclass(frozen=True, slots=True)
class Line:
    """A tensor along time: its axis, how many positions, and how many events lie from one to the next."""

    axis: int
    length: int
    events: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A node that slides: what it reads of the tensors ``sources``, which run along time."""

    node: Node
    reach: Reach
    sources: tuple[str, ...]

    @property
    def outputs(self) -> list[str]:
        return [name for name in self.node.outputs if name]


@dataclass(slots=True)
class Layers:
    """A graph read for windows of ``length`` events that move by ``hop``; ``given``: tensors that are there whole with every window."""

    graph: Graph
    length: int
    hop: int
    facts: Facts
    lines: dict[str, Line] = field(default_factory=dict)
    layers: dict[int, Layer] = field(default_factory=dict)  # by the id of its node
    given: set[str] = field(default_factory=set)
    cuts: dict[int, Cut] = field(default_factory=dict)
    zeros: dict[str, Range] = field(default_factory=dict)  # that lie before and after the positions of a tensor
    marks: dict[tuple[str, int], Marks] = field(default_factory=dict)
    maker: dict[str, Layer] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, length: int, hop: int) -> "Layers":
        """BackendError when the graph does not take windows of so many events."""
        simple = simplify(_oriented(graph, length))
        made = cls(simple, length, hop, examine(simple))
        window = simple.inputs[0]
        made.lines[window.name] = Line(1, length, 1)
        made.given.add(window.name)
        for node in simple.nodes:
            made._read(node)
        made._cut_all()
        made._add_zeros()
        return made

    def site(self, node: Node) -> Site:
        axes = {name: self.lines[name].axis for name in node.inputs if name in self.lines}
        return Site(node, cast(Mapping[str, Shape], self.facts.shapes), self.facts.numbers, axes)

    def _read(self, node: Node) -> None:
        sources = tuple(dict.fromkeys(name for name in node.inputs if name in self.lines))
        others = [name for name in node.inputs if name and name not in self.lines and name not in self.facts.numbers]
        if node.op not in RULES or not sources or others or node.inputs[0] not in (*self.lines, *self.facts.numbers):
            return
        lines = [self.lines[name] for name in sources]
        if len({(line.length, line.events) for line in lines}) > 1:
            return
        found = RULES[node.op](self.site(node)) if self._is_led(node) else None
        if found is None:
            return
        reach, axis = found
        for name in filter(None, node.outputs):
            self.lines[name] = Line(axis, cast(int, self.facts.shapes[name][axis]), lines[0].events * reach.stride)
        if node.op in MOVES and sources[0] in self.given:
            self.given.update(filter(None, node.outputs))
            return
        layer = self.layers[id(node)] = Layer(node, reach, sources)
        self.maker.update(dict.fromkeys(layer.outputs, layer))

    def _is_led(self, node: Node) -> bool:
        """Whether what runs along time stands where the rules look for it."""
        return node.inputs[0] in self.lines or node.op in ("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min")

    def same(self, name: str, events: int) -> Marks:
        """The positions of a tensor that are the same as what lay so many events further in an older window."""
        if (name, events) not in self.marks:
            self.marks[name, events] = self._same(name, events)
        return self.marks[name, events]

    def _same(self, name: str, events: int) -> Marks:
        line = self.lines[name]
        positions = np.arange(line.length)
        within = positions + events // line.events < line.length
        if name in self.given:
            return within
        layer = self.maker[name]
        reads = layer.reach.reads(positions)
        for source in layer.sources:
            marks = self.same(source, events)
            inside = (reads >= 0) & (reads < len(marks))
            within &= (inside & marks[np.clip(reads, 0, len(marks) - 1)]).all(axis=1)
        return within

    def _mark_all(self) -> None:
        """``same`` of every layer that is asked for, from the first on, for each looks back at those before it."""
        layers = [self.layers[id(node)] for node in self.graph.nodes if id(node) in self.layers]
        for events in sorted({self._period(layer) for layer in layers}):
            for layer in layers:
                if events % self.lines[layer.outputs[0]].events == 0:
                    self.same(layer.outputs[0], events)

    def _cut_all(self) -> None:
        """From the last layer to the first: what is asked of each, and so what each computes."""
        self._mark_all()
        need = {name: np.zeros(line.length, np.bool_) for name, line in self.lines.items()}
        for value in self.graph.outputs:
            if value.name in need:
                need[value.name][:] = True
        for node in reversed(self.graph.nodes):
            layer = self.layers.get(id(node))
            if layer is None:
                for name in need.keys() & set(node.inputs):
                    need[name][:] = True
                continue
            asked = np.logical_or.reduce([need[name] for name in layer.outputs])
            if asked.any():
                self._cut(layer, asked)
                for one in self.cuts[id(node)].computed:
                    for name in layer.sources:
                        need[name][slice(*self.reading(layer, one))] = True

    def _add_zeros(self) -> None:
        """How many zeros each tensor that is handed on has beside it: as many as its convolutions read."""
        zeros = dict[str, Range]()
        for node in self.graph.nodes:
            if id(node) not in self.cuts or not _is_padded_by_zeros(node, self.facts):
                continue
            layer = self.layers[id(node)]
            source = layer.sources[0]
            if source in self.maker and self.cuts[id(self.maker[source].node)].kept is not None:
                spans = [layer.reach.span(*one) for one in self.cuts[id(node)].computed]
                before, after = zeros.get(source, NONE)
                last = max(end for _, end in spans) - self.lines[source].length
                zeros[source] = max(before, -min(first for first, _ in spans)), max(after, last)
        self.zeros.update(zeros)

    def _period(self, layer: Layer) -> int:
        """After how many events a window finds positions of the layer where those of an older one were."""
        return lcm(self.lines[layer.outputs[0]].events, self.hop)

    def _cut(self, layer: Layer, asked: Marks) -> None:
        line, events = self.lines[layer.outputs[0]], self._period(layer)
        found = cut(asked, self.same(layer.outputs[0], events), events // line.events, events // self.hop)
        left, right = (self._reading_something(layer, one) for one in (found.left, found.right))
        self.cuts[id(layer.node)] = Cut(left, right, found.kept)

    def reading(self, layer: Layer, one: Range) -> Range:
        """The positions of its sources that a range of a layer reads, padding left out but for zeros that lie with them."""
        first, end = layer.reach.span(*one)
        source = layer.sources[0]
        before, after = self.zeros.get(source, NONE) if _is_padded_by_zeros(layer.node, self.facts) else NONE
        return max(first, -before), min(end, self.lines[source].length + after)

    def _reading_something(self, layer: Layer, one: Range) -> Range:
        """The range, longer where it would read nothing but padding."""
        first, end = one
        length = self.lines[layer.outputs[0]].length
        while first < end:
            start, stop = self.reading(layer, (first, end))
            if start < stop:
                break
            first, end = (first, end + 1) if end < length and stop <= 0 else (first - 1, end)
        return first, end


def _oriented(graph: Graph, length: int) -> Graph:
    """The graph with an input of windows, time first."""
    if len(graph.inputs) != 1:
        raise BackendError(f"the graph has {len(graph.inputs)} inputs", mend=WHOLE)
    value = graph.inputs[0]
    if value.dtype != "float32" or len(value.shape) < 2 or length not in value.shape[1:3]:
        sizes = ", ".join(map(str, value.shape[1:]))
        raise BackendError(f"input '{value.name}' is {value.dtype}[{sizes}], which has no axis of {length} events", mend=WHOLE)
    if value.shape[1] == length:
        return graph
    name = f"{value.name}.window"
    window = Value(name, value.dtype, (None, length, value.shape[1], *value.shape[3:]))
    perm = (0, 2, 1, *range(3, len(value.shape)))
    turned = Node("Transpose", (name,), (value.name,), {"perm": perm})
    return Graph((turned, *graph.nodes), (window,), graph.outputs, graph.weights)


def _is_padded_by_zeros(node: Node, facts: Facts) -> bool:
    """Whether a node is a convolution that a plan computes over a padded copy of its input: all but depthwise ones."""
    if node.op != "Conv":
        return False
    weights = facts.shapes[node.inputs[1]]
    return weights[1] != 1 or complete_attrs(node)["group"] != weights[0]
