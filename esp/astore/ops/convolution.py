"""Convolution and pooling over any number of spatial axes, channels first."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from esp.astore.ops.row import Array, Attrs, AttrSpec, Op, Shape, given, given_shape
from esp.astore.ops.rules import expect, per_row, show, size_of
from esp.astore.ops.sliding import SLIDING_ATTRS, Geometry, geometry, image_shape
from esp.errors import GraphError


def conv_geometry(attrs: Attrs, x: Shape, w: Shape) -> Geometry:
    """Where the windows of a Conv of input shape ``x`` and weight shape ``w`` lie."""
    kernel = tuple(per_row(size) for size in w[2:])
    if attrs["kernel_shape"] not in (None, kernel):
        raise GraphError(f"kernel_shape {list(attrs['kernel_shape'])} is not the weight's {list(kernel)}", mend="leave it out")
    return geometry(attrs, image_shape(x)[1], kernel)


def explicit_pads(attrs: Attrs, shapes: Sequence[Shape]) -> tuple[int, ...]:
    """The pads of a Conv or pool of these input shapes, all begins and then all ends, ``auto_pad`` resolved."""
    if len(shapes) > 1:
        where = conv_geometry(attrs, shapes[0], shapes[1])
    else:
        where = geometry(attrs, image_shape(shapes[0])[1], attrs["kernel_shape"])
    return (*where.pads_begin, *where.pads_end)


def _conv_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, w = given_shape(shapes[0]), given_shape(shapes[1])
    channels, group = image_shape(x)[0], attrs["group"]
    if len(w) != len(x) or not all(isinstance(size, int) for size in w):
        raise GraphError(f"weight {show(w)} does not fit input {show(x)}", mend="give it [out, in / group, kernel...]")
    if group < 1 or w[1] != channels / group or per_row(w[0]) % group:
        what = f"{channels} channels in {group} groups do not fit weight {show(w)}"
        raise GraphError(what, mend="give it [a multiple of group, channels / group, kernel...]")
    expect("bias", shapes[2] if len(shapes) > 2 else None, (w[0],))
    return [(x[0], w[0], *conv_geometry(attrs, x, w).out)]


def _conv(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, w = given(inputs[0]), given(inputs[1])
    windows = conv_geometry(attrs, x.shape, w.shape).windows(x, 0)
    rank, group = x.ndim - 2, attrs["group"]
    over = [1, *range(2 + rank, 2 + 2 * rank)], [1, *range(2, 2 + rank)]  # channel and kernel axes: of windows, of weights
    parts = zip(np.split(windows, group, axis=1), np.split(w, group))
    out = np.concatenate([np.tensordot(part, weight, over) for part, weight in parts], axis=-1)
    if len(inputs) > 2 and inputs[2] is not None:
        out = out + inputs[2]
    return [np.moveaxis(out, -1, 1)]


def _conv_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    biased = len(ins) > 2 and ins[2] is not None
    return size_of(outs[0]) * (2 * size_of(given_shape(ins[1])[1:]) + biased)


def _pool_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    channels, spatial = image_shape(x)
    windows = geometry(attrs, spatial, attrs["kernel_shape"])
    for pads in (windows.pads_begin, windows.pads_end):
        if any(pad >= size for pad, size in zip(pads, windows.kernel)):
            raise GraphError(f"pads {list(pads)} reach the kernel's {list(windows.kernel)}", mend="pad less than the kernel")
    return [(x[0], channels, *windows.out)]


def _kernel_axes(x: Array) -> tuple[int, ...]:
    return tuple(range(2 - x.ndim, 0))


def _max_pool(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    windows = geometry(attrs, x.shape[2:], attrs["kernel_shape"]).windows(x, -np.inf)
    return [np.asarray(windows.max(axis=_kernel_axes(x)))]


def _average_pool(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    where = geometry(attrs, x.shape[2:], attrs["kernel_shape"])
    is_there = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if attrs["count_include_pad"]:
        pads = [(0, 0), (0, 0), *zip(where.pads_begin, where.pads_end)]
        counted = _spilling(where).windows(np.pad(is_there, pads, constant_values=x.dtype.type(1)), 0)
    else:
        counted = where.windows(is_there, 0)
    total = where.windows(x, 0).sum(axis=_kernel_axes(x))
    return [np.asarray(total / counted.sum(axis=_kernel_axes(x)))]


def _spilling(where: Geometry) -> Geometry:
    """The same windows over an input that is padded already."""
    none = (0,) * len(where.kernel)
    return Geometry(where.kernel, where.strides, where.dilations, none, none, where.spill, where.out)


def _pool_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(outs[0]) * prod(attrs["kernel_shape"])


def _global_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    channels, spatial = image_shape(x)
    return [(x[0], channels, *(1 for _ in spatial))]


def _global_average(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [np.asarray(x.mean(axis=_kernel_axes(x), keepdims=True))]


def _global_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(ins[0])


def _pool(name: str, reference: Callable[[Attrs, Sequence[Array | None], int], list[Array]], extra: str) -> Op:
    own = {
        "kernel_shape": AttrSpec("ints", is_required=True),
        "ceil_mode": AttrSpec("int", 0, choices=(0, 1)),
        extra: AttrSpec("int", 0, choices=(0, 1)),
    }
    return Op(name, (1, 1), _pool_shapes, reference, _pool_flops, {**SLIDING_ATTRS, **own})


_CONV_ATTRS = {**SLIDING_ATTRS, "kernel_shape": AttrSpec("ints"), "group": AttrSpec("int", 1)}

CONVOLUTION = {
    "Conv": Op("Conv", (2, 3), _conv_shapes, _conv, _conv_flops, _CONV_ATTRS),
    "MaxPool": _pool("MaxPool", _max_pool, "storage_order"),
    "AveragePool": _pool("AveragePool", _average_pool, "count_include_pad"),
    "GlobalAveragePool": Op("GlobalAveragePool", (1, 1), _global_shapes, _global_average, _global_flops),
}
