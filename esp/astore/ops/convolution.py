"""Convolution and its transpose over any number of spatial axes, channels first."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from esp.astore.ops.row import Array, Attrs, AttrSpec, Op, Shape, given, given_shape
from esp.astore.ops.rules import expect, per_row, show, size_of
from esp.astore.ops.sliding import SLIDING_ATTRS, Geometry, Spread, geometry, image_shape, spread
from esp.errors import GraphError


def conv_geometry(attrs: Attrs, x: Shape, w: Shape) -> Geometry:
    """Where the windows of a Conv of input shape ``x`` and weight shape ``w`` lie."""
    return geometry(attrs, image_shape(x)[1], _kernel(attrs, w))


def explicit_pads(attrs: Attrs, shapes: Sequence[Shape]) -> tuple[int, ...]:
    """The pads of a Conv or pool of these input shapes, all begins and then all ends, ``auto_pad`` resolved."""
    if len(shapes) > 1:
        where = conv_geometry(attrs, shapes[0], shapes[1])
    else:
        where = geometry(attrs, image_shape(shapes[0])[1], attrs["kernel_shape"])
    return (*where.pads_begin, *where.pads_end)


def transpose_spread(attrs: Attrs, x: Shape, w: Shape) -> Spread:
    """Where a ConvTranspose of input shape ``x`` and weight shape ``w`` spreads each number to."""
    return spread(attrs, image_shape(x)[1], _kernel(attrs, w))


def explicit_transpose(attrs: Attrs, shapes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
    """What says the same as ``auto_pad`` and ``output_shape`` of a ConvTranspose of these input shapes."""
    where = transpose_spread(attrs, shapes[0], shapes[1])
    return {"pads": where.pads, "output_padding": where.more}


def _kernel(attrs: Attrs, w: Shape) -> tuple[int, ...]:
    kernel = tuple(per_row(size) for size in w[2:])
    if attrs["kernel_shape"] not in (None, kernel):
        raise GraphError(f"kernel_shape {list(attrs['kernel_shape'])} is not the weight's {list(kernel)}", mend="leave it out")
    return kernel


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


def _transpose_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, w = given_shape(shapes[0]), given_shape(shapes[1])
    channels, group = image_shape(x)[0], attrs["group"]
    if len(w) != len(x) or not all(isinstance(size, int) for size in w):
        raise GraphError(f"weight {show(w)} does not fit input {show(x)}", mend="give it [in, out / group, kernel...]")
    if group < 1 or w[0] != channels or channels % group:
        what = f"{channels} channels in {group} groups do not fit weight {show(w)}"
        raise GraphError(what, mend="give it [channels, a group's filters, kernel...], channels a multiple of group")
    filters = per_row(w[1]) * group
    expect("bias", shapes[2] if len(shapes) > 2 else None, (filters,))
    return [(x[0], filters, *transpose_spread(attrs, x, w).out)]


def _transpose(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, w = given(inputs[0]), given(inputs[1])
    group, where = attrs["group"], transpose_spread(attrs, x.shape, w.shape)
    full = np.zeros((x.shape[0], w.shape[1] * group, *where.full), x.dtype)
    parts = list(zip(np.split(x, group, axis=1), np.split(w, group)))
    for tap in product(*map(range, where.kernel)):
        here: tuple[slice | int, ...] = (slice(None), slice(None), *tap)
        lit = np.concatenate([np.tensordot(part, weight[here], (1, 0)) for part, weight in parts], axis=-1)
        full[(slice(None), slice(None), *where.lit(tap, x.shape[2:]))] += np.moveaxis(lit, -1, 1)
    out = full[(slice(None), slice(None), *where.kept())]
    if len(inputs) > 2 and inputs[2] is not None:
        out = out + inputs[2].reshape(-1, *(1 for _ in where.kernel))
    return [np.asarray(out)]


def _transpose_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    biased = len(ins) > 2 and ins[2] is not None
    return 2 * size_of(ins[0]) * size_of(given_shape(ins[1])[1:]) + biased * size_of(outs[0])


_CONV_ATTRS = {**SLIDING_ATTRS, "kernel_shape": AttrSpec("ints"), "group": AttrSpec("int", 1)}
_TRANSPOSE_ATTRS = {**_CONV_ATTRS, "output_padding": AttrSpec("ints"), "output_shape": AttrSpec("ints")}

CONVOLUTION = {
    "Conv": Op("Conv", (2, 3), _conv_shapes, _conv, _conv_flops, _CONV_ATTRS),
    "ConvTranspose": Op("ConvTranspose", (2, 3), _transpose_shapes, _transpose, _transpose_flops, _TRANSPOSE_ATTRS),
}
