"""The rule of Resize: by the nearest number it is a gather, by a line or a cubic a blend along one axis after the other."""

from collections.abc import Iterator
from math import prod

import numpy as np

from esp.astore.graph import Array, Node, op_of
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
    for axis, shares in _shares(made, node, attrs, x):
        x = _blended(made, x, axis, shares)
    return [x]


def _shares(made: Lowering, node: Node, attrs: Attrs, x: Value) -> Iterator[tuple[int, Array]]:
    """Each axis that changes, and the share [new, old] of every old number in each new one: what becomes of single ones."""
    axes = range(len(x.shape)) if attrs["axes"] is None else [axis % len(x.shape) for axis in attrs["axes"]]
    said = [made.net.weight(node, index) for index in (2, 3)]
    if all(array is None or not array.size for array in said):
        refuse(node, "scales or sizes that are no constant")
    for at, axis in enumerate(axes):
        width = x.shape[axis]
        if width is None:
            continue
        one = [None if array is None or not array.size else array.reshape(-1)[at : at + 1] for array in said]
        (lit,) = op_of(node).reference({**attrs, "axes": (1,)}, [np.eye(width), None, *one], 1)
        if lit.shape != (width, width) or not np.array_equal(lit, np.eye(width)):
            yield axis, np.ascontiguousarray(lit.T)


def _blended(made: Lowering, x: Value, axis: int, shares: Array) -> Value:
    """One axis sampled anew; what lies after it is taken together."""
    place, (new, old) = x.order.index(axis), shares.shape
    sizes = [x.shape[one] or 1 for one in x.order]
    outer, inner = prod(sizes[1:place]), prod(sizes[place + 1 :])
    taps = np.nonzero(shares)
    counts = np.tile(np.bincount(taps[0], minlength=new), outer)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    spots = (np.arange(outer, dtype=np.int64)[:, None] * old + taps[1]).reshape(-1)
    weights = np.tile(shares[taps].astype(np.float32), outer)
    shape = tuple(new if at == axis else size for at, size in enumerate(x.shape))
    out = Value(Buffer(outer * new * inner), shape, x.order)
    made.emit(plan.BLEND, x.buffer, out.buffer, outer * new, inner, starts, spots, weights, x.size)
    return out
