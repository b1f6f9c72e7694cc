"""Rules for pools of any rank: over planes where the Conv before left them, else channels last."""

from math import prod

import numpy as np

from esp.astore.graph import Node
from esp.astore.ops.sliding import Geometry, geometry
from esp.kernels import plan
from esp.runtime.backends.lowering.lowering import Lowering, refuse
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.pictures import picture, result, window_taps
from esp.runtime.backends.lowering.planar import pooled
from esp.runtime.backends.lowering.values import Index, Value


def max_pool(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    if any(node.outputs[1:]):
        refuse(node, "its Indices")
    by_planes = pooled(made, made.value(node, 0), attrs["kernel_shape"], False, made.net.shapes[node.outputs[0]])
    if by_planes is not None:
        return [by_planes]
    x, out = picture(made, node), result(made, node)
    where = geometry(attrs, x.dims[1:], attrs["kernel_shape"])
    starts, taps, _ = window_taps(x.dims[1:], where)
    if (starts[1:] == starts[:-1]).any():
        refuse(node, "a window that lies in the pad alone")
    made.emit(plan.MAX_POOL, x.buffer, out.buffer, prod(where.out), x.dims[0], starts, taps, x.size)
    return [out]


def average_pool(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    by_planes = pooled(made, made.value(node, 0), attrs["kernel_shape"], True, made.net.shapes[node.outputs[0]])
    if by_planes is not None:
        return [by_planes]
    x, out = picture(made, node), result(made, node)
    where = geometry(attrs, x.dims[1:], attrs["kernel_shape"])
    starts, taps, _ = window_taps(x.dims[1:], where)
    counts = np.diff(starts)
    if attrs["count_include_pad"]:
        counts = _with_pads(x.dims[1:], where)
    made.emit(plan.AVERAGE_POOL, x.buffer, out.buffer, prod(where.out), x.dims[0], starts, taps, counts, x.size)
    return [out]


def _with_pads(sizes: tuple[int, ...], where: Geometry) -> Index:
    """How many numbers each window covers, pads included, what spills over them not."""
    total = np.ones(1, np.int64)
    for axis, size in enumerate(sizes):
        spot = np.arange(where.out[axis])[:, None] * where.strides[axis] + np.arange(where.kernel[axis]) * where.dilations[axis]
        covered = (spot < size + where.pads_begin[axis] + where.pads_end[axis]).sum(axis=1)
        total = (total[:, None] * covered).reshape(-1)
    return total


def global_average(made: Lowering, node: Node, attrs: Attrs) -> list[Value]:
    x, out = picture(made, node), result(made, node)
    count = prod(x.dims[1:])
    starts, taps = np.array([0, count], np.int64), np.arange(count, dtype=np.int64)
    made.emit(plan.AVERAGE_POOL, x.buffer, out.buffer, 1, x.dims[0], starts, taps, np.array([count], np.int64), x.size)
    return [out]
