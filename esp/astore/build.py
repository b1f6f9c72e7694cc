"""A graph made step by step: each node is checked by the op table as it is added, so that its shape is known at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from esp.astore.graph import Array, Attr, Graph, Layer, Node, Shape, Value, complete_attrs, op_of
from esp.astore.ops.rules import show
from esp.errors import GraphError

__all__ = ["GraphBuilder"]


@dataclass(slots=True)
class GraphBuilder:
    """Nodes, weights and layers of a graph that grows; tensors are named after the layer that is being built."""

    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    _layer: str = ""
    _kinds: dict[str, str] = field(default_factory=dict)
    _members: dict[str, list[int]] = field(default_factory=dict)

    @contextmanager
    def layer(self, name: str, kind: str) -> Iterator[None]:
        """What is added inside belongs to the layer ``name``; one that is entered again gets the nodes of all its calls."""
        before, self._layer = self._layer, name
        self._kinds.setdefault(name, kind)
        self._members.setdefault(name, [])
        try:
            yield
        finally:
            self._layer = before

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> str:
        """A new input of the graph."""
        self.inputs.append(Value(self._free(name), dtype, shape))
        return self._enter(self.inputs[-1].name, shape, dtype)

    def weight(self, name: str, array: Array) -> str:
        """A weight ``name`` of the layer; the same numbers given twice under one name are one tensor."""
        full = f"{self._layer}/{name}" if self._layer else name
        held = self.weights.get(full)
        if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
            return full
        full = self._free(full)
        self.weights[full] = np.ascontiguousarray(array).reshape(array.shape)
        return self._enter(full, array.shape, array.dtype.name)

    def add(self, op: str, *inputs: str, **attrs: Attr) -> str:
        """The output of a new node. Raises GraphError, naming op and layer, where the op table refuses it."""
        return self.add_many(op, inputs, 1, attrs)[0]

    def add_many(
        self, op: str, inputs: Sequence[str], outputs: int, attrs: Mapping[str, Attr], unused: Collection[int] = ()
    ) -> tuple[str, ...]:
        """The outputs of a new node that has several; those ``unused``, by number, are left out ("")."""
        stem = f"{self._layer}/{op.lower()}" if self._layer else op.lower()
        stems = [stem if outputs == 1 else f"{stem}.{at}" for at in range(outputs)]
        names = tuple("" if at in unused else self._free(name) for at, name in enumerate(stems))
        node = Node(op, tuple(inputs), names, dict(attrs))
        try:
            row, complete = op_of(node), complete_attrs(node)
            numbers = [self.weights.get(name) for name in inputs]
            shapes = row.shapes(complete, [self.shapes[name] if name else None for name in inputs], numbers)
            dtypes = row.dtypes.infer(complete, [self.dtypes[name] if name else None for name in inputs], outputs)
        except GraphError as err:
            raise GraphError(f"{op}: {err.what}", where=err.where or f"layer {self._layer!r}", mend=err.mend) from err
        if self._layer:
            self._members[self._layer].append(len(self.nodes))
        self.nodes.append(node)
        for name, shape, dtype in zip(names, shapes, dtypes):
            if name:
                self._enter(name, shape, dtype)
        return names

    def graph(self, outputs: Mapping[str, str]) -> Graph:
        """The graph whose outputs are the tensors ``outputs[name]`` under these names. Weights that nothing uses are left out."""
        renamed = {self._ended(name, tensor, outputs.values()): name for name, tensor in outputs.items()}
        nodes = tuple(
            replace(
                node,
                inputs=tuple(renamed.get(name, name) for name in node.inputs),
                outputs=tuple(renamed.get(name, name) for name in node.outputs),
            )
            for node in self.nodes
        )
        used = {name for node in nodes for name in node.inputs}
        weights = {name: array for name, array in self.weights.items() if name in used}
        values = tuple(Value(new, self.dtypes[old], self.shapes[old]) for old, new in renamed.items())
        layers = tuple(Layer(name, kind, tuple(self._members[name])) for name, kind in self._kinds.items())
        return Graph(nodes, tuple(self.inputs), values, weights, layers)

    def _ended(self, name: str, tensor: str, outputs: Collection[str]) -> str:
        """The tensor to be renamed: ``tensor`` itself where a node makes it and one output alone is it, else a copy."""
        if name != tensor and name in self.shapes:
            what = f"the output cannot be called {name!r}, for a tensor of shape {show(self.shapes[name])} is"
            raise GraphError(what, where=f"output {name!r}", mend="give the layer another name")
        is_own = tensor not in self.weights and all(value.name != tensor for value in self.inputs)
        return tensor if is_own and [*outputs].count(tensor) == 1 else self.add("Identity", tensor)

    def _free(self, name: str) -> str:
        """``name``, with a number behind it where it is taken."""
        if name not in self.shapes:
            return name
        return next(new for at in range(1, len(self.shapes) + 2) if (new := f"{name}_{at}") not in self.shapes)

    def _enter(self, name: str, shape: Shape, dtype: str) -> str:
        self.shapes[name], self.dtypes[name] = shape, dtype
        return name
