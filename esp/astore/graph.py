"""The graph: nodes in ONNX words over named tensors, frozen, with its weights and its layer table."""

import graphlib
import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from esp.astore.ops import OPS
from esp.astore.ops.row import MANY, Array, Attr, Attrs, Op, Shape, Tensor, complete
from esp.errors import GraphError

__all__ = [
    "Array",
    "Attr",
    "Graph",
    "Layer",
    "Node",
    "Shape",
    "Tensor",
    "Value",
    "complete_attrs",
    "live_nodes",
    "op_of",
    "read_outputs",
    "run_reference",
    "sorted_nodes",
]


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX operator: ``inputs`` and ``outputs`` name tensors ("" = an optional one left out), ``attrs`` as in ONNX."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """A named input or output of a graph; ``shape[0]`` is None, the batch (but in a graph without one: ``validate``)."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as its builder knew it: its name, its kind (Keras/DLPy word) and the indices of its nodes."""

    name: str
    kind: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which they can run, opset 21 meaning; weights by tensor name.

    ``validation.validate`` checks one and names what is wrong; every astore that is written or read has passed it.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: Mapping[str, Array]
    layers: tuple[Layer, ...] = ()


def complete_attrs(node: Node) -> Attrs:
    """The attributes of ``node`` with defaults filled in (None = not given). Raises GraphError where the row refuses them."""
    return complete(op_of(node), node.attrs)


def sorted_nodes(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Indices of ``nodes`` in an order in which they can run, as near to the given one as can be.

    Raises GraphError where nodes wait for one another, naming the tensors of the cycle.
    """
    producers = {name: at for at, node in enumerate(nodes) for name in node.outputs if name}
    waits = {at: {producers[name] for name in node.inputs if name in producers} for at, node in enumerate(nodes)}
    sorter = graphlib.TopologicalSorter(waits)
    try:
        sorter.prepare()
    except graphlib.CycleError as err:
        around = " -> ".join(f"{nodes[at].op} {nodes[at].outputs[0]!r}" for at in err.args[1])
        raise GraphError(f"the nodes form a cycle: {around}", mend="cut it: a node may use only what comes before it") from err
    order: list[int] = []
    ready = list(sorter.get_ready())
    while ready:
        heapq.heapify(ready)
        order.append(heapq.heappop(ready))
        sorter.done(order[-1])
        ready.extend(sorter.get_ready())
    return tuple(order)


def live_nodes(nodes: Sequence[tuple[Collection[str], Collection[str]]], wanted: Collection[str]) -> list[int]:
    """Which of some nodes, each (reads, makes) in an order in which they run, are needed to make the tensors wanted."""
    needed, found = set(wanted), []
    for at in range(len(nodes) - 1, -1, -1):
        reads, makes = nodes[at]
        if needed.intersection(makes):
            found.append(at)
            needed.update(name for name in reads if name)
    return found[::-1]


def read_outputs(outputs: Sequence[str], op: Op, read: Collection[str]) -> tuple[str, ...]:
    """A node's outputs, those at the end that nobody reads left away, as far as its op can do without."""
    count = len(outputs)
    while op.outputs[1] < MANY and count > op.outputs[0] and (not outputs[count - 1] or outputs[count - 1] not in read):
        count -= 1
    return tuple(outputs[:count])


def run_reference(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The graph's outputs for ``inputs`` (in the graph's order, any number of rows), by the op table's numpy references."""
    tensors: dict[str, Array] = dict(graph.weights)
    tensors.update((value.name, array) for value, array in zip(graph.inputs, inputs, strict=True))
    last_use = {name: at for at, node in enumerate(graph.nodes) for name in node.inputs}
    kept = {value.name for value in graph.outputs}
    with np.errstate(all="ignore"):
        for at, node in enumerate(graph.nodes):
            given = [tensors[name] if name else None for name in node.inputs]
            made = OPS[node.op].reference(complete_attrs(node), given, len(node.outputs))
            tensors.update((name, array) for name, array in zip(node.outputs, made) if name)
            for name in {*node.inputs, *node.outputs} - kept:
                if name and last_use.get(name, at) == at:
                    del tensors[name]
    return [tensors[value.name] for value in graph.outputs]


def op_of(node: Node) -> Op:
    """The row of the node's op. Raises GraphError where the table has none."""
    if node.op not in OPS:
        raise GraphError(f"unknown op {node.op!r}", mend=f"use one of: {', '.join(sorted(OPS))}")
    return OPS[node.op]
