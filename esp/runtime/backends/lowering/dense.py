"""Rules for products: Gemm, and MatMul with a constant or between two tensors."""

from math import prod

import numpy as np

from esp.astore.graph import Array, Node
from esp.kernels import plan
from esp.kernels.dense import padded
from esp.kernels.pointwise import CLIP
from esp.runtime.backends.lowering.lowering import FREE, Lowering, refuse
from esp.runtime.backends.lowering.packed import Packed
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value, plain

ZERO = np.zeros(1, np.int64)


def padded_bias(bias: Array | None, columns: int) -> Array:
    """A bias in whole vectors."""
    full = np.zeros(padded(columns), np.float32)
    if bias is not None:
        full[:columns] = bias
    return full


def multiply(made: Lowering, x: Buffer, y: Buffer, per: int, weights: Array, bias: Array | None) -> None:
    """y[n * per, m] = x[n * per, k] @ weights[k, m] + bias."""
    k, m = weights.shape
    at = np.arange(per, dtype=np.int64) * k
    made.emit(
        plan.MULTIPLY, x, y, per, per * k, at, 1, ZERO, k, Packed(np.asarray(weights, np.float32)), 0, m, m, *made.bounds,
        b=padded_bias(bias, m),
    )  # fmt: skip


def gemm(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Gemm: alpha and beta go into the constants, the order of a flattened picture into the rows of the weights."""
    x, weights = made.value(node, 0), made.weight(node, 1)
    if attrs["transA"] or weights is None or x.batch != 0:
        refuse(node, "transA")
    weights = np.float32(attrs["alpha"]) * (weights.T if attrs["transB"] else weights)
    third = node.inputs[2] if len(node.inputs) > 2 else ""
    out = Value(Buffer(weights.shape[1]), (None, weights.shape[1]), (0, 1))
    if third in made.values:
        refuse(node, "its third input is no constant")
    bias = made.weight(node, 2)
    if bias is not None:
        if bias.size not in (1, weights.shape[1]):
            refuse(node, "its third input differs by row")
        bias = np.float32(attrs["beta"]) * bias.reshape(-1)
    multiply(made, x.buffer, out.buffer, 1, _rows_as_lying(x, weights), bias)
    return [out]


def _rows_as_lying(x: Value, weights: Array) -> Array:
    """The rows of weights[k, m] in the order in which x's numbers lie."""
    turned = np.empty_like(weights)
    turned[x.positions()] = weights
    return turned


def matmul(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """MatMul: with constant weights one product for all axes before the last; else pair by pair."""
    if node.inputs[0] not in made.values or node.inputs[1] in made.values or made.net.weights[node.inputs[1]].ndim > 2:
        return [_pairs(made, node)]
    x, weights = made.value(node, 0), made.weight(node, 1)
    assert weights is not None
    shape = made.net.shapes[node.outputs[0]]
    if weights.ndim == 1:
        weights = weights[:, None]
    last = len(x.shape) - 1
    order: tuple[int, ...] = (0, 1)
    if len(x.shape) == 2 and x.batch == 0:
        weights = _rows_as_lying(x, weights)
    else:
        order = x.order if x.flat is None and x.order[-1] == last else plain(x.shape)
        x = made.arranged(x, order)
    out = Value(Buffer(x.size // weights.shape[0] * weights.shape[1]), shape, order[: len(shape)])
    multiply(made, x.buffer, out.buffer, x.size // weights.shape[0], weights, made.weight(node, 2))
    return [out]


def _pairs(made: Lowering, node: Node) -> Value:
    """Both operands brought to [batch, count, rows, inner] and [batch, count, inner, columns]."""
    shape = made.net.shapes[node.outputs[0]]
    sides = [made.net.shapes[name] for name in node.inputs[:2]]
    batch = shape.index(None)
    if len(node.inputs) > 2 or min(map(len, sides)) < 2 or batch >= len(shape) - 2:
        refuse(node, "a product of these shapes")
    lead = tuple(size for size in shape[:-2] if size is not None)
    operands = [_operand(made, node, index, lead, len(shape)) for index in (0, 1)]
    rows, inner = sides[0][-2:]
    columns, count = sides[1][-1], prod(lead)
    out = Value(Buffer(count * (rows or 0) * (columns or 0)), shape, plain(shape))
    sizes = (count * (rows or 0) * (inner or 0), count * (inner or 0) * (columns or 0))
    steps = [size if isinstance(operand, Buffer) else 0 for operand, size in zip(operands, sizes)]
    made.emit(plan.MULTIPLY_PAIRS, operands[0], out.buffer, count, rows, inner, columns, steps[0], steps[1], b=operands[1])
    if made.bounds != FREE:
        free, out = out, Value(Buffer(out.size), out.shape, out.order)
        made.emit(plan.ACTIVATE, free.buffer, out.buffer, CLIP, out.size, *made.bounds)
    return out


def _operand(made: Lowering, node: Node, index: int, lead: tuple[int, ...], rank: int) -> Buffer | Array:
    """An operand as matrices, repeated over the leading axes that it lacks."""
    name = node.inputs[index]
    if name not in made.values:
        array = np.asarray(made.weight(node, index))
        batch = made.net.shapes[node.outputs[0]].index(None) - (rank - array.ndim)
        if batch >= 0:
            array = array.squeeze(batch)
        return np.ascontiguousarray(np.broadcast_to(array, (*lead, *array.shape[-2:])))
    value = made.values[name]
    if value.batch + rank - len(value.shape) != made.net.shapes[node.outputs[0]].index(None):
        refuse(node, "batches on different axes")
    positions = np.broadcast_to(value.positions(), (*lead, *value.dims[-2:]))
    shape = (None, *positions.shape)
    return made.gathered(value, positions, Value(Buffer(positions.size), shape, plain(shape))).buffer
