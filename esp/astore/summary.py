"""A graph layer by layer: what goes out, how many numbers it learns, how much work a row is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Graph, Layer, Node, Shape, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.activations import ACTIVATIONS
from esp.astore.validation import node_flops, validate

_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer. ``kernel`` and ``stride`` are () and ``activation`` is "" where it has none; ``flops`` are for one row.

    ``parameters`` counts what training may learn (batch normalisation: 2 a channel); a weight that layers share counts in
    the first alone.
    """

    name: str
    kind: str
    output_shape: Shape
    kernel: Shape
    stride: tuple[int, ...]
    activation: str
    parameters: int
    flops: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the layers; ``weight_bytes`` are of all weights, learnt or not."""

    layers: int
    parameters: int
    flops: int
    weight_bytes: int


def layer_rows(graph: Graph) -> list[LayerRow]:
    """A row for each layer of the layer table and each node outside it, in the order in which they run.

    A layer without nodes is an input, of its layer's name.
    """
    shapes, work = validate(graph), node_flops(graph)
    inside = {at for layer in graph.layers for at in layer.nodes}
    strays = (Layer(node.outputs[0], node.op, (at,)) for at, node in enumerate(graph.nodes) if at not in inside)
    rows, seen = [], set[str]()
    for layer in sorted((*graph.layers, *strays), key=lambda layer: layer.nodes[:1]):
        nodes = [graph.nodes[at] for at in layer.nodes]
        learnt = [name for node in nodes for name in trainable_weights(graph, node) if name not in seen]
        kernel, stride = _window(nodes, shapes)
        rows.append(
            LayerRow(
                layer.name,
                layer.kind,
                _output_shape(nodes, shapes) if nodes else shapes.get(layer.name, ()),
                kernel,
                stride,
                _activation(nodes),
                sum(graph.weights[name].size for name in dict.fromkeys(learnt)),
                sum(work[at] for at in layer.nodes),
            )
        )
        seen.update(learnt)
    return rows


def totals(graph: Graph, rows: Sequence[LayerRow]) -> Totals:
    """The sums of ``rows`` as ``layer_rows(graph)`` gave them."""
    weight_bytes = sum(array.nbytes for array in graph.weights.values())
    return Totals(len(rows), sum(row.parameters for row in rows), sum(row.flops for row in rows), weight_bytes)


def trainable_weights(graph: Graph, node: Node) -> list[str]:
    """The names of the weights of ``node`` that training may learn: floating ones at inputs that its row calls trainable.

    A lone number without an axis is a constant, and so is what is only given another shape (the scale after a batch
    normalisation of an imported graph, which counts there).
    """
    may = OPS[node.op].trainable
    if node.op in _RESHAPING:
        return []
    names = [name for at, name in enumerate(node.inputs) if name in graph.weights and (may is None or at in may)]
    return [name for name in names if graph.weights[name].ndim and np.issubdtype(graph.weights[name].dtype, np.floating)]


def _output_shape(nodes: Sequence[Node], shapes: Mapping[str, Shape]) -> Shape:
    made = (name for node in reversed(nodes) for name in node.outputs if name)
    return shapes.get(next(made, ""), ())


def _activation(nodes: Sequence[Node]) -> str:
    """The function that a layer ends with; what is multiplied by its own sigmoid is a Swish."""
    last = nodes[-1] if nodes else None
    if last and last.op == "Mul":
        gates = ((node.inputs[0], node.outputs[0]) for node in nodes if node.op == "Sigmoid")
        return "Swish" if any({*last.inputs} == {*gate} for gate in gates) else ""
    return last.op if last and last.op in ACTIVATIONS else ""


def _window(nodes: Iterable[Node], shapes: Mapping[str, Shape]) -> tuple[Shape, tuple[int, ...]]:
    """Kernel and strides of the first node that slides a window."""
    for node in nodes:
        attrs = complete_attrs(node)
        if "kernel_shape" in attrs:
            kernel = attrs["kernel_shape"] or shapes[node.inputs[1]][2:]
            return kernel, attrs["strides"] or (1,) * len(kernel)
    return (), ()
