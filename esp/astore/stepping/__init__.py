"""Stepping: the graph of a series becomes one that takes a single event and the states of its recurrent nodes.

Fed with a series event by event, the states handed on, it gives at every event what the graph of a series makes of all events so
far. What has no such form (a convolution, a mean or attention over time, a backward direction) is refused by name.
"""

from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array, Graph, Node, Shape, Value, run_reference
from esp.astore.passes import simplify
from esp.astore.stepping.recurrent import INITIAL
from esp.astore.stepping.rules import RULES
from esp.astore.stepping.walk import Steps, refuse
from esp.errors import GraphError

__all__ = ["Stepped", "step_graph"]

EXACT = ("fold_constants", "fold_sizes", "drop_identities", "drop_unused")  # passes that move no bit


@dataclass(frozen=True, slots=True)
class Stepped:
    """A graph for one event a row: its inputs are the event and the states, its outputs those of the graph of the series, then the states.

    The event has the shape of the series with a 1 on ``axis``, which is time. An output for every event has lost that axis;
    ``axes`` says which, by output (None: it had none). ``initial`` float32[width] are the states before the first event.
    """

    graph: Graph
    axis: int
    axes: tuple[int | None, ...]
    initial: Array


def step_graph(graph: Graph) -> Stepped:
    """The graph for one event; GraphError, naming the node, where it has none."""
    if len(graph.inputs) != 1:
        names = ", ".join(value.name for value in graph.inputs)
        raise GraphError(f"it has the inputs {names}, and one is wanted: the series", mend="make a model of the series alone")
    if not any(node.op in INITIAL for node in graph.nodes):
        raise GraphError("it has no RNN, GRU or LSTM", mend="score windows of it: sequence = { length = ... }")
    whole = simplify(graph, EXACT)
    found: tuple[int, GraphError] | None = None
    for axis in range(1, len(whole.inputs[0].shape)):
        steps = Steps.of(whole, axis)
        try:
            return _walked(steps)
        except GraphError as err:
            if found is None or steps.done > found[0]:  # the axis that leads farthest is the one that was meant
                found = steps.done, err
    if found is None:
        raise GraphError("its input is a row of numbers, and a series is wanted", mend="score it event by event, without stateful")
    raise found[1]


def _walked(steps: Steps) -> Stepped:
    for node in steps.net.nodes:
        _step(steps, node)
        steps.done += 1
    if not steps.states:
        raise GraphError("no RNN, GRU or LSTM walks along the series", mend="score it without stateful")
    (series,) = steps.net.inputs
    event = Value(series.name, series.dtype, steps.shape(series.name))
    states = Value(steps.memory, "float32", (None, sum(steps.states.values())))
    outputs = [_leave(steps, value) for value in steps.net.outputs]
    split, joined = _memory(steps)
    nodes = (*split, *steps.nodes, *joined)
    last = Value(joined[-1].outputs[0], "float32", states.shape)
    made = simplify(Graph(nodes, (event, states), (*outputs, last), steps.weights), ("drop_unused",))
    axis = steps.axes[series.name]
    assert axis is not None
    axes = tuple(steps.axes.get(value.name) for value in steps.net.outputs)
    return Stepped(made, axis, axes, _initial(steps))


def _step(steps: Steps, node: Node) -> None:
    """Enters the node for one event: as it is where it reads no series, by its op's rule where it does."""
    read = [name for name in node.inputs if name in steps.axes]
    if all(steps.axes[name] is None for name in read):
        steps.put(node, {name: None for name in node.outputs if name} if read else {})
    elif node.op in RULES:
        RULES[node.op](steps, node)
    else:
        refuse(node, "is not known to keep events apart")


def _leave(steps: Steps, value: Value) -> Value:
    """Brings an output out under its name, without the axis of time."""
    axis, shape = steps.axes.get(value.name), value.shape
    source = steps.now(value.name)
    if axis is not None:
        kept: Shape = (*shape[:axis], *shape[axis + 1 :])
        sizes = steps.weight("shape", np.array([-1 if size is None else size for size in kept], np.int64))
        if source == value.name:
            source = steps.renamed(source)
        steps.nodes.append(Node("Reshape", (source, sizes), (value.name,)))
        return Value(value.name, value.dtype, kept)
    if source != value.name:
        steps.nodes.append(Node("Identity", (source,), (value.name,)))
    return value


def _memory(steps: Steps) -> tuple[list[Node], list[Node]]:
    """The nodes that cut the states apart, and those that join the new ones."""
    names, widths = [*steps.states], [*steps.states.values()]
    joined = steps.fresh(f"{steps.memory}.next")
    if len(names) == 1:
        return [Node("Identity", (steps.memory,), (names[0],))], [Node("Identity", (steps.next[0],), (joined,))]
    sizes = steps.weight("sizes", np.array(widths, np.int64))
    split = Node("Split", (steps.memory, sizes), tuple(names), {"axis": 1})
    return [split], [Node("Concat", tuple(steps.next), (joined,), {"axis": 1})]


def _initial(steps: Steps) -> Array:
    """The states that the graph of the series begins with."""
    net = steps.net
    zeros = [np.zeros((1, *[size for size in value.shape[1:] if isinstance(size, int)]), value.dtype) for value in net.inputs]
    parts = []
    for (name, width), given in zip(steps.states.items(), steps.given):
        if not given:
            parts.append(np.zeros(width, np.float32))
        elif given in net.weights:
            parts.append(net.weights[given].reshape(-1))
        else:
            asked = Graph(tuple(net.nodes), net.inputs, (Value(given, "float32", net.shape(given)),), net.weights)
            parts.append(run_reference(asked, zeros)[0].reshape(-1))
        assert parts[-1].size == width, name
    return np.concatenate(parts).astype(np.float32)
