"""Activation functions that an exporter wrote out as arithmetic become the one op that they are."""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

from esp.astore.graph import Node, complete_attrs
from esp.astore.passes.net import Net

Match = tuple[list[Node], Node]  # the nodes of the pattern, the last being the one that makes its output; and the one for them


def fuse_activations(net: Net) -> None:
    """Gelu, HardSwish, Mish and LeakyRelu out of Erf, Clip, Tanh, Max and arithmetic; nothing where a part has another use."""
    for node in net.nodes:
        match = next((made for pattern in PATTERNS if (made := pattern(net, node)) is not None), None)
        if match is not None and _is_closed(net, match[0]):
            _put(net, *match)


def _is_closed(net: Net, nodes: Sequence[Node]) -> bool:
    """Whether nothing outside asks for what the inner nodes make."""
    inner = [name for node in nodes[:-1] for name in node.outputs if name]
    return all(net.count(name) == sum(node.inputs.count(name) for node in nodes) for name in inner)


def _put(net: Net, nodes: list[Node], one: Node) -> None:
    net.merge([nodes[-1]], one)  # where the last stands all inputs are there
    for node in nodes[:-1]:
        net.nodes.remove(node)


def _split(net: Net, node: Node | None, op: str) -> tuple[str, float] | None:
    """Of a node over a tensor and a constant of one number: the tensor and the number."""
    if node is None or node.op != op or len(node.inputs) != 2:
        return None
    for moving, still in ((0, 1), (1, 0)):
        number = net.weight(node, still)
        if number is not None and number.size == 1 and (moving == 0 or op in ("Add", "Mul", "Max")):
            return node.inputs[moving], float(number.reshape(-1)[0])
    return None


def _is_near(number: float, wanted: float) -> bool:
    return bool(np.isclose(number, wanted, rtol=2e-6, atol=0))


def _gelu(net: Net, last: Node) -> Match | None:
    """x * (erf(x / sqrt(2)) + 1) * 0.5, in any order of the products."""
    if last.op != "Mul":
        return None
    halves = [last, *(made for name in last.inputs if (made := net.maker(name)) is not None and made.op == "Mul")]
    for half in halves:
        split = _split(net, half, "Mul")
        if split is None or not _is_near(split[1], 0.5):
            continue
        outer = net.maker(split[0]) if half is last else None
        products = [half, outer] if outer is not None and outer.op == "Mul" else [half]
        around = [name for node in ([outer] if outer is not None and outer.op == "Mul" else []) for name in node.inputs]
        if half is not last:
            around = [split[0], *(name for name in last.inputs if name != half.outputs[0])]
        match = _erf_side(net, around)
        if match is not None:
            return [*match[1], *(node for node in products if node is not last), last], Node("Gelu", (match[0],), last.outputs)
    return None


def _erf_side(net: Net, names: Sequence[str]) -> tuple[str, list[Node]] | None:
    """Of two factors, one x and the other erf(x / sqrt(2)) + 1: x and the nodes of the other."""
    if len(names) != 2:
        return None
    for x, side in (names, names[::-1]):
        add = net.maker(side)
        one = _split(net, add, "Add")
        erf = net.maker(one[0]) if one is not None and _is_near(one[1], 1) else None
        if add is None or erf is None or erf.op != "Erf":
            continue
        inner = net.maker(erf.inputs[0])
        scaled = _split(net, inner, "Div") or _split(net, inner, "Mul")
        factor = 0.0 if scaled is None or inner is None else scaled[1] if inner.op == "Mul" else 1 / (scaled[1] or 1)
        if inner is not None and scaled is not None and scaled[0] == x and _is_near(factor, 1 / sqrt(2)):
            return x, [inner, erf, add]
    return None


def _hard_swish(net: Net, last: Node) -> Match | None:
    """x * HardSigmoid(x, 1/6, 1/2)."""
    return _gated(net, last, "HardSigmoid", "HardSwish", lambda node: _is_sixth(node))


def _is_sixth(node: Node) -> bool:
    attrs = complete_attrs(node)
    return _is_near(attrs["alpha"], 1 / 6) and _is_near(attrs["beta"], 0.5)


def _gated(net: Net, last: Node, gate: str, name: str, fits: Callable[[Node], bool]) -> Match | None:
    """x * gate(x)."""
    if last.op != "Mul":
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        node = net.maker(other)
        if node is not None and node.op == gate and node.inputs[0] == x and fits(node):
            return [node, last], Node(name, (x,), last.outputs)
    return None


def _mish(net: Net, last: Node) -> Match | None:
    """x * tanh(softplus(x))."""
    if last.op != "Mul":
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        tanh = net.maker(other)
        soft = net.maker(tanh.inputs[0]) if tanh is not None and tanh.op == "Tanh" else None
        if tanh is not None and soft is not None and soft.op == "Softplus" and soft.inputs[0] == x:
            return [soft, tanh, last], Node("Mish", (x,), last.outputs)
    return None


def _leaky_relu(net: Net, last: Node) -> Match | None:
    """max(x, a * x) with a in (0, 1)."""
    if last.op != "Max" or len(last.inputs) != 2:
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        product = net.maker(other)
        split = _split(net, product, "Mul")
        if product is not None and split is not None and split[0] == x and 0 < split[1] < 1:
            return [product, last], Node("LeakyRelu", (x,), last.outputs, {"alpha": split[1]})
    return None


PATTERNS: Sequence[Callable[[Net, Node], Match | None]] = (_gelu, _hard_swish, _mish, _leaky_relu)
