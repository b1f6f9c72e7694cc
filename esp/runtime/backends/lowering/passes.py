"""Passes over a graph before it is lowered: what does nothing goes, constants are computed, scale and bias join the weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from esp.astore.graph import Array, Graph, Node, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows, Unknown
from esp.astore.ops.rules import show
from esp.astore.validation import validate
from esp.errors import BackendError
from esp.runtime.backends.lowering.values import Shape

Attrs = Mapping[str, Any]


@dataclass(slots=True)
class Net:
    """A graph that passes may change: its nodes, weights and shapes; ``outputs`` names the tensors that leave it.

    ``attrs[i]`` are the complete attributes of node i. A MatMul may have a third input here: a bias.
    """

    nodes: list[Node]
    weights: dict[str, Array]
    shapes: dict[str, Shape]
    inputs: tuple[str, ...]
    outputs: list[str]

    def users(self, name: str) -> list[Node]:
        return [node for node in self.nodes if name in node.inputs]

    def only_user(self, name: str) -> Node | None:
        """The one node that uses a tensor, where there is just one and the tensor is no output of the graph."""
        users = self.users(name)
        return users[0] if len(users) == 1 and name not in self.outputs and users[0].inputs.count(name) == 1 else None

    def weight(self, node: Node, index: int) -> Array | None:
        """Input ``index`` of a node, where it is a weight."""
        return self.weights.get(node.inputs[index]) if index < len(node.inputs) else None

    def put(self, name: str, array: Array) -> str:
        """Stores a weight under a name like the one given, and tells the name."""
        while name in self.weights or name in self.shapes:
            name += "'"
        self.weights[name], self.shapes[name] = array, array.shape
        return name


def simplify(graph: Graph) -> Net:
    """The graph after all passes. Raises GraphError when it is not valid, BackendError for sizes that a plan does not know."""
    net = Net(
        list(graph.nodes), dict(graph.weights), _plain_shapes(graph), tuple(value.name for value in graph.inputs),
        [value.name for value in graph.outputs],
    )  # fmt: skip
    _drop_unused(net)
    _drop_identities(net)
    _compute_constants(net)
    for fold in (_fold_normalisation, _fold_bias):
        _fold_all(net, fold)
    return net


def _plain_shapes(graph: Graph) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, shape in validate(graph).items():
        if any(isinstance(size, Rows | Unknown) for size in shape):
            what = f"the numba backend cannot take a tensor of shape {show(shape)}"
            raise BackendError(what, where=f"tensor '{name}'", mend="use the backend onnxruntime or auto")
        shapes[name] = cast(Shape, shape)
    return shapes


def _drop_unused(net: Net) -> None:
    """Nodes whose outputs nobody uses, and outputs that nobody uses (by an empty name)."""
    needed, kept = set(net.outputs), []
    for node in reversed(net.nodes):
        outputs = tuple(name if name in needed else "" for name in node.outputs)
        if any(outputs):
            needed.update(node.inputs)
            kept.append(replace(node, outputs=outputs))
    net.nodes = kept[::-1]


def _drop_identities(net: Net) -> None:
    renamed: dict[str, str] = {}
    kept = []
    for node in net.nodes:
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        if node.op in ("Identity", "Dropout") and not any(node.outputs[1:]):
            renamed[node.outputs[0]] = node.inputs[0]
        else:
            kept.append(node)
    net.nodes, net.outputs = kept, [renamed.get(name, name) for name in net.outputs]


def _compute_constants(net: Net) -> None:
    kept = []
    for node in net.nodes:
        if not all(name in net.weights for name in node.inputs if name):
            kept.append(node)
            continue
        arrays = [net.weights[name] if name else None for name in node.inputs]
        made = OPS[node.op].reference(complete_attrs(node), arrays, len(node.outputs))
        net.weights.update((name, array) for name, array in zip(node.outputs, made) if name)
    net.nodes = kept


def _fold_all(net: Net, fold: Callable[[Net, Node, Node], Node | None]) -> None:
    """Lets ``fold(net, producer, user)`` make one node of two, wherever the user is the producer's only one."""
    at = 0
    while at < len(net.nodes):
        node = net.nodes[at]
        user = net.only_user(node.outputs[0]) if node.op in ("Conv", "Gemm", "MatMul") else None
        one = fold(net, node, user) if user is not None else None
        if one is None or user is None:
            at += 1
            continue
        net.nodes[at] = one
        net.nodes.remove(user)


def _fold_normalisation(net: Net, node: Node, user: Node) -> Node | None:
    """BatchNormalization into the weights before it: w * s, (b - mean) * s + beta."""
    w, statistics = net.weight(node, 1), [net.weight(user, index) for index in range(1, 5)]
    if user.op != "BatchNormalization" or w is None or node.op == "MatMul":
        return None
    if any(array is None for array in statistics) or (len(node.inputs) > 2 and node.inputs[2] and net.weight(node, 2) is None):
        return None
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in statistics)
    scale = gamma / np.sqrt(variance + complete_attrs(user)["epsilon"])
    attrs, old = complete_attrs(node), net.weight(node, 2)
    bias = np.zeros(len(scale)) if old is None else old * attrs.get("beta", 1.0)
    if node.op == "Conv":
        w = w * scale.reshape(-1, *[1] * (w.ndim - 1))
    else:
        w = attrs["alpha"] * w * (scale[:, None] if attrs["transB"] else scale)
    names = (
        net.put(node.inputs[1], np.asarray(w, np.float32)),
        net.put(node.inputs[1], np.asarray((bias - mean) * scale + beta, np.float32)),
    )
    plain = {key: value for key, value in node.attrs.items() if key not in ("alpha", "beta")}
    return replace(node, inputs=(node.inputs[0], *names), outputs=user.outputs, attrs=plain)


def _fold_bias(net: Net, node: Node, user: Node) -> Node | None:
    """An Add of a constant one a channel into the product before it."""
    if user.op != "Add" or (len(node.inputs) > 2 and node.inputs[2]) or net.weight(node, 1) is None:
        return None
    other = net.weight(user, 1 if user.inputs[0] == node.outputs[0] else 0)
    shape = net.shapes[node.outputs[0]]
    channel = 1 if node.op == "Conv" else len(shape) - 1
    columns = shape[channel]
    if other is None or net.shapes[user.outputs[0]] != shape or columns is None or other.ndim > len(shape):
        return None
    sizes = (1,) * (len(shape) - other.ndim) + other.shape
    if any(size != 1 for axis, size in enumerate(sizes) if axis != channel):
        return None
    bias = net.put(user.outputs[0] + ".bias", np.ascontiguousarray(np.broadcast_to(other.reshape(-1), (columns,))))
    return replace(node, inputs=(*node.inputs[:2], bias), outputs=user.outputs)
