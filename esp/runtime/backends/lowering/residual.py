"""The rule for Add, which joins the product that one of its operands is: the sum is formed while the product's block is near."""

from collections.abc import Iterator
from dataclasses import replace

from esp.astore.graph import Node
from esp.kernels import plan
from esp.kernels.pointwise import CLIP
from esp.runtime.backends.lowering.elementwise import arithmetic
from esp.runtime.backends.lowering.lowering import FREE, Lowering
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.products import is_written_after, product_of
from esp.runtime.backends.lowering.values import Buffer, Value


def add(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Add, and the Relu or Clip after it."""
    bounds = made.bounds
    for at, value, other in sorted(_products(made, node), key=lambda found: found[0], reverse=True):
        row = made.rows[at]
        is_free = row.fields[-len(FREE) :] == FREE
        if is_free and other.lies_as(value.order) and not is_written_after(made, at, other.buffer):
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
        at = product_of(made, node, name)
        if at is not None:
            yield at, value, other
