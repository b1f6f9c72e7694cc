"""The state of a lowering: tensors as values, the rows so far, and what every rule needs to make more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from esp.astore.graph import Array, Graph, Node, complete_attrs
from esp.astore.ops.rules import size_of
from esp.errors import BackendError
from esp.kernels import plan
from esp.kernels.compile import Instruction
from esp.runtime.backends.lowering.given import Given, Limits, limits, trace
from esp.runtime.backends.lowering.passes import Attrs, Net, simplify
from esp.runtime.backends.lowering.values import Buffer, Index, Shape, Value, lying, plain

Operand = Buffer | Array | None  # an array is a constant
LONG = 4  # floats from which a run is copied as one
FREE = (float("-inf"), float("inf"))  # no bounds


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. Floats among the fields are stored as their bits; arrays and buffers by address."""

    does: Instruction
    x: Operand
    y: Operand
    fields: tuple[Any, ...]
    b: Operand = None
    c: Operand = None
    x_at: int = 0
    y_at: int = 0
    times: int = 1  # rows an event

    @property
    def buffers(self) -> list[Buffer]:
        return [item for item in (self.x, self.y, self.b, self.c, *self.fields) if isinstance(item, Buffer)]


@dataclass(slots=True)
class Lowering:
    """One rule an op (``RULES``) reads its inputs' values here and emits rows."""

    net: Net
    values: dict[str, Value] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    given: dict[str, Given] = field(default_factory=dict)  # tensors that lie in the caller's arrays, in a dtype of their own
    limits: Limits = field(default_factory=dict)
    times: int = 1  # rows an event of the node at work
    bounds: tuple[float, float] = FREE  # the lowest and highest that a fused Relu or Clip asks of the node at work

    def value(self, node: Node, index: int) -> Value:
        """Input ``index`` of a node, which is computed in a batch."""
        self.expect_floats(node, index)
        name = node.inputs[index]
        if name not in self.values:
            refuse(node, f"input {index} is a constant")
        return self.values[name]

    def weight(self, node: Node, index: int) -> Array | None:
        """Input ``index`` of a node, which is a constant, in float32; None where it is left out."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        array = self.net.weight(node, index)
        if array is None:
            self.expect_floats(node, index)
            refuse(node, f"input {index} is no constant")
        return np.ascontiguousarray(array, np.float32)

    def expect_floats(self, node: Node, index: int) -> None:
        """Refuses numbers of another dtype, which only the rules that know of them take up."""
        if node.inputs[index] in self.given:
            refuse(node, f"input {index} is {self.given[node.inputs[index]].dtype}")

    def emit(self, does: Instruction, x: Operand, y: Operand, *fields: Any, **more: Any) -> None:
        self.rows.append(Row(does, x, y, fields, **more, times=self.times))

    def arranged(self, value: Value, order: tuple[int, ...]) -> Value:
        """The value with its axes lying in that order, by a gather where they do not."""
        if value.lies_as(order):
            return Value(value.buffer, value.shape, order)
        return self.gathered(value, value.positions(), Value(Buffer(value.size), value.shape, order))

    def gathered(self, source: Value, positions: Any, target: Value) -> Value:
        """Fills ``target``, whose number i of a row is number ``positions[i]`` of the source's row."""
        index = lying(positions, target.shape, target.order)
        if source.room == target.size and np.array_equal(index, np.arange(target.size)):
            return Value(source.buffer, target.shape, target.order)
        runs, run = _runs(index)
        if run >= LONG:
            self.emit(plan.GATHER_RUNS, source.buffer, target.buffer, len(runs), run, runs, source.room)
        else:
            self.emit(plan.GATHER, source.buffer, target.buffer, target.size, index, source.room)
        return target

    def constant(self, array: Array, shape: Shape) -> Value:
        """A constant, the same in every row, as a value."""
        out, flat = Value(Buffer(array.size), shape, plain(shape)), np.ascontiguousarray(array, np.float32)
        self.emit(plan.COPY, flat, out.buffer, 1, array.size, 0, array.size, array.size)
        return out


