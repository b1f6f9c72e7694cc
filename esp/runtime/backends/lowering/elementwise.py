"""Rules for work number by number: arithmetic with broadcasting, and softmax."""

from collections.abc import Sequence
from math import prod

import numpy as np

from esp.astore.graph import Array, Node
from esp.astore.ops.rules import size_of
from esp.kernels import elementwise, plan
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Shape, Value, plain

_KINDS = {
    "Add": elementwise.ADD, "Sub": elementwise.SUB, "Mul": elementwise.MUL, "Div": elementwise.DIV,
    "Max": elementwise.MAX, "Min": elementwise.MIN, "PRelu": elementwise.PRELU,
}  # fmt: skip
_REVERSED = {"Sub": elementwise.REVERSED_SUB, "Div": elementwise.REVERSED_DIV}
MANY = 1 << 16  # a repeated constant is written out up to this size, so that its loop is long


def softmax(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Softmax and LogSoftmax along an axis that is made to lie last."""
    x = made.value(node, 0)
    axis = attrs["axis"] % len(x.shape)
    order = x.order if x.flat is None and x.order[-1] == axis else (*(one for one in plain(x.shape) if one != axis), axis)
    x = made.arranged(x, order)
    size = x.shape[axis] or 1
    out = Value(Buffer(x.size), x.shape, order)
    made.emit(plan.SOFTMAX, x.buffer, out.buffer, x.size // size, size, node.op == "LogSoftmax")
    return [out]


def arithmetic(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Add, Sub, Mul, Div, PRelu."""
    return [joined(made, node, node.op, [side_of(made, node, index) for index in (0, 1)], made.net.shapes[node.outputs[0]])]


def side_of(made: Lowering, node: Node, index: int) -> Value | Array:
    """An operand: a value, or a constant."""
    name = node.inputs[index]
    if name in made.values:
        return made.values[name]
    weight = made.weight(node, index)
    assert weight is not None
    return weight


def joined(made: Lowering, node: Node, op: str, sides: Sequence[Value | Array], shape: Shape) -> Value:
    """Two operands, number by number: the larger keeps its layout, the other is a constant or brought beside it."""
    wide = [_widened(side, len(shape)) if isinstance(side, Value) else None for side in sides]
    size = size_of(shape)
    main = max((side for side in wide if side is not None), key=lambda side: side.size, default=None)
    if main is None:
        refuse(node, "constants alone")
    at = next(index for index, side in enumerate(wide) if side is main)
    main = _filled(made, main, shape) if main.size != size or main.flat is not None else main
    kind = _REVERSED[op] if at == 1 and op in _REVERSED else _KINDS[op]
    other, constant = wide[1 - at], sides[1 - at]
    if op == "PRelu" and at == 1:
        refuse(node, "slopes that are computed for a constant")
    out = Value(Buffer(size), shape, main.order)
    operand: Buffer | Array
    if isinstance(constant, Value):
        assert other is not None
        operand = _beside(made, other, main).buffer
        period = step = operand.size
    else:
        operand = _repeated(_constant(node, constant, shape), main)
        period, step = operand.size, 0
    made.emit(plan.BINARY, main.buffer, out.buffer, kind, size, period, step, b=operand)
    return out


def _widened(value: Value, rank: int) -> Value:
    """The value with axes of one put before its own."""
    more = rank - len(value.shape)
    if not more:
        return value
    shape = ((1,) * more) + value.shape
    order = (value.batch + more, *range(more), *(axis + more for axis in value.order[1:]))
    return Value(value.buffer, shape, order, value.flat)


def _filled(made: Lowering, value: Value, shape: Shape) -> Value:
    """The value repeated to a whole shape, in the written order."""
    dims = tuple(dim for dim in shape if dim is not None)
    positions = np.broadcast_to(value.positions(), dims)
    return made.gathered(value, positions, Value(Buffer(positions.size), shape, plain(shape)))


def _constant(node: Node, weight: Array, shape: Shape) -> Array:
    """A constant in the whole shape, the batch left out."""
    full = weight.reshape((1,) * (len(shape) - weight.ndim) + weight.shape)
    batch = shape.index(None)
    if full.shape[batch] != 1:
        refuse(node, "a constant that differs by row")
    dims = tuple(dim for dim in shape if dim is not None)
    return np.broadcast_to(full.squeeze(batch), dims)


def _repeated(full: Array, main: Value) -> Array:
    """A constant as it lies beside ``main``, cut to the shortest run that repeats."""
    batch = main.batch
    turned = np.transpose(full, [axis - (axis > batch) for axis in main.order[1:]])
    run = np.ascontiguousarray(turned, np.float32)
    flat = run.reshape(-1)
    for axis in range(run.ndim, -1, -1):
        period = prod(run.shape[axis:])
        lines = flat.reshape(-1, period)
        if (lines == lines[0]).all() or np.array_equal(lines, np.broadcast_to(lines[0], lines.shape), equal_nan=True):
            return np.ascontiguousarray(flat if 1 < period < flat.size <= MANY else lines[0])
    return flat


def _beside(made: Lowering, other: Value, main: Value) -> Value:
    """The other operand in ``main``'s order: whole, or a part that repeats as it is."""
    sizes = [other.shape[axis] or 1 for axis in main.order[1:]]
    wanted = [main.shape[axis] or 1 for axis in main.order[1:]]
    first = next((at for at, size in enumerate(sizes) if size != 1), len(sizes))
    if sizes[first:] == wanted[first:]:
        return made.arranged(other, main.order)
    positions = np.broadcast_to(other.positions(), main.dims)
    return made.gathered(other, positions, Value(Buffer(main.size), main.shape, main.order))
