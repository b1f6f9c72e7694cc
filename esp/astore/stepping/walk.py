"""The state of a stepping: where time lies in each tensor, and the nodes for one event so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from esp.astore.graph import Array, Graph, Node, Shape
from esp.astore.ops.dims import Dim, Rows
from esp.astore.passes import Net
from esp.errors import GraphError


@dataclass(slots=True)
class Steps:
    """``net`` is the graph of the series, ``length`` the events in it.

    ``axes`` holds the tensors that events bear on: the axis along which they lie, or None for what is of the last event alone.
    ``names`` says under which other name a tensor is found in the graph for one event. ``states`` are the states with their
    widths, ``next`` those after the event, ``given`` what the graph of the series begins them with ("" = zeros).
    """

    net: Net
    length: int
    axes: dict[str, int | None]
    memory: str = ""
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    next: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    done: int = 0

    @classmethod
    def of(cls, graph: Graph, axis: int) -> "Steps":
        (series,) = graph.inputs
        length = series.shape[axis]
        assert isinstance(length, int)
        net = Net.of(graph)
        steps = cls(net, length, {series.name: axis}, weights=dict(net.weights), taken={*net.facts.shapes})
        steps.memory = steps.fresh("states")
        return steps

    def put(self, node: Node, axes: Mapping[str, int | None]) -> None:
        """Enters a node, its inputs under the names that they have now, and where time lies in what it makes."""
        self.nodes.append(replace(node, inputs=tuple(self.now(name) for name in node.inputs)))
        self.axes.update(axes)

    def keep(self, node: Node, axis: int | None, inputs: tuple[str, ...] | None = None) -> None:
        """Enters a node as it is, but for ``inputs``; time lies on ``axis`` of all that it makes."""
        self.put(replace(node, inputs=inputs or node.inputs), {name: axis for name in node.outputs if name})

    def renamed(self, name: str) -> str:
        """Gives a tensor of the nodes so far another name, and tells it."""
        new = self.fresh(name)
        for at, node in enumerate(self.nodes):
            inputs, outputs = (tuple(new if one == name else one for one in ends) for ends in (node.inputs, node.outputs))
            self.nodes[at] = replace(node, inputs=inputs, outputs=outputs)
        return new

    def now(self, name: str) -> str:
        return self.names.get(name, name)

    def time(self, name: str) -> int | None:
        """The axis of time; None for what no event bears on, or the last alone."""
        return self.axes.get(name)

    def rank(self, name: str) -> int:
        return len(self.net.shape(name))

    def shape(self, name: str) -> Shape:
        """The shape of a tensor in the graph for one event."""
        axis = self.time(name)
        return tuple(_one(size) if at == axis else size for at, size in enumerate(self.net.shape(name)))

    def numbers(self, node: Node, index: int) -> list[int] | None:
        """Input ``index`` as whole numbers, None where it is left out; GraphError where they are not known."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        array = self.net.facts.numbers.get(node.inputs[index])
        if array is None or array.dtype == object:
            refuse(node, f"has numbers (input {index}) that are no constant")
        return [int(number) for number in array.reshape(-1)]

    def weight(self, name: str, array: Array) -> str:
        """Stores a weight under a name like the one given, and tells the name."""
        name = self.fresh(name)
        self.weights[name] = array
        return name

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name


def _one(size: Dim) -> Dim:
    """An axis of time, alone or merged with the batch, with one event."""
    return None if isinstance(size, Rows) else 1


def refuse(node: Node, what: str) -> NoReturn:
    """Says which node stands in the way, and why."""
    raise GraphError(
        f"{node.op} {what}, so the network cannot go on from event to event", where=f"node of '{next(filter(None, node.outputs))}'",
        mend="score windows of it: sequence = { length = ... }",
    )  # fmt: skip
