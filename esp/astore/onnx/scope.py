"""The graph that grows while a model is read: what its tensors are so far, nodes checked as they come, constants computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import onnx

from esp.astore.graph import Attr, Node, complete_attrs, read_outputs
from esp.astore.onnx.draft import Draft
from esp.astore.ops import OPS
from esp.astore.ops.row import Array, Op, Shape
from esp.astore.ops.rules import show
from esp.astore.validation import Facts, infer
from esp.errors import GraphError

MAX_CONSTANT = 1 << 29  # elements of a tensor that is computed ahead
RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")


@dataclass(slots=True)
class Scope:
    """What is known so far. ``batch`` is the fixed size that stood in the batch's place in the file (None = it was open);
    ``is_batched`` False leaves every node as it is, but for constants. ``used`` names the tensors that someone reads.
    ``parameters`` are floating weights of more than one number that the file holds: what computes on them stays a node, so that
    the graph's weights are the file's. ``labels`` are class labels by tensor, ``texts`` tensors that would be text: the graph does not make them.
    """

    is_batched: bool
    used: set[str]
    batch: int | None = None
    facts: Facts = field(default_factory=Facts)
    nodes: list[Node] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    has_halves: bool = False  # the file has float16, read as float32

    def enter_input(self, name: str, dtype: str, shape: Shape) -> None:
        self._claim(name, f"input {name!r}")
        self.facts.shapes[name], self.facts.dtypes[name] = shape, dtype

    def enter_weight(self, name: str, array: Array) -> None:
        """A tensor whose numbers are known."""
        self._claim(name, f"weight {name!r}")
        array = array.astype(self.widened(array.dtype.name), copy=False)
        self._know(name, array)
        self._may_learn(name, array)

    def constant(self, array: Array, base: str) -> str:
        """A new weight with a name of its own."""
        name = self.fresh(base)
        self.enter_weight(name, np.asarray(array))
        return name

    def alias(self, name: str, of: str) -> None:
        """Another name of a tensor."""
        self.aliases[name] = self.resolve(of)

    def fresh(self, base: str) -> str:
        """A name that no tensor has, and none will get."""
        name, count = base, 1
        while name in self.taken or name in self.facts.shapes:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def resolve(self, name: str) -> str:
        return self.aliases.get(name, name)

    def widened(self, dtype: str) -> str:
        """The dtype that a tensor of the file has in the graph: what has the batch is scored in float32, not in float16."""
        if not self.is_batched or dtype != "float16":
            return dtype
        self.has_halves = True
        return "float32"

    def shape(self, name: str) -> Shape:
        """The shape of a tensor. Raises GraphError for one that is not there."""
        name = self.resolve(name)
        if name in self.texts:
            raise GraphError(f"input {name!r} is text: string tensors are not supported", mend="export the model without them")
        if name not in self.facts.shapes:
            raise GraphError(
                f"input {name!r} is no tensor of the graph", mend="name an input, a weight or an earlier node's output"
            )
        return self.facts.shapes[name]

    def dtype(self, name: str) -> str:
        self.shape(name)
        return self.facts.dtypes[self.resolve(name)]

    def numbers(self, name: str) -> Array | None:
        """The numbers of a tensor where they are known and the batch is not among them."""
        array = self.facts.numbers.get(self.resolve(name))
        return None if array is None or array.dtype == object else array

    def emit(self, draft: Draft) -> Node:
        """Enters a node whose op the table has, and computes it where all is known. Raises GraphError where it is not sound."""
        row = OPS[draft.op]
        inputs = [self.resolve(name) for name in draft.inputs]
        while inputs and not inputs[-1]:
            inputs.pop()
        node = Node(draft.op, tuple(inputs), read_outputs(draft.outputs, row, self.used), _kept(draft, row))
        _check_arity(node, row)
        for name in filter(None, node.inputs):
            self.shape(name)
        for name in filter(None, node.outputs):
            self._claim(name, "")
        infer(node, self.facts)
        if not self.is_batched or not self._fold(node):
            self.nodes.append(node)
            self.sources.append(draft.source)
        return node

    def swap(self, node: Node) -> None:
        """Puts ``node`` in the place of the last one; it makes the same tensors."""
        self.nodes[-1] = node

    def _claim(self, name: str, where: str) -> None:
        if not name or name in self.facts.shapes or name in self.aliases:
            raise GraphError(f"the name {name!r} is empty or taken twice", where=where, mend="give each tensor a name of its own")
        self.taken.add(name)

    def _know(self, name: str, array: Array) -> None:
        self.weights[name] = array
        self.facts.shapes[name], self.facts.dtypes[name], self.facts.numbers[name] = array.shape, array.dtype.name, array

    def _may_learn(self, name: str, array: Array) -> None:
        if array.dtype.kind == "f" and array.size > 1:
            self.parameters.add(name)

    def _fold(self, node: Node) -> bool:
        """Whether the node's outputs are known without data and without parameters: then they are weights, and it is not needed."""
        if node.op in RANDOM or not self.parameters.isdisjoint(node.inputs):
            return False
        made: Sequence[Array | None] = [self.facts.numbers.get(name) for name in node.outputs]
        if any(name and (array is None or array.dtype == object) for array, name in zip(made, node.outputs)):
            if not all(name in self.weights for name in node.inputs if name):
                return False
            made = self._computed(node)
        for name, array in zip(node.outputs, made):
            if name and array is not None:
                self._know(name, array)
                if node.op == "ConstantOfShape":  # how a file without its numbers holds its weights
                    self._may_learn(name, array)
        return True

    def _computed(self, node: Node) -> Sequence[Array | None]:
        shapes = [self.facts.shapes[name] for name in node.outputs if name]
        for shape in shapes:
            if not all(isinstance(size, int) for size in shape) or prod(map(int, shape)) > MAX_CONSTANT:  # type: ignore[arg-type]
                raise GraphError(f"a constant of shape {show(shape)} is too large", mend=f"keep it within {MAX_CONSTANT} elements")
        given = [self.weights[name] if name else None for name in node.inputs]
        attrs = complete_attrs(node)
        with np.errstate(all="ignore"):
            if node.op == "ConstantOfShape":  # one number, seen as many: a file of weights of ones is small in memory too
                (one,) = OPS[node.op].reference(attrs, [np.ones(1, np.int64)], 1)
                return [np.broadcast_to(one.reshape(()), tuple(map(int, shapes[0])))]  # type: ignore[arg-type]
            return OPS[node.op].reference(attrs, given, len(node.outputs))


