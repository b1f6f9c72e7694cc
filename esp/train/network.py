"""A graph under construction: layers append nodes and weights to it, and it freezes into a Graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Array, Attr, Graph, Layer, Node, Shape, Value
from esp.astore.ops.row import Tensor as Constant
from esp.astore.validation import Facts, infer, validate
from esp.errors import GraphError

FloatArray = npt.NDArray[Any]
Init = Literal["fresh", "drawn", "zeros"]
Made = TypeVar("Made")


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
    """Collects nodes, weights and the layer table; ``rng`` draws the initial weights, so a seed fixes them.

    ``init`` says what weights start as: ``fresh`` for training (biases 0, batch normalisation changes nothing), ``drawn`` as
    though trained (biases and batch statistics are drawn too), ``zeros`` where nothing but their sizes matters.
    """

    rng: np.random.Generator
    dtype: str = "float32"
    init: Init = "fresh"
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    scope: str = ""
    facts: Facts = field(default_factory=Facts)

    def add_input(self, name: str, shape: tuple[int, ...], dtype: str = "") -> Tensor:
        """Declares an input of the graph, of the network's type where ``dtype`` is left out."""
        value = Value(name, dtype or self.dtype, (None, *shape))
        self.inputs.append(value)
        self.facts.shapes[name], self.facts.dtypes[name] = value.shape, value.dtype
        return Tensor(name, value.shape)

    def add_weight(self, name: str, value: FloatArray) -> Tensor:
        """Adds a weight of the layer at hand; floats become the network's type."""
        value = np.asarray(value, dtype=self.dtype if value.dtype.kind == "f" else value.dtype, order="C")
        name = self._free(name)
        self.weights[name] = self.facts.numbers[name] = value
        self.facts.shapes[name], self.facts.dtypes[name] = value.shape, value.dtype.name
        return Tensor(name, value.shape)

    def add_constant(self, value: Any, dtype: str = "") -> Tensor:
        """Adds numbers that nobody learns: whole ones (int64: sizes, axes, indices) as a weight, others as a node."""
        array = np.asarray(value)
        array = array.astype(dtype or ("int64" if array.dtype.kind == "i" else self.dtype))
        if array.dtype.kind == "f":  # as a weight it would count as a parameter
            return self.add_node("Constant", [], value=Constant.of(array))
        return self.add_weight("constant", array)

    def add_node(self, op: str, inputs: Sequence[Tensor | None], output: int = 0, outputs: int = 1, **attrs: Attr) -> Tensor:
        """Appends a node and gives its output number ``output``; outputs before it that nobody wants are left unnamed."""
        return self.add_nodes(op, inputs, [at == output for at in range(outputs)], **attrs)[0]

    def add_nodes(self, op: str, inputs: Sequence[Tensor | None], wanted: Sequence[bool], **attrs: Attr) -> list[Tensor]:
        """Appends a node and gives those of its outputs that are ``wanted``."""
        word = op.lower() if sum(wanted) == 1 else op.lower() + "_{}"
        names = tuple(self._free(word.format(at)) if is_wanted else "" for at, is_wanted in enumerate(wanted))
        node = Node(op, tuple(tensor.name if tensor else "" for tensor in inputs), names, dict(attrs))
        infer(node, self.facts)
        self.nodes.append(node)
        return [Tensor(name, self.facts.shapes[name]) for name in names if name]

    def _free(self, word: str) -> str:
        """A tensor name in the layer's scope that none has yet."""
        name, count = f"{self.scope}.{word}", 1
        while name in self.facts.shapes:
            count += 1
            name = f"{self.scope}.{word}_{count}"
        return name

    def add_layer(self, name: str, kind: str, build: Callable[[], Made]) -> Made:
        """Runs a layer's builder in a scope of its own and notes which nodes it made."""
        if any(layer.name == name for layer in self.layers):
            raise GraphError("two layers of that name", where=f"layer {name}", mend="give each layer a name of its own")
        self.scope, first = name, len(self.nodes)
        try:
            made = build()
        except GraphError as err:
            raise err if err.where else GraphError(err.what, where=f"layer {name}", mend=err.mend) from err
        self.layers.append(Layer(name, kind, tuple(range(first, len(self.nodes)))))
        return made

    def freeze(self, outputs: Mapping[str, Tensor]) -> Graph:
        """The finished, validated graph; each tensor of ``outputs`` gets its name there."""
        names: dict[str, str] = {}
        made = {name for node in self.nodes for name in node.outputs}
        for name, tensor in outputs.items():
            self.scope = name
            is_free = tensor.name in made and tensor.name not in names
            names[tensor.name if is_free else self.add_node("Identity", [tensor]).name] = name
        nodes = tuple(
            replace(node, inputs=_renamed(node.inputs, names), outputs=_renamed(node.outputs, names)) for node in self.nodes
        )
        values = tuple(Value(name, self.facts.dtypes[tensor.name], tensor.shape) for name, tensor in outputs.items())
        graph = Graph(nodes, tuple(self.inputs), values, dict(self.weights), tuple(self.layers))
        validate(graph)
        return graph


def _renamed(tensors: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(name, name) for name in tensors)
