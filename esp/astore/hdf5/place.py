"""A node with weights between a graph and a Keras file: what converting them needs to know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esp.astore.graph import Array, Graph, Node, Shape
from esp.astore.hdf5.file import Flavour
from esp.astore.hdf5.flattening import Rows
from esp.astore.hdf5.words import word_of
from esp.errors import FileError

Named = tuple[str, Array]  # a weight by Keras' name


@dataclass(frozen=True, slots=True)
class Place:
    """A node with weights and what must be known to convert them."""

    graph: Graph
    shapes: Mapping[str, Shape]
    node: Node
    flavour: Flavour = "keras"
    generation: int = 2
    rows: Rows | None = None
    kind: str = ""
    layer: str = ""

    def weight(self, index: int) -> Array | None:
        """The weight at an input of the node, None where there is none."""
        return self.graph.weights.get(self.node.inputs[index]) if index < len(self.node.inputs) else None

    def kernel(self, index: int = 1) -> Array:
        """The weight at an input that must be one. Raises FileError."""
        array = self.weight(index)
        if array is None:
            raise FileError(
                f"input {index} of {self.node.op} -> {self.node.outputs[0]!r} is no weight", mend="use onnx to carry it"
            )
        return array

    def word(self, index: int) -> str:
        """What the import from Keras called the weight at an input; "" for one of another origin, and where there is none."""
        return word_of(self.node.inputs[index], self.layer) if self.weight(index) is not None else ""

    @property
    def is_of_keras(self) -> bool:
        """Whether the node's weights were named by the import from Keras."""
        return any(self.word(index) for index in range(len(self.node.inputs)))

    @property
    def is_dlpy(self) -> bool:
        return self.flavour == "dlpy"


@dataclass(frozen=True, slots=True)
class Slot:
    """How the weights of an op stand in a Keras layer.

    ``read(place, arrays)`` takes its arrays off the front and gives those of the graph, one for each input that is a weight;
    ``write(place)`` gives Keras' arrays with their names.
    """

    read: Callable[[Place, list[Named]], dict[int, Array]]
    write: Callable[[Place], list[Named]]
    inputs: tuple[int, ...]


def is_kept(place: Place, index: int) -> bool:
    """Whether Keras has the weight at an input: the import calls what it fills in for the graph "ones" and "zeros"."""
    return place.word(index) not in ("ones", "zeros")


def take(arrays: list[Named], what: str) -> Array:
    """The next of Keras' arrays. Raises FileError where there is none."""
    if not arrays:
        raise FileError(f"the file has no {what} for it", mend="give the file of this very network")
    return arrays.pop(0)[1]


def refuse_dlpy(place: Place) -> None:
    """Raises FileError where the file is DLPy's, which has dense layers, convolutions and batch normalisation alone."""
    if place.is_dlpy:
        raise FileError(f"DLPy's files hold no weights of {place.node.op}", mend="give a file of Keras")
