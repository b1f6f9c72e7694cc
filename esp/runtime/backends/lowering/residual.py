"""The rule for Add, which joins the product that one of its operands is: the sum is formed while the product's block is near."""

from collections.abc import Iterator
from dataclasses import replace

from esp.astore.graph import Node
from esp.kernels import plan
from esp.kernels.pointwise import CLIP
from esp.runtime.backends.lowering.elementwise import arithmetic
from esp.runtime.backends.lowering.lowering import FREE, Lowering, Row
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value


def add(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Add, and the Relu or Clip after it."""
    bounds = made.bounds
    for at, value, other in sorted(_products(made, node), key=lambda found: found[0], reverse=True):
        row = made.rows[at]
        if _last_write(made, other.buffer) < at and other.lies_as(value.order):
            made.rows[at] = replace(row, c=other.buffer, fields=(*row.fields[: -len(bounds)], *bounds))
            return [Value(value.buffer, made.net.shapes[node.outputs[0]], value.order)]
    made.bounds = FREE
    (out,) = arithmetic(made, node, attrs)
    if bounds == FREE:
        return [out]
    held = Value(Buffer(out.size), out.shape, out.order)
    made.emit(plan.ACTIVATE, out.buffer, held.buffer, CLIP, out.size, *bounds)
    return [held]


def _products(made: Lowering, node: Node) -> Iterator[tuple[int, Value, Value]]:
    """The operands that are a product which nothing else uses: the row of each, its value, and the other operand."""
    if any(name not in made.values for name in node.inputs):
        return
    one, two = (made.values[name] for name in node.inputs)
    if one.shape != two.shape or one.buffer is two.buffer:
        return
    for name, value, other in ((node.inputs[0], one, two), (node.inputs[1], two, one)):
        at = _last_write(made, value.buffer)
        is_apart = all(value.buffer not in row.buffers for row in made.rows[:at] + made.rows[at + 1 :])
        is_free = is_apart and value.flat is None and made.net.only_user(name) is node
        if at >= 0 and is_free and made.rows[at].times == made.times and _is_whole(made.rows[at], value.buffer):
            yield at, value, other


def _last_write(made: Lowering, buffer: Buffer) -> int:
    """The last row that may write a buffer; -1 for the caller's arrays."""
    return max(
        (at for at, row in enumerate(made.rows) if row.y is buffer or any(item is buffer for item in row.fields)), default=-1
    )


def _is_whole(row: Row, buffer: Buffer) -> bool:
    """Whether a row is a product that fills its buffer, without bounds of its own and nothing added yet."""
    if row.does is not plan.MULTIPLY or row.c is not None or row.fields[-2:] != FREE:
        return False
    return row.y_at == 0 and row.fields[8] == row.fields[9] and buffer.size == row.fields[0] * row.fields[9]
