"""What is known ahead of the data is computed ahead: nodes over weights, and sizes made of the shapes of tensors."""

import numpy as np

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows
from esp.astore.ops.rules import size_of
from esp.astore.passes.net import Net

GROWTH = 4  # a result may be so many times as large as what it is made of,
FREE_NUMBERS = 1 << 18  # or hold so many numbers


def fold_constants(net: Net) -> None:
    """Nodes whose inputs are all weights become weights, unless the result is much larger than they are."""
    kept = []
    for node in net.nodes:
        if not all(name in net.weights for name in node.inputs if name) or not _is_worth_it(net, node):
            kept.append(node)
            continue
        arrays = [net.weights[name] if name else None for name in node.inputs]
        with np.errstate(all="ignore"):
            made = OPS[node.op].reference(complete_attrs(node), arrays, len(node.outputs))
        for name, array in zip(node.outputs, made):
            if name:
                net.weights[name] = net.facts.numbers[name] = np.ascontiguousarray(array).reshape(array.shape)
    net.nodes = _kept_for_outputs(net, kept)


def _is_worth_it(net: Net, node: Node) -> bool:
    room = max(FREE_NUMBERS, GROWTH * sum(net.weights[name].size for name in node.inputs if name))
    return all(size_of(net.shape(name)) <= room for name in node.outputs if name)


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
    for at, node in enumerate(net.nodes):
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
            net.nodes[at] = Node(node.op, tuple(inputs), node.outputs, node.attrs)


def _target(net: Net, node: Node) -> "np.typing.NDArray[np.int64] | None":
    """The shape that a Reshape gives as its second input may say it: the batch by -1; None where another size is open, or 0."""
    shape = net.shape(node.outputs[0])
    sizes = [-1 if size is None or isinstance(size, Rows) else size for size in shape]
    if sizes.count(-1) != 1 or not all(isinstance(size, int) and size for size in sizes):
        return None
    return np.array(sizes, np.int64)
