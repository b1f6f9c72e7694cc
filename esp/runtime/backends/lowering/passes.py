"""The graph as it is lowered: after the passes of esp.astore.passes, and with the bias of a product of any rank in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from esp.astore.graph import Array, Graph, Node
from esp.astore.ops.dims import Rows, Unknown
from esp.astore.ops.rules import show
from esp.astore.passes import simplify as simplify_graph
from esp.astore.validation import Facts, examine
from esp.errors import BackendError
from esp.runtime.backends.lowering.values import Shape

Attrs = Mapping[str, Any]


@dataclass(slots=True)
class Net:
    """Nodes, weights and shapes of a graph; ``outputs`` names the tensors that leave it. A MatMul may have a third input here: a bias.

    A shape has None for the rows of a tensor, be they one an event or several."""

    nodes: list[Node]
    weights: dict[str, Array]
    shapes: dict[str, Shape]
    times: dict[str, int]  # rows an event, of tensors that have not just one
    dtypes: dict[str, str]
    outputs: list[str]
    readers: dict[str, list[Node]] = field(default_factory=dict)  # of ``nodes``, as ``index`` found them

    def users(self, name: str) -> list[Node]:
        return self.readers.get(name, [])

    def index(self) -> None:
        """Finds out who reads what, after the nodes have changed."""
        self.readers = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(node)

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


def simplify(graph: Graph, is_simple: bool = False) -> Net:
    """The graph after all passes, which one that is simple already is left with. Raises GraphError when it is not valid, BackendError for sizes that a plan does not know."""
    done = graph if is_simple else simplify_graph(graph)
    facts = examine(done)
    times = {name: size.times for name, shape in facts.shapes.items() for size in shape if isinstance(size, Rows)}
    outputs = [value.name for value in done.outputs]
    net = Net(list(done.nodes), dict(done.weights), _plain_shapes(facts), times, facts.dtypes, outputs)
    _drop_known(net, facts)
    _unname_outputs(net)
    net.index()
    _fold_biases(net)
    net.index()
    return net


def _plain_shapes(facts: Facts) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, shape in facts.shapes.items():
        if any(size == 0 or isinstance(size, Unknown) or (isinstance(size, Rows) and size.outer > 1) for size in shape):
            what = f"the numba backend cannot take a tensor of shape {show(shape)}"
            raise BackendError(what, where=f"tensor '{name}'", mend="use the backend onnxruntime or auto")
        shapes[name] = tuple(None if isinstance(size, Rows) else cast(int | None, size) for size in shape)
    return shapes


def _drop_known(net: Net, facts: Facts) -> None:
    """Takes out nodes that compute sizes: what they give is in the shapes of those that use it."""
    known = {name: array for name, array in facts.numbers.items() if name not in net.weights}
    net.weights.update((name, array) for name, array in known.items() if array.dtype != object)
    net.nodes = [node for node in net.nodes if not all(name in known for name in node.outputs if name)]


def _unname_outputs(net: Net) -> None:
    """An Identity that is left makes an output of the graph: the plan copies what it hands on."""
    made = {
        node.outputs[0]: node.inputs[0] for node in net.nodes if node.op in ("Identity", "Dropout") and not any(node.outputs[1:])
    }
    net.nodes = [node for node in net.nodes if node.outputs[0] not in made]
    net.outputs = [made.get(name, name) for name in net.outputs]


def _fold_biases(net: Net) -> None:
    """Lets a MatMul take an Add of one number a column that is its only user."""
    ones: dict[int, Node | None] = {}  # id of a node -> what stands in its place
    for node in net.nodes:
        user = net.only_user(node.outputs[0]) if node.op == "MatMul" else None
        one = _biased(net, node, user) if user is not None else None
        if one is not None:
            ones |= {id(node): one, id(user): None}
    changed = (ones.get(id(node), node) for node in net.nodes)
    net.nodes = [node for node in changed if node is not None]


def _biased(net: Net, node: Node, user: Node) -> Node | None:
    if user.op != "Add" or net.weight(node, 1) is None:
        return None
    other = net.weight(user, 1 if user.inputs[0] == node.outputs[0] else 0)
    shape = net.shapes[node.outputs[0]]
    columns = shape[-1]
    if other is None or net.shapes[user.outputs[0]] != shape or columns is None or other.ndim > len(shape):
        return None
    if any(size != 1 for size in other.shape[:-1]):
        return None
    bias = net.put(user.outputs[0] + ".bias", np.ascontiguousarray(np.broadcast_to(other.reshape(-1), (columns,))))
    return replace(node, inputs=(*node.inputs[:2], bias), outputs=user.outputs)
