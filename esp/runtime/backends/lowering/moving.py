"""Rules for ops that move numbers to other places: each is a gather, whose places the op's own reference finds out."""

from collections.abc import Sequence

import numpy as np

from esp.astore.graph import Array, Node, op_of
from esp.astore.ops.rules import size_of
from esp.kernels import plan
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Index, Shape, Value, lying, plain

_OUTSIDE = -1  # the place of a number that is no number of the input


def moved(made: Lowering, node: Node, attrs: Attrs) -> list[Value | None]:
    """Slice, Split, Gather, Tile, DepthToSpace, SpaceToDepth, Trilu: the reference moves the places of a row instead of numbers."""
    x = made.value(node, 0)
    results = _places(made, node, attrs, x, [made.net.weight(node, at) for at in range(1, len(node.inputs))])
    return [_taken(made, x, index, made.net.shapes[name], 0.0) if name else None for name, index in zip(node.outputs, results)]


def pad(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Pad in all its modes; what a constant pads with is known to the gather."""
    x, fill = made.value(node, 0), made.weight(node, 2)
    constants = [made.net.weight(node, at) for at in range(1, len(node.inputs))]
    if len(constants) > 1:
        constants[1] = None
    number = 0.0 if fill is None else float(fill.reshape(-1)[0])
    return [_taken(made, x, _places(made, node, attrs, x, constants)[0], made.net.shapes[node.outputs[0]], number)]


def _places(made: Lowering, node: Node, attrs: Attrs, x: Value, constants: Sequence[Array | None]) -> list[Index]:
    """For each output the places, in the input's row, of the numbers of its row; in its shape, the batch left out."""
    for at, (name, constant) in enumerate(zip(node.inputs[1:], constants)):
        if name and constant is None and name in made.values:
            refuse(node, f"input {at + 1} is no constant")
    sizes = [1 if size is None else size for size in x.shape]
    first = np.arange(1, x.size + 1, dtype=np.int64).reshape(sizes)  # from 1 on: 0 is what a reference pads with
    moved = op_of(node).reference(attrs, [first, *constants], len(node.outputs))
    return [_without_batch(node, index, made.net.shapes[name]) for name, index in zip(node.outputs, moved) if name]


def _without_batch(node: Node, index: Index, shape: Shape) -> Index:
    batch = shape.index(None)
    if index.shape != (*shape[:batch], 1, *shape[batch + 1 :]):
        refuse(node, "its batch is not moved whole")
    return index.squeeze(batch) - 1


def _taken(made: Lowering, x: Value, places: Index, shape: Shape, fill: float) -> Value:
    """The numbers at those places, lying as the input does where the axes are as many."""
    order = x.order if x.flat is None and len(shape) == len(x.shape) and shape.index(None) == x.batch else plain(shape)
    target, spots = Value(Buffer(size_of(shape)), shape, order), x.positions().reshape(-1)
    if (places != _OUTSIDE).all():
        return made.gathered(x, spots[places], target)
    index = np.where(places == _OUTSIDE, _OUTSIDE, spots[places])
    made.emit(plan.GATHER_OR, x.buffer, target.buffer, target.size, lying(index, shape, order), x.size, float(fill))
    return target


def expand(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Expand of a constant or a value to the sizes that its row has."""
    shape = made.net.shapes[node.outputs[0]]
    batch, dims = shape.index(None), tuple(size for size in shape if size is not None)
    if node.inputs[0] not in made.values:
        array = made.weight(node, 0)
        assert array is not None
        full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
        if full.shape[batch] != 1:
            refuse(node, "a constant that differs by row")
        return [made.constant(np.broadcast_to(full.squeeze(batch), dims), shape)]
    x = made.value(node, 0)
    if x.batch + len(shape) - len(x.shape) != batch:
        refuse(node, "a batch that is made")
    index = np.broadcast_to(x.positions(), dims)
    return [made.gathered(x, index, Value(Buffer(index.size), shape, plain(shape)))]
