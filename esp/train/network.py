"""A graph that is built to be trained: weights start as a seed draws them, tensors are handles that know their sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from esp.astore.build import GraphBuilder
from esp.astore.graph import Attr, Graph, Shape
from esp.astore.ops.row import Tensor as Constant
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
    """A graph that grows and how its weights start; ``rng`` draws them, so a seed fixes them.

    ``init`` says what weights start as: ``fresh`` for training (biases 0, batch normalisation changes nothing), ``drawn`` as
    though trained (biases and batch statistics are drawn too), ``zeros`` where nothing but their sizes matters.
    """

    rng: np.random.Generator
    dtype: str = "float32"
    init: Init = "fresh"
    graph: GraphBuilder = field(default_factory=lambda: GraphBuilder(joint="."))

    def add_input(self, name: str, shape: tuple[int, ...], dtype: str = "") -> Tensor:
        """Declares an input of the graph, of the network's type where ``dtype`` is left out."""
        return self._tensor(self.graph.input(name, (None, *shape), dtype or self.dtype))

    def add_weight(self, name: str, value: FloatArray) -> Tensor:
        """Adds a weight of the layer at hand; floats become the network's type."""
        value = np.asarray(value, dtype=self.dtype if value.dtype.kind == "f" else value.dtype)
        return self._tensor(self.graph.new_weight(name, value))

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
        names = self.graph.add_many(op, [tensor.name if tensor else "" for tensor in inputs], wanted, **attrs)
        return [self._tensor(name) for name in names if name]

    def add_layer(self, name: str, kind: str, build: Callable[[], Made]) -> Made:
        """Runs a layer's builder in a scope of its own and notes which nodes it made."""
        if name in self.graph.layers:
            raise GraphError("two layers of that name", where=f"layer {name}", mend="give each layer a name of its own")
        with self.graph.layer(name, kind):
            return build()

    def freeze(self, outputs: Mapping[str, Tensor]) -> Graph:
        """The finished, validated graph; each tensor of ``outputs`` gets its name there."""
        return self.graph.graph({name: tensor.name for name, tensor in outputs.items()})

    def _tensor(self, name: str) -> Tensor:
        return Tensor(name, self.graph.shapes[name])
