"""The graph of one step: what a window computes when the windows before it have left the rest; and the graph that makes a first one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from esp.astore.graph import Array, Graph, Node, Value
from esp.astore.ops.rules import size_of
from esp.runtime.backends.lowering.values import Shape
from esp.runtime.backends.sliding.cuts import NONE, Cut, Kept, Range
from esp.runtime.backends.sliding.layers import Layer, Layers
from esp.runtime.backends.sliding.refit import refitted


@dataclass(frozen=True, slots=True)
class Ring:
    """What one tensor hands on: the step's input ``name`` holds what is asked of it, the first graph's output ``first`` its beginning.

    ``order`` has the time axis first after the batch: so the numbers of a position lie together, ``inner`` of them.
    """

    name: str
    first: str
    kept: Kept
    order: tuple[int, ...]
    inner: int
    left: str  # what lies before the ring; "": nothing
    new: str  # what lies behind it
    zeros: Range  # how many positions of zeros lie before and after all that


@dataclass(frozen=True, slots=True)
class Steps:
    """``whole``: the graph, that takes windows time first; ``step``: inputs are the window and the rings; ``first``: input is the window, outputs the scores and the rings of its next step.

    ``wholes``: tensors of the step that are a whole tensor of the graph, by name, with the name of that.
    """

    whole: Graph
    step: Graph
    first: Graph
    rings: tuple[Ring, ...]
    wholes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Positions ``first`` to ``end`` of a tensor lie in ``name`` from position ``at`` on."""

    first: int
    end: int
    name: str
    at: int = 0


