"""Rules for ops that take up whole numbers: rows of a table that they name, one-hot vectors, and themselves as float32."""

from math import prod

from esp.astore.graph import Node
from esp.kernels import plan
from esp.kernels.given import KINDS
from esp.runtime.backends.lowering.given import Given
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.moving import moved
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value, plain


def gather(made: Lowering, node: Node, attrs: Attrs) -> list[Value | None]:
    """Gather by constants is a move; by given numbers out of a constant it reads rows of a table."""
    given = made.given.get(node.inputs[1])
    if given is None:
        return moved(made, node, attrs)
    table = made.weight(node, 0)
    assert table is not None
    axis, shape = attrs["axis"] % table.ndim, made.net.shapes[node.outputs[0]]
    outer, rows, run = prod(table.shape[:axis]), table.shape[axis], prod(table.shape[axis + 1 :])
    out = Value(Buffer(outer * given.places.size * run), shape, plain(shape))
    made.emit(
        plan.LOOKUP, Buffer(given.size, -1 - given.slot), out.buffer, outer, given.places.size, _kind(node, given), given.size,
        given.pairs, rows, run, b=table,
    )  # fmt: skip
    return [out]


def one_hot(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """OneHot of given numbers, the new axis last inside."""
    given, depth, values = _exact(made, node, 0), made.weight(node, 1), made.weight(node, 2)
    assert depth is not None
    assert values is not None
    shape = made.net.shapes[node.outputs[0]]
    axis, count = attrs["axis"] % len(shape), int(depth.reshape(-1)[0])
    order = (*(one for one in plain(shape) if one != axis), axis)
    out = Value(Buffer(given.places.size * count), shape, order)
    made.emit(
        plan.ONE_HOT, Buffer(given.size, -1 - given.slot), out.buffer, given.places.size, _kind(node, given), given.size,
        given.pairs, count, float(values[0]), float(values[1]),
    )  # fmt: skip
    return [out]


def cast(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Cast of given numbers to float32."""
    value, dtype = floats(made, node, 0), made.net.dtypes[node.outputs[0]]
    if dtype != "float32":
        refuse(node, f"numbers of {dtype}")
    return [value]


def floats(made: Lowering, node: Node, index: int) -> Value:
    """Input ``index`` as float32, which rounds the given numbers that it cannot hold."""
    given, shape = _exact(made, node, index), made.net.shapes[node.inputs[index]]
    out = Value(Buffer(given.places.size), shape, plain(shape))
    made.emit(plan.TO_FLOAT, Buffer(given.size, -1 - given.slot), out.buffer, out.size, _kind(node, given), given.size, given.pairs)
    return out


def _exact(made: Lowering, node: Node, index: int) -> Given:
    """Input ``index``, whose numbers are what the caller gave, plus constants."""
    given = made.given.get(node.inputs[index])
    if given is None:
        refuse(node, "numbers that are computed")
    if given.may_wrap:
        refuse(node, f"numbers that may not fit {given.dtype}")
    return given


def _kind(node: Node, given: Given) -> int:
    if given.source not in KINDS:
        refuse(node, f"an input of {given.source}")
    return KINDS[given.source]
