"""Rules for changes of shape: most change the note of where axes lie, not the numbers."""

from dataclasses import replace
from math import prod

from esp.astore.graph import Node
from esp.astore.ops.rules import size_of
from esp.kernels import plan
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.products import OUT_STEP, product_of
from esp.runtime.backends.lowering.values import Buffer, Shape, Value, plain


def transpose(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    x = made.value(node, 0)
    perm = attrs["perm"] or tuple(reversed(range(len(x.shape))))
    if x.flat is not None:
        x = made.arranged(x, plain(x.shape))
    shape = tuple(x.shape[axis] for axis in perm)
    return [Value(x.buffer, shape, tuple(perm.index(axis) for axis in x.order))]


def reshape(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Reshape and Flatten: the same numbers under another shape; where they lie otherwise than written, that is kept in mind."""
    x, shape = made.value(node, 0), made.net.shapes[node.outputs[0]]
    if made.net.times.get(node.outputs[0], 1) != made.times:
        return [_divided(made, node, x, shape)]
    source = None if x.flat is None and x.lies_as(plain(x.shape)) else x
    return [Value(x.buffer, shape, plain(shape), source)]


def _divided(made: Lowering, node: Node, x: Value, shape: Shape) -> Value:
    """The rows of an event made more, or fewer: where they lead, and lie as they are written, they are the same numbers."""
    if x.batch or shape.index(None):
        refuse(node, "rows that are merged with what stands before them")
    x = made.arranged(x, plain(x.shape))
    return Value(x.buffer, shape, plain(shape))


def concat(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Every input goes to its place, in the order in which the first lies: a product writes there itself, others are copied."""
    if any(name not in made.values for name in node.inputs):
        refuse(node, "a constant among its inputs")
    shape = made.net.shapes[node.outputs[0]]
    axis, first = attrs["axis"] % len(shape), made.value(node, 0)
    order = plain(shape) if first.flat is not None else first.order
    after = order[order.index(axis) + 1 :]
    inner = prod(shape[one] or 1 for one in after)
    out, at = Value(Buffer(size_of(shape)), shape, order), 0
    line = (shape[axis] or 1) * inner
    for index, name in enumerate(node.inputs):
        value = made.value(node, index)
        run = (value.shape[axis] or 1) * inner
        if not (value.lies_as(order) and _written_at(made, node, name, out.buffer, at, line)):
            part = made.arranged(value, order)
            made.emit(plan.COPY, part.buffer, out.buffer, part.size // run, run, part.size, line, out.size, y_at=at)
        at += run
    return [out]


def _written_at(made: Lowering, node: Node, name: str, out: Buffer, at: int, line: int) -> bool:
    """Lets a product write its rows at a place in lines of another buffer, where it makes as many rows as there are lines."""
    found = product_of(made, node, name)
    if found is None or made.rows[found].fields[0] * line != out.size:
        return False
    row = made.rows[found]
    fields = (*row.fields[:OUT_STEP], line, *row.fields[OUT_STEP + 1 :])
    made.rows[found] = replace(row, y=out, y_at=at, fields=fields)
    return True
