"""A graph made step by step: each node is checked by the op table as it is added, so that its shape is known at once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, takewhile

import numpy as np

from esp.astore.graph import Array, Attr, Graph, Layer, Node, Shape, Value
from esp.astore.ops.rules import show
from esp.astore.validation import Facts, infer, validate
from esp.errors import GraphError


@dataclass(slots=True)
class GraphBuilder(Facts):
    """Nodes, weights and layers of a graph that grows, and what is known of its tensors.

    Tensors are named after the layer that is being built, the ``scope``, with ``joint`` behind it.
    """

    joint: str = "/"
    scope: str = ""
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    layers: dict[str, tuple[str, list[int]]] = field(default_factory=dict)  # kind and nodes

    @contextmanager
    def layer(self, name: str, kind: str) -> Iterator[None]:
        """What is added inside belongs to the layer ``name``; one that is entered again gets the nodes of all its calls.

        A GraphError that names no place gets the layer's.
        """
        before, self.scope = self.scope, name
        self.layers.setdefault(name, (kind, []))
        try:
            yield
        except GraphError as err:
            raise err if err.where else GraphError(err.what, where=f"layer {name}", mend=err.mend) from err
        finally:
            self.scope = before

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> str:
        """A new input of the graph."""
        self.inputs.append(Value(name, dtype, shape))
        self.shapes[name], self.dtypes[name] = shape, dtype
        return name

    def weight(self, name: str, array: Array) -> str:
        """A weight ``name`` of the layer; the same numbers given twice under one name are one tensor."""
        taken = takewhile(self.shapes.__contains__, self._names(name))
        same = (full for full in taken if full in self.weights and _is_same(self.weights[full], array))
        return next(same, None) or self.new_weight(name, array)

    def new_weight(self, name: str, array: Array) -> str:
        """A weight of its own, whatever numbers others have."""
        name, array = self._free(name), np.asarray(array, order="C")
        self.weights[name] = self.numbers[name] = array
        self.shapes[name], self.dtypes[name] = array.shape, array.dtype.name
        return name

    def add(self, op: str, *inputs: str, **attrs: Attr) -> str:
        """The output of a new node. Raises GraphError, naming op and layer, where the op table refuses it."""
        return self.add_many(op, inputs, [True], **attrs)[0]

    def add_many(self, op: str, inputs: Sequence[str], wanted: Sequence[bool], **attrs: Attr) -> tuple[str, ...]:
        """The outputs of a new node, those that are not ``wanted`` left out ("")."""
        word = op.lower() if sum(wanted) == 1 else op.lower() + "_{}"
        names = tuple(self._free(word.format(at)) if is_wanted else "" for at, is_wanted in enumerate(wanted))
        node = Node(op, tuple(inputs), names, attrs)
        try:
            infer(node, self)
        except GraphError as err:
            raise GraphError(f"{op}: {err.what}", where=err.where, mend=err.mend) from err
        if self.scope in self.layers:
            self.layers[self.scope][1].append(len(self.nodes))
        self.nodes.append(node)
        return names

    def graph(self, outputs: Mapping[str, str]) -> Graph:
        """The finished, validated graph; the tensors ``outputs[name]`` get their names there. Unused weights are left out."""
        for name, tensor in outputs.items():
            if name != tensor and name in self.shapes:
                what = f"the output cannot be called {name!r}, for a tensor of shape {show(self.shapes[name])} is"
                raise GraphError(what, where=f"output {name!r}", mend="give the layer another name")
        made, names = {name for node in self.nodes for name in node.outputs}, dict[str, str]()
        for name, tensor in outputs.items():
            is_free = tensor in made and tensor not in names
            names[tensor if is_free else self.add("Identity", tensor)] = name
        nodes = tuple(
            replace(node, inputs=_renamed(node.inputs, names), outputs=_renamed(node.outputs, names)) for node in self.nodes
        )
        used = {name for node in nodes for name in node.inputs}
        weights = {name: array for name, array in self.weights.items() if name in used}
        values = tuple(Value(name, self.dtypes[tensor], self.shapes[tensor]) for name, tensor in outputs.items())
        layers = tuple(Layer(name, kind, tuple(members)) for name, (kind, members) in self.layers.items())
        graph = Graph(nodes, tuple(self.inputs), values, weights, layers)
        validate(graph)
        return graph

    def _names(self, word: str) -> Iterator[str]:
        """The names that a tensor of the layer may have, best first."""
        stem = f"{self.scope}{self.joint}{word}" if self.scope else word
        yield stem
        yield from (f"{stem}_{at}" for at in count(2))

    def _free(self, word: str) -> str:
        return next(name for name in self._names(word) if name not in self.shapes)


def _is_same(one: Array, other: Array) -> bool:
    """Whether two weights are the same to the byte: -0 is not 0, while numbers that are none may be the same."""
    return (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()


def _renamed(tensors: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(name, name) for name in tensors)