@dataclass(slots=True)
class _Maker:
    """Nodes of the step so far, and in which pieces each tensor along time lies."""

    layers: Layers
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    rings: list[Ring] = field(default_factory=list)
    pieces: dict[str, list[_Piece]] = field(default_factory=dict)
    whole: dict[tuple[str, int, int], str] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)  # how often the whole graph asks for a tensor
    joined: set[str] = field(default_factory=set)  # what Concats and Slices of our own have made

    def fresh(self, name: str) -> str:
        taken = {*self.layers.facts.shapes, *self.weights, *(value.name for value in self.inputs)}
        taken.update(one for node in self.nodes for one in node.outputs)
        while name in taken:
            name += "'"
        return name

    def add(self, op: str, inputs: tuple[str, ...], name: str, **attrs: Any) -> str:
        name = self.fresh(name)
        self.nodes.append(Node(op, inputs, (name,), attrs))
        return name

    def number(self, *numbers: int) -> str:
        name = self.fresh("numbers")
        self.weights[name] = np.array(numbers, np.int64)
        return name

    def sizes(self, name: str, length: int) -> Shape:
        """The shape of some positions of a tensor."""
        shape = list(cast(Shape, self.layers.facts.shapes[name]))
        shape[self.layers.lines[name].axis] = length
        return tuple(shape)

    def part(self, name: str, first: int, end: int) -> str:
        """The tensor that holds just those positions."""
        key = name, first, end
        if key not in self.whole:
            parts, at = [], first
            while at < end:
                piece = max((one for one in self.pieces[name] if one.first <= at < one.end), key=lambda one: one.end)
                parts.append(self._cut(name, piece, at, min(end, piece.end)))
                at = min(end, piece.end)
            axis = self.layers.lines[name].axis
            self.whole[key] = parts[0] if len(parts) == 1 else self.add("Concat", tuple(parts), f"{name}@{first}", axis=axis)
            self.joined.update([self.whole[key]] if len(parts) > 1 else [])
        return self.whole[key]

    def _cut(self, name: str, piece: _Piece, first: int, end: int) -> str:
        start = piece.at + first - piece.first
        ends = max(one.at + one.end - one.first for one in self.pieces[name] if one.name == piece.name)
        if start == 0 and end - first == ends:
            return piece.name
        return self.slice(name, piece.name, start, start + end - first)

    def slice(self, name: str, source: str, first: int, end: int) -> str:
        """Positions of a tensor that holds some of ``name``'s."""
        bounds = self.number(first), self.number(end), self.number(self.layers.lines[name].axis)
        made = self.add("Slice", (source, *bounds), f"{name}@{first}")
        self.joined.add(made)
        return made

    def keep(self, name: str, cut: Cut, computed: list[_Piece]) -> None:
        """Notes where the positions of a tensor lie; what it keeps and what is new behind that become one tensor."""
        kept, line = cut.kept, self.layers.lines[name]
        if kept is None:
            self.pieces[name] = computed
            return
        shape = self.layers.facts.shapes[name]
        ring = self.fresh(f"{name}.ring")
        self.inputs.append(Value(ring, "float32", self.sizes(name, kept.asked)))
        order = (0, line.axis, *(axis for axis in range(1, len(shape)) if axis != line.axis))
        *left, new = computed
        before, after = zeros = self.layers.zeros.get(name, NONE)
        first = left[0].name if left else ""
        self.rings.append(Ring(ring, f"{name}.kept", kept, order, size_of(shape) // line.length, first, new.name, zeros))
        joined = self.add("Concat", (*filter(None, (first, ring, new.name)),), f"{name}@", axis=line.axis)
        if before or after:
            pads = [0] * 2 * len(shape)
            pads[line.axis], pads[line.axis + len(shape)] = before, after
            joined = self.add("Pad", (joined, self.number(*pads)), f"{name}@")
        else:
            self.joined.add(joined)
        ranges = [(-before, 0), *((one.first, one.end) for one in left), (kept.ring[0], kept.head), (kept.tail, kept.ring[1])]
        self.pieces[name] = _lying([*ranges, (new.first, new.end), (line.length, line.length + after)], joined)


def _lying(ranges: list[Range], name: str) -> list[_Piece]:
    """Ranges that lie one after the other in a tensor as pieces, as few as can be."""
    pieces: list[_Piece] = []
    at = 0
    for first, end in ranges:
        if pieces and pieces[-1].end == first:
            pieces[-1] = replace(pieces[-1], end=end)
        elif end > first:
            pieces.append(_Piece(first, end, name, at))
        at += end - first
    return pieces


def derive(layers: Layers) -> Steps:
    """The graphs of a step and of a first window."""
    made = _Maker(layers, weights=dict(layers.graph.weights), inputs=[layers.graph.inputs[0]])
    made.uses.update(name for node in layers.graph.nodes for name in node.inputs)
    made.uses.update(value.name for value in layers.graph.outputs)
    made.pieces.update((name, [_Piece(0, layers.length, name)]) for name in layers.given)
    for node in layers.graph.nodes:
        layer = layers.layers.get(id(node))
        if layer is None:
            _add_whole(made, node)
        elif id(node) in layers.cuts:
            _add_layer(made, layer, layers.cuts[id(node)])
    outputs = tuple(replace(value, name=_all_of(made, value.name)) for value in layers.graph.outputs)
    step = Graph(tuple(made.nodes), tuple(made.inputs), outputs, made.weights)
    wholes = {made.whole[key]: key[0] for key in made.whole if key[1:] == (0, layers.lines[key[0]].length)}
    return Steps(layers.graph, step, _first(layers, made.rings), tuple(made.rings), wholes)


def _all_of(made: _Maker, name: str) -> str:
    """All positions of a tensor; what no part of the step has joined gets a name of its own, under which it is told where to lie."""
    line = made.layers.lines.get(name)
    if line is None or name in made.layers.given:
        return name
    part = made.part(name, 0, line.length)
    if part not in made.joined:
        made.whole[name, 0, line.length] = part = made.slice(name, part, 0, line.length)
    return part


def _add_whole(made: _Maker, node: Node) -> None:
    made.nodes.append(replace(node, inputs=tuple(_all_of(made, name) for name in node.inputs)))


def _add_layer(made: _Maker, layer: Layer, cut: Cut) -> None:
    computed = [_add_range(made, layer, one) for one in cut.computed]
    for at, name in enumerate(layer.node.outputs):
        if name:
            made.keep(name, cut, [_Piece(*one, names[at]) for one, names in zip(cut.computed, computed)])


def _add_range(made: _Maker, layer: Layer, one: Range) -> list[str]:
    """The node over a range of its positions; gives the names of its outputs.

    Where the whole tensor has several readers its parts get a second one too, which computes nothing: what is fused with its only
    reader in one plan, and so rounded otherwise, is fused in the other.
    """
    node, reading = layer.node, made.layers.reading(layer, one)
    inputs = tuple(made.part(name, *reading) if name in layer.sources else name for name in node.inputs)
    outputs = tuple(name and made.fresh(f"{name}@{one[0]}") for name in node.outputs)
    made.nodes.append(refitted(made.layers, replace(node, inputs=inputs, outputs=outputs), layer, one, made.number))
    for name, part in zip(node.outputs, outputs):
        if made.uses[name] > 1:
            rank = len(made.layers.facts.shapes[name])
            made.add("Transpose", (part,), f"{part}.too", perm=tuple(range(rank)))
    return list(outputs)


def _first(layers: Layers, rings: list[Ring]) -> Graph:
    """The graph of a whole window with what it hands on as outputs, positions first."""
    made = _Maker(layers, list(layers.graph.nodes), dict(layers.graph.weights))
    outputs = list(layers.graph.outputs)
    for ring in rings:
        source = ring.first.removesuffix(".kept")
        line = layers.lines[source]
        bounds = (made.number(place) for place in (*ring.kept.handed_on, line.axis))
        cut = made.add("Slice", (source, *bounds), f"{source}@kept")
        name = made.add("Transpose", (cut,), ring.first, perm=ring.order)
        sizes = made.sizes(source, ring.kept.size)
        outputs.append(Value(name, "float32", tuple(sizes[axis] for axis in ring.order)))
    return Graph(tuple(made.nodes), layers.graph.inputs, tuple(outputs), made.weights)
