"""The graph: nodes in ONNX words over named tensors, frozen, with its weights and its layer table."""

import graphlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from esp.astore.ops import OPS
from esp.astore.ops.row import DTYPES, Array, Attr, Attrs, Op, Shape, complete
from esp.astore.ops.rules import show
from esp.errors import GraphError

__all__ = [
    "Array",
    "Attr",
    "Graph",
    "Layer",
    "Node",
    "Shape",
    "Value",
    "complete_attrs",
    "flops",
    "node_flops",
    "run_reference",
    "sorted_nodes",
    "validate",
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
    """A named input or output of a graph; ``shape[0]`` is None, the batch."""

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

    ``validate`` in this module checks one and names what is wrong; every astore that is written or read has passed it.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: Mapping[str, Array]
    layers: tuple[Layer, ...] = ()


def complete_attrs(node: Node) -> Attrs:
    """The attributes of ``node`` with defaults filled in (None = not given). Raises GraphError where the row refuses them."""
    return complete(_op_of(node), node.attrs)


def validate(graph: Graph) -> dict[str, Shape]:
    """The shape of every tensor of a graph that is well formed. Raises GraphError, naming node and tensors, for one that is not."""
    shapes: dict[str, Shape] = {}
    dtypes: dict[str, str] = {}
    _enter_inputs(graph, shapes, dtypes)
    producers = {name: at for at, node in reversed([*enumerate(graph.nodes)]) for name in node.outputs if name}
    for index, node in enumerate(graph.nodes):
        try:
            _check_ends(node, index, shapes, producers, graph)
            made = _infer(node, graph.weights, shapes, dtypes)
        except GraphError as err:
            if err.where:
                raise
            raise GraphError(err.what, where=_name_of(index, node), mend=err.mend) from err
        for name, shape, dtype in made:
            shapes[name], dtypes[name] = shape, dtype
    _check_outputs(graph, shapes, dtypes)
    _check_layers(graph)
    return shapes


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


def run_reference(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The graph's outputs for ``inputs`` (in the graph's order, any number of rows), by the op table's numpy references."""
    tensors: dict[str, Array] = dict(graph.weights)
    tensors.update((value.name, array) for value, array in zip(graph.inputs, inputs, strict=True))
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            given = [tensors[name] if name else None for name in node.inputs]
            made = OPS[node.op].reference(complete_attrs(node), given, len(node.outputs))
            tensors.update((name, array) for name, array in zip(node.outputs, made) if name)
    return [tensors[value.name] for value in graph.outputs]


def node_flops(graph: Graph) -> list[int]:
    """Floating-point operations for one row, node by node; a multiply-add counts two."""
    shapes = validate(graph)
    return [
        OPS[node.op].flops(
            complete_attrs(node),
            [shapes.get(name) for name in node.inputs],
            [shapes[name] if name else () for name in node.outputs],
        )
        for node in graph.nodes
    ]


def flops(graph: Graph) -> int:
    """Floating-point operations for one row; a multiply-add counts two."""
    return sum(node_flops(graph))


def _op_of(node: Node) -> Op:
    if node.op not in OPS:
        raise GraphError(f"unknown op {node.op!r}", mend=f"use one of: {', '.join(sorted(OPS))}")
    return OPS[node.op]


def _name_of(index: int, node: Node) -> str:
    return f"node {index} ({node.op} -> {', '.join(map(repr, node.outputs))})"


def _enter_inputs(graph: Graph, shapes: dict[str, Shape], dtypes: dict[str, str]) -> None:
    for value in graph.inputs:
        where = f"input {value.name!r}"
        if not value.name or value.name in shapes:
            raise GraphError("the name is empty or taken twice", where=where, mend="give each tensor a name of its own")
        if value.dtype not in DTYPES:
            raise GraphError(f"unknown dtype {value.dtype!r}", where=where, mend=f"use one of: {', '.join(DTYPES)}")
        if value.shape[:1] != (None,) or any(size is None or size < 1 for size in value.shape[1:]):
            what = f"shape {show(value.shape)} is not [N, sizes above 0]"
            raise GraphError(what, where=where, mend="put the batch (None) first and fix the rest")
        shapes[value.name], dtypes[value.name] = value.shape, value.dtype
    for name, array in graph.weights.items():
        if not name or name in shapes:
            raise GraphError(
                "the name is empty or taken twice", where=f"weight {name!r}", mend="give each tensor a name of its own"
            )
        if array.dtype.name not in DTYPES:
            raise GraphError(
                f"unknown dtype {array.dtype.name!r}", where=f"weight {name!r}", mend=f"use one of: {', '.join(DTYPES)}"
            )
        if 0 in array.shape:
            raise GraphError(f"shape {show(array.shape)} has an empty axis", where=f"weight {name!r}", mend="leave the weight out")
        shapes[name], dtypes[name] = array.shape, array.dtype.name


def _check_ends(node: Node, index: int, shapes: Mapping[str, Shape], producers: Mapping[str, int], graph: Graph) -> None:
    """Raises GraphError where the number of inputs or outputs, or one of their names, is wrong."""
    op = _op_of(node)
    for what, names, (least, most) in (("inputs", node.inputs, op.inputs), ("outputs", node.outputs, op.outputs)):
        if not least <= len(names) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise GraphError(f"wants {wanted} {what}, got {len(names)}", mend=f"give as many as {op.name} has")
    if "" in node.inputs[: op.inputs[0]] or not any(node.outputs):
        raise GraphError("an input or output that must be there is left out", mend="name it")
    for name in filter(None, node.inputs):
        if name not in shapes:
            _refuse_undefined(name, producers, graph)
    for at, name in enumerate(node.outputs):
        if name and (name in shapes or name in node.outputs[:at]):
            raise GraphError(f"output {name!r} is made already", mend="give each tensor a name of its own")


def _refuse_undefined(name: str, producers: Mapping[str, int], graph: Graph) -> None:
    if name not in producers:
        raise GraphError(f"input {name!r} is no tensor of the graph", mend="name an input, a weight or an earlier node's output")
    try:
        sorted_nodes(graph.nodes)
    except GraphError as err:
        raise GraphError(f"input {name!r} is not made yet: {err.what}", mend=err.mend) from err
    what = f"input {name!r} is made later, by node {producers[name]}"
    raise GraphError(what, mend="put the nodes in the order in which they run (sorted_nodes)")


def _infer(
    node: Node, weights: Mapping[str, Array], shapes: Mapping[str, Shape], dtypes: Mapping[str, str]
) -> list[tuple[str, Shape, str]]:
    """Name, shape and dtype of each output of a node whose ends are sound."""
    op, attrs = OPS[node.op], complete_attrs(node)
    ins = [shapes[name] if name else None for name in node.inputs]
    outs = op.shapes(attrs, ins, [weights.get(name) for name in node.inputs])
    of = op.dtypes.infer([dtypes[name] if name else None for name in node.inputs], len(node.outputs))
    is_batched = any(shape is not None and None in shape for shape in ins)
    for name, shape in zip(node.outputs, outs):
        if shape.count(None) != is_batched:
            what = f"output {name!r} of shape {show(shape)} does not have the batch axis once"
            raise GraphError(what, mend="keep the batch an axis of its own")
    return [(name, shape, dtype) for name, shape, dtype in zip(node.outputs, outs, of) if name]


def _check_outputs(graph: Graph, shapes: Mapping[str, Shape], dtypes: Mapping[str, str]) -> None:
    if not graph.inputs or not graph.outputs:
        raise GraphError("the graph has no inputs or no outputs", mend="name one of each at least")
    for at, value in enumerate(graph.outputs):
        where = f"output {value.name!r}"
        if value.name not in shapes:
            raise GraphError("no node makes it", where=where, mend="name a tensor of the graph")
        if value in graph.outputs[:at]:
            raise GraphError("it is named twice", where=where, mend="name each output once")
        found = shapes[value.name], dtypes[value.name]
        if found != (value.shape, value.dtype):
            what = f"declared {value.dtype}{show(value.shape)}, the graph makes {found[1]}{show(found[0])}"
            raise GraphError(what, where=where, mend="declare what it makes")
        if found[0][:1] != (None,):
            raise GraphError(
                f"shape {show(found[0])} does not begin with the batch", where=where, mend="bring the batch to the front"
            )


def _check_layers(graph: Graph) -> None:
    names: set[str] = set()
    taken: set[int] = set()
    for layer in graph.layers:
        where = f"layer {layer.name!r}"
        if layer.name in names:
            raise GraphError("the name is taken twice", where=where, mend="give each layer a name of its own")
        if not all(0 <= at < len(graph.nodes) and at not in taken for at in layer.nodes):
            what = f"nodes {list(layer.nodes)} are not nodes of the graph, or of another layer too"
            raise GraphError(what, where=where, mend="name nodes of this layer alone")
        names.add(layer.name)
        taken.update(layer.nodes)
