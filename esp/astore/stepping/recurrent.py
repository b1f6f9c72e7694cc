"""RNN, GRU and LSTM for one event: the states come in as inputs, and leave as outputs."""

from dataclasses import replace

import numpy as np

from esp.astore.graph import Node, complete_attrs
from esp.astore.stepping.walk import Steps, refuse

INITIAL = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}  # inputs that are the states before the first step
LENGTHS = 4


def recurrent(steps: Steps, node: Node) -> None:
    """One step of a node that walks along the series."""
    _check(steps, node)
    inputs = [*node.inputs, *[""] * (7 - len(node.inputs))]
    names = [*node.outputs, *[""] * (3 - len(node.outputs))]
    outputs = [names[0]]
    for at, index in enumerate(INITIAL[node.op], 1):
        units = steps.net.shape(node.inputs[2])[-1]
        assert isinstance(units, int)
        steps.given.append(inputs[index])
        inputs[index] = _entered(steps, units)
        outputs.append(names[at] or steps.fresh(f"{node.op}.state"))
    trimmed = inputs if any(inputs[7:]) else inputs[: INITIAL[node.op][-1] + 1]
    axes: dict[str, int | None] = dict.fromkeys(outputs[1:])
    steps.put(replace(node, inputs=tuple(trimmed), outputs=tuple(outputs)), axes | ({names[0]: 0} if names[0] else {}))
    for name in outputs[1:]:
        left = steps.fresh("state")
        steps.nodes.append(Node("Squeeze", (name, _direction(steps)), (left,)))
        steps.next.append(left)


def _check(steps: Steps, node: Node) -> None:
    direction = complete_attrs(node)["direction"]
    if steps.time(node.inputs[0]) != 0:
        refuse(node, "walks along another axis than time")
    if direction != "forward":
        refuse(node, f"is {direction}: it reads the series from its end")
    if len(node.inputs) > LENGTHS and node.inputs[LENGTHS]:
        refuse(node, "takes a length of each series")
    if any(name in steps.axes for name in node.inputs[1:]):
        refuse(node, "begins with a state that the events make")


def _entered(steps: Steps, units: int) -> str:
    """A new state [N, units], as the node takes it: [1, N, units]."""
    state, turned = steps.fresh("state"), steps.fresh("state")
    steps.states[state] = units
    steps.nodes.append(Node("Unsqueeze", (state, _direction(steps)), (turned,)))
    return turned


def _direction(steps: Steps) -> str:
    return steps.weight("axis", np.zeros(1, np.int64))
