"""A graph under construction: layers append nodes and weights to it, and it freezes into a Graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Array, Attr, Graph, Layer, Node, Shape, Value, complete_attrs
from esp.astore.ops import OPS
from esp.astore.validation import validate
from esp.errors import GraphError

FloatArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the network by its name; ``shape`` holds None for the batch axis."""

    name: str
    shape: Shape

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of a row, channels first, where the batch is the first axis."""
        return tuple(size for size in self.shape[1:] if isinstance(size, int))


@dataclass(slots=True)
class Network:
    """Collects nodes, weights and the layer table; ``rng`` draws the initial weights, so a seed fixes them."""

    rng: np.random.Generator
    dtype: str = "float32"
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    scope: str = ""

    def add_input(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Declares an input of the graph."""
        self.inputs.append(Value(name, self.dtype, (None, *shape)))
        return Tensor(name, (None, *shape))

    def add_weight(self, name: str, value: FloatArray) -> Tensor:
        """Adds a weight of the layer at hand; floats become the network's type."""
        value = np.array(value, dtype=self.dtype if value.dtype.kind == "f" else value.dtype, order="C")
        self.weights[f"{self.scope}.{name}"] = value
        return Tensor(f"{self.scope}.{name}", value.shape)

    def add_node(self, op: str, inputs: Sequence[Tensor | None], output: int = 0, outputs: int = 1, **attrs: Attr) -> Tensor:
        """Appends a node and gives its output number ``output``; outputs before it that nobody wants are left unnamed."""
        names = tuple(self._free(op.lower()) if i == output else "" for i in range(outputs))
        node = Node(op, tuple(tensor.name if tensor else "" for tensor in inputs), names, dict(attrs))
        shape = self._shapes(node, inputs)[output]
        self.nodes.append(node)
        return Tensor(names[output], shape)

    def _shapes(self, node: Node, inputs: Sequence[Tensor | None]) -> list[Shape]:
        constants = [self.weights.get(tensor.name) if tensor else None for tensor in inputs]
        shapes = [tensor.shape if tensor else None for tensor in inputs]
        return OPS[node.op].shapes(complete_attrs(node), shapes, constants)

    def _free(self, word: str) -> str:
        """A tensor name in the layer's scope that no node has yet."""
        taken = {name for node in self.nodes for name in node.outputs}
        name, count = f"{self.scope}.{word}", 1
        while name in taken:
            count += 1
            name = f"{self.scope}.{word}_{count}"
        return name

    def add_layer(self, name: str, kind: str, build: Callable[[], Tensor]) -> Tensor:
        """Runs a layer's builder in a scope of its own and notes which nodes it made."""
        if any(layer.name == name for layer in self.layers):
            raise GraphError("two layers of that name", where=f"layer {name}", mend="give each layer a name of its own")
        self.scope, first = name, len(self.nodes)
        try:
            tensor = build()
        except GraphError as err:
            raise err if err.where else GraphError(err.what, where=f"layer {name}", mend=err.mend) from err
        self.layers.append(Layer(name, kind, tuple(range(first, len(self.nodes)))))
        return tensor

    def freeze(self, output: Tensor, name: str) -> Graph:
        """The finished, validated graph with one output, which gets ``name``."""
        nodes = tuple(_renamed(node, output.name, name) for node in self.nodes)
        values = (Value(name, self.dtype, output.shape),)
        graph = Graph(nodes, tuple(self.inputs), values, dict(self.weights), tuple(self.layers))
        validate(graph)
        return graph


def _renamed(node: Node, old: str, new: str) -> Node:
    def swap(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    return replace(node, inputs=swap(node.inputs), outputs=swap(node.outputs))
