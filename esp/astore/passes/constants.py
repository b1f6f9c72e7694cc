"""What is known ahead of the data is computed ahead: nodes over weights, and sizes made of the shapes of tensors."""

from collections.abc import Sequence

import numpy as np

from esp.astore.graph import Array, Node, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows
from esp.astore.ops.rules import size_of
from esp.astore.passes.net import Net
from esp.astore.passes.nodes import Nodes
from esp.astore.validation import SPACIOUS, computed
from esp.errors import GraphError

GROWTH = 4  # a result may be so many times as large as what it is made of,
FREE_NUMBERS = 1 << 18  # or hold so many numbers
GROWTH_IN_ALL = 8  # numbers read and made, and operations, in one graph for each number of its weights,
FREE_IN_ALL = 1 << 21  # and so many numbers
FREE_FLOPS = 1 << 28  # and operations beside: a file of a few bytes is not to cost gigabytes or hours


def fold_constants(net: Net) -> None:
    """Nodes over weights become weights, but for those of ``constant_nodes`` that cost much.

    GraphError where a node cannot take the weights that it has.
    """
    cheap, _ = constant_nodes(net)
    for node in cheap:
        for name, array in zip(node.outputs, _made(net, node)):
            if name:
                net.weights[name] = net.facts.numbers[name] = np.ascontiguousarray(array).reshape(array.shape)
    folded = {id(node) for node in cheap}
    net.nodes = Nodes(_kept_for_outputs(net, [node for node in net.nodes if id(node) not in folded]))


def constant_nodes(net: Net) -> tuple[list[Node], list[Node]]:
    """The nodes that no event bears on: those over weights that are worth folding, and the others, which grow or cost too much."""
    cheap: list[Node] = []
    costly: list[Node] = []
    earned = GROWTH_IN_ALL * sum(array.size for array in net.weights.values())
    room, work = FREE_IN_ALL + earned, FREE_FLOPS + earned
    weights, constants = {*net.weights, ""}, {*net.facts.numbers, ""}
    for node in net.nodes:
        if weights.issuperset(node.inputs) and node.op not in SPACIOUS and _is_worth_it(net, node):
            numbers, flops = _cost(net, node)
            if numbers <= room and flops <= work:
                room, work = room - numbers, work - flops
                weights.update(node.outputs)
                constants.update(node.outputs)
                cheap.append(node)
                continue
        if constants.issuperset(node.inputs) and not constants.issuperset(node.outputs):
            constants.update(node.outputs)
            costly.append(node)
    return cheap, costly


def _is_worth_it(net: Net, node: Node) -> bool:
    room = max(FREE_NUMBERS, GROWTH * sum(size_of(net.shape(name)) for name in node.inputs if name))
    return all(size_of(net.shape(name)) <= room for name in node.outputs if name)


def _cost(net: Net, node: Node) -> tuple[int, int]:
    """Numbers that it reads and makes, and its floating-point operations."""
    ins = [net.shape(name) if name else None for name in node.inputs]
    outs = [net.shape(name) if name else () for name in node.outputs]
    numbers = sum(size_of(shape) for shape in (*ins, *outs) if shape is not None)
    return numbers, OPS[node.op].flops(complete_attrs(node), ins, outs)


def _made(net: Net, node: Node) -> Sequence[Array]:
    arrays = [net.weights[name] if name else None for name in node.inputs]
    try:
        return computed(OPS[node.op], complete_attrs(node), arrays, len(node.outputs))
    except GraphError as err:
        raise GraphError(err.what, where=f"node {node.op} -> {', '.join(map(repr, node.outputs))}", mend=err.mend) from err


def _kept_for_outputs(net: Net, nodes: list[Node]) -> list[Node]:
    """The nodes, and an Identity for each output of the graph that is a weight now: an output is made by a node."""
    for value in net.outputs:
        if value.name in net.weights and not any(value.name == one.name for one in net.inputs):
            array = net.weights.pop(value.name)
            del net.facts.shapes[value.name]
            nodes.append(Node("Identity", (net.put(value.name + ".constant", array),), (value.name,)))
            net.facts.shapes[value.name] = array.shape
    return nodes


def fold_sizes(net: Net) -> None:
    """Inputs whose numbers are known from the shapes of tensors become weights; a Reshape that keeps the batch names it by 0 or -1."""
    for node in net.nodes:
        inputs = list(node.inputs)
        for index, name in enumerate(inputs):
            numbers = net.facts.numbers.get(name)
            if numbers is None or name in net.weights:
                continue
            if numbers.dtype == object:
                target = _target(net, node) if (node.op, index) == ("Reshape", 1) else None
                if target is None:
                    continue
                numbers = target
            inputs[index] = net.put(f"{name}.known", np.ascontiguousarray(numbers).reshape(numbers.shape))
        if inputs != list(node.inputs):
            net.nodes.swap(node, Node(node.op, tuple(inputs), node.outputs, node.attrs))


def _target(net: Net, node: Node) -> "np.typing.NDArray[np.int64] | None":
    """The shape that a Reshape gives as its second input may say it: the batch by -1; None where another size is open, or 0."""
    shape = net.shape(node.outputs[0])
    sizes = [-1 if size is None or isinstance(size, Rows) else size for size in shape]
    if sizes.count(-1) != 1 or not all(isinstance(size, int) and size for size in sizes):
        return None
    return np.array(sizes, np.int64)