def _runs(index: Index) -> tuple[Index, int]:
    """An index cut into runs of neighbours, as long as all can be: where each begins, and their length."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    run = int(np.gcd.reduce(np.append(breaks, index.size)))
    return np.ascontiguousarray(index[::run]), run


Rule = Callable[[Lowering, Node, Attrs], Sequence[Value | None]]


def refuse(node: Node, what: str) -> NoReturn:
    """Says that a plan cannot express a node."""
    raise BackendError(
        f"the numba backend cannot take {node.op}: {what}", where=f"node of '{node.outputs[0]}'",
        mend="use the backend onnxruntime or auto",
    )  # fmt: skip


def lower(graph: Graph, rules: Mapping[str, Rule], clamped: Sequence[str], is_simple: bool = False) -> Lowering:
    """Lowers a graph; ``clamped`` names the ops whose rules heed ``low``; one that is simple goes through no pass. BackendError for what a plan cannot express."""
    _check_outputs(graph)
    net = simplify(graph, is_simple)
    given = trace(net, graph.inputs)
    made = Lowering(net, given=given, limits=limits(net, given))
    for slot, value in enumerate(graph.inputs):
        if value.dtype != "float32":
            continue
        shape = made.net.shapes[value.name]
        made.values[value.name] = Value(Buffer(size_of(shape), -1 - slot), shape, plain(shape))
    done: set[int] = set()
    for node in made.net.nodes:
        if id(node) not in done and not given.keys() >= {name for name in node.outputs if name}:
            done.add(id(_lower_node(made, node, rules, clamped)))
    _leave(made, len(graph.inputs))
    return made


def _check_outputs(graph: Graph) -> None:
    for value in graph.outputs:
        if value.dtype != "float32":
            what = f"the numba backend computes in float32, output '{value.name}' is {value.dtype}"
            raise BackendError(what, mend="use the backend onnxruntime or auto")


def _lower_node(made: Lowering, node: Node, rules: Mapping[str, Rule], clamped: Sequence[str]) -> Node | None:
    """Lowers a node, and the Relu or Clip that follows it with it where it can; gives that one."""
    if node.op not in rules:
        refuse(node, "it has no rule")
    user = made.net.only_user(node.outputs[0]) if node.op in clamped else None
    bounds = bounds_of(made, user) if user is not None else None
    clamp = user if bounds is not None else None
    made.bounds = bounds or FREE
    made.times = _times(made, node)
    results = rules[node.op](made, node, complete_attrs(node))
    names = clamp.outputs if clamp is not None else node.outputs
    made.values.update((name, value) for name, value in zip(names, results) if name and value is not None)
    return clamp


def _times(made: Lowering, node: Node) -> int:
    """Rows an event of what a node reads; only a change of shape may make others of them."""
    read, named = (
        {made.net.times.get(name, 1) for name in names if None in made.net.shapes.get(name, ())}
        for names in (node.inputs, node.outputs)
    )
    if len(read | named) > 1 and not (len(read) == 1 and node.op in ("Reshape", "Flatten")):
        refuse(node, f"{', '.join(map(str, sorted(read | named)))} rows an event beside one another")
    return next(iter(read or named), 1)


def bounds_of(made: Lowering, node: Node) -> tuple[float, float] | None:
    """Between which numbers a node keeps its first input; None where it is no Relu and no Clip by constants."""
    if node.op == "Relu":
        return 0.0, FREE[1]
    if node.op != "Clip" or node.inputs[0] in made.net.weights:
        return None
    bounds = list(FREE)
    for at, name in enumerate(node.inputs[1:3]):
        number = made.net.weight(node, at + 1)
        if name and (number is None or number.size != 1 or np.isnan(number).any()):
            return None
        bounds[at] = bounds[at] if number is None else float(number.reshape(-1)[0])
    return bounds[0], bounds[1]


def _leave(made: Lowering, inputs: int) -> None:
    """Brings the outputs into the caller's arrays: their buffers become those, or are copied there."""
    made.times = 1
    taken: set[Buffer] = set()
    for at, name in enumerate(made.net.outputs):
        if name not in made.values:
            raise BackendError(f"output '{name}' is a constant", mend="use the backend onnxruntime or auto")
        value = made.arranged(made.values[name], plain(made.values[name].shape))
        out = Buffer(value.size, -1 - inputs - at)
        if value.buffer.slot or value.buffer in taken:
            made.emit(plan.COPY, value.buffer, out, 1, out.size, out.size, out.size, out.size)
        else:
            _rename(made, value.buffer, out)
        taken.add(value.buffer)


def _rename(made: Lowering, old: Buffer, new: Buffer) -> None:
    def swap(item: Any) -> Any:
        return new if item is old else item

    for at, one in enumerate(made.rows):
        if old in one.buffers:
            fields = tuple(swap(item) for item in one.fields)
            made.rows[at] = replace(one, x=swap(one.x), y=swap(one.y), fields=fields, b=swap(one.b), c=swap(one.c))
    for name, value in made.values.items():
        if value.buffer is old:
            made.values[name] = Value(new, value.shape, value.order, value.flat)
