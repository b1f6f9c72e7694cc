"""Rules for work along axes: the Reduce family, GlobalMaxPool, and normalisation by statistics of each row."""

from collections.abc import Mapping
from math import prod

import numpy as np

from esp.astore.graph import Array, Node
from esp.kernels import folding, plan
from esp.kernels import pointwise as kinds
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.pointwise import bent
from esp.runtime.backends.lowering.values import Buffer, Shape, Value, plain

_ABS, _SQUARE, _SQRT, _LOG = ((kind, 0.0, 0.0) for kind in (kinds.ABS, kinds.SQUARE, kinds.SQRT, kinds.LOG))
Step = tuple[int, float, float] | None
# What is done to each number before, the fold, and what is done to each result.
FOLDS: Mapping[str, tuple[Step, int, Step]] = {
    "ReduceSum": (None, folding.SUM, None),
    "ReduceMean": (None, folding.MEAN, None),
    "ReduceMax": (None, folding.MAX, None),
    "ReduceMin": (None, folding.MIN, None),
    "ReduceL1": (_ABS, folding.SUM, None),
    "ReduceL2": (_SQUARE, folding.SUM, _SQRT),
    "ReduceSumSquare": (_SQUARE, folding.SUM, None),
    "ReduceLogSum": (None, folding.SUM, _LOG),
}


def reduction(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """Reduce* over axes that lie together, last or just before those that lie last; else they are brought there."""
    x, (before, kind, after) = made.value(node, 0), FOLDS[node.op]
    shape = made.net.shapes[node.outputs[0]]
    axes = _axes(made, node, attrs, len(x.shape))
    value = x if before is None else bent(made, x, before)
    if axes:
        value = _folded(made, value, kind, axes)
    value = value if after is None else bent(made, value, after)
    return [value if attrs["keepdims"] or not axes else _without(value, axes, shape)]


def _axes(made: Lowering, node: Node, attrs: Attrs, rank: int) -> tuple[int, ...]:
    given = made.net.weight(node, 1)
    if len(node.inputs) > 1 and node.inputs[1] and given is None:
        refuse(node, "axes that are no constant")
    axes = () if given is None else tuple(sorted({int(axis) % rank for axis in given.reshape(-1)}))
    return axes if axes or attrs["noop_with_empty_axes"] else tuple(range(rank))


def _folded(made: Lowering, x: Value, kind: int, axes: tuple[int, ...]) -> Value:
    """The axes folded to one number each."""
    free = [axis for axis in x.order[1:] if axis not in axes]
    places = [x.order.index(axis) for axis in axes]
    if x.flat is not None or max(places) - min(places) != len(places) - 1:
        order = (x.batch, *(axis for axis in plain(x.shape)[1:] if axis in free), *axes)
        x, places = made.arranged(x, order), list(range(len(order) - len(axes), len(order)))
    sizes = [x.shape[axis] or 1 for axis in x.order]
    outer, inner = prod(sizes[1 : min(places)]), prod(sizes[max(places) + 1 :])
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    out = Value(Buffer(outer * inner), shape, x.order)
    made.emit(plan.FOLD, x.buffer, out.buffer, outer, kind, prod(sizes[at] for at in places), inner)
    return out


def _without(value: Value, axes: tuple[int, ...], shape: Shape) -> Value:
    """A value without axes of size 1."""
    kept = [axis for axis in range(len(value.shape)) if axis not in axes]
    return Value(value.buffer, shape, tuple(kept.index(axis) for axis in value.order if axis in kept))


def global_max(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    x = made.value(node, 0)
    axes = tuple(range(2, len(x.shape)))
    return [_folded(made, x, folding.MAX, axes) if axes else x]


def _normalised(made: Lowering, x: Value, size: int, epsilon: float, is_centred: bool = True) -> Value:
    """Every run of ``size`` numbers as they lie, brought to mean 0 and deviation 1."""
    out = Value(Buffer(x.size), x.shape, x.order)
    made.emit(plan.NORMALISE, x.buffer, out.buffer, x.size // size, size, is_centred, float(epsilon))
    return out


def _scaled(made: Lowering, x: Value, scale: Array, shift: Array) -> Value:
    """Times ``scale`` plus ``shift``, both repeated as the numbers of a row lie."""
    out = Value(Buffer(x.size), x.shape, x.order)
    vectors = [np.ascontiguousarray(vector, np.float32).reshape(-1) for vector in (scale, shift)]
    made.emit(plan.AFFINE, x.buffer, out.buffer, x.size // vectors[0].size, vectors[0].size, *vectors, *made.bounds)
    return out


def trailing_norm(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """LayerNormalization and RMSNormalization over the axes from ``axis`` on."""
    if any(node.outputs[1:]):
        refuse(node, "its statistics")
    x, scale, bias = made.value(node, 0), made.weight(node, 1), made.weight(node, 2)
    assert scale is not None
    x = made.arranged(x, plain(x.shape))
    axis = attrs["axis"] % len(x.shape)
    tail = tuple(size or 1 for size in x.shape[axis:])
    if x.batch >= axis or scale.size > prod(tail) or (bias is not None and bias.size > prod(tail)):
        refuse(node, "a scale that differs before the axis")
    x = _normalised(made, x, prod(tail), attrs["epsilon"], node.op == "LayerNormalization")
    full = [np.zeros(()) if vector is None else vector for vector in (scale, bias)]
    return [_scaled(made, x, *(np.broadcast_to(_trimmed(vector, len(tail)), tail) for vector in full))]


def _trimmed(vector: Array, rank: int) -> Array:
    """A constant without leading axes of 1 beyond a rank."""
    return vector.reshape(vector.shape[vector.ndim - rank :]) if vector.ndim > rank else vector


def channel_norm(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """InstanceNormalization and GroupNormalization: channels first, so that a channel, or a group of them, lies together."""
    x, scale, bias = made.value(node, 0), made.weight(node, 1), made.weight(node, 2)
    assert scale is not None
    assert bias is not None
    x = made.arranged(x, plain(x.shape))
    channels = len(scale)
    x = _normalised(made, x, x.size // attrs.get("num_groups", channels), attrs["epsilon"])
    return [_scaled(made, x, *(np.repeat(vector, x.size // channels) for vector in (scale, bias)))]


def local_norm(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    """LRN, channels last."""
    x, size = made.value(node, 0), attrs["size"]
    x = made.arranged(x, (0, *range(2, len(x.shape)), 1))
    channels = x.dims[0]
    before, after = min((size - 1) // 2, channels), min(size // 2, channels)
    out = Value(Buffer(x.size), x.shape, x.order)
    numbers = (attrs["alpha"] / size, attrs["beta"], attrs["bias"])
    made.emit(plan.NORMALISE_NEAR, x.buffer, out.buffer, x.size // channels, channels, before, after, *map(float, numbers))
    return [out]
