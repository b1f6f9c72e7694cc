"""The rule of Resize: by the nearest number it is a gather, by a line or a cubic a blend along one axis after the other."""

from math import prod

import numpy as np

from esp.astore.graph import Array, Node
from esp.astore.ops.resize import samplings, taps
from esp.kernels import plan
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.moving import moved
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.values import Buffer, Value, plain


def resize(made: Lowering, node: Node, attrs: Attrs) -> list[Value | None]:
    """Resize in all its modes but the cut of a picture by its roi."""
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        refuse(node, "a roi")
    if attrs["mode"] == "nearest":
        return moved(made, node, attrs)
    if attrs["keep_aspect_ratio_policy"] != "stretch":
        refuse(node, "sizes that keep the aspect ratio")
    x = made.value(node, 0)
    if x.flat is not None:
        x = made.arranged(x, plain(x.shape))
    scales, sizes = (_said(made, node, index) for index in (2, 3))
    if scales is None and sizes is None:
        refuse(node, "scales or sizes that are no constant")
    shape = [1 if size is None else size for size in x.shape]
    for axis, sampling in samplings(attrs, shape, None, scales, sizes).items():
        x = _blended(made, x, axis, *taps(attrs, sampling), bool(attrs["antialias"]))
    return [x]


def _said(made: Lowering, node: Node, index: int) -> Array | None:
    """Scales or sizes; an empty one counts as left out."""
    array = made.net.weight(node, index)
    return array.reshape(-1) if array is not None and array.size else None


def _blended(made: Lowering, x: Value, axis: int, near: Array, shares: Array, is_filter: bool) -> Value:
    """One axis sampled between its numbers (``ops.resize.taps``); what lies after it is taken together."""
    place, new, old = x.order.index(axis), len(near), x.shape[axis] or 1
    sizes = [x.shape[one] or 1 for one in x.order]
    outer, inner = prod(sizes[1:place]), prod(sizes[place + 1 :])
    is_read = shares != 0 if is_filter else np.ones_like(shares, np.bool_)
    counts = np.tile(is_read.sum(axis=1), outer)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    spots = (np.arange(outer, dtype=np.int64)[:, None] * old + near[is_read]).reshape(-1)
    weights = np.tile(shares[is_read].astype(np.float32), outer)
    shape = tuple(new if at == axis else size for at, size in enumerate(x.shape))
    out = Value(Buffer(outer * new * inner), shape, x.order)
    made.emit(plan.BLEND, x.buffer, out.buffer, outer * new, inner, starts, spots, weights, x.size)
    return out