def _check_arity(node: Node, row: Op) -> None:
    for what, names, (least, most) in (("inputs", node.inputs, row.inputs), ("outputs", node.outputs, row.outputs)):
        if not least <= len(names) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise GraphError(f"wants {wanted} {what}, got {len(names)}", mend=f"give as many as {row.name} has")
    if "" in node.inputs[: row.inputs[0]]:
        raise GraphError("an input that must be there is left out", mend="name it")


def _kept(draft: Draft, row: Op) -> Mapping[str, Attr]:
    """The attributes, those that the row does not know left away where they say what the op does anyway."""
    unknown = [name for name in draft.attrs if name not in row.attrs]
    return {name: value for name, value in draft.attrs.items() if name not in unknown or not _is_default(draft, name, value)}


def _is_default(draft: Draft, name: str, value: Attr) -> bool:
    if not onnx.defs.has(draft.op, draft.version, draft.domain):
        return False
    schema = onnx.defs.get_schema(draft.op, draft.version, draft.domain)
    if name not in schema.attributes or not schema.attributes[name].default_value.name:
        return False
    default = onnx.helper.get_attribute_value(schema.attributes[name].default_value)
    default = default.decode() if isinstance(default, bytes) else tuple(default) if isinstance(default, list) else default
    return bool(default == value)


def renamed(draft: Draft, names: Mapping[str, str]) -> Draft:
    """The node over other tensors: names that are not in ``names`` stay."""
    return replace(
        draft,
        inputs=tuple(names.get(name, name) for name in draft.inputs),
        outputs=tuple(names.get(name, name) for name in draft.outputs),
    )
