"""Pooling over any number of spatial axes, channels first: window by window, or the whole picture at once."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from esp.astore.ops.row import FLOATS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import expect, fixed, show, size_of, sizes_at
from esp.astore.ops.sliding import SLIDING_ATTRS, Geometry, geometry, image_shape
from esp.errors import GraphError


def _pool_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    channels, spatial = image_shape(x)
    windows = geometry(attrs, spatial, attrs["kernel_shape"])
    for pads in (windows.pads_begin, windows.pads_end):
        if any(pad >= size for pad, size in zip(pads, windows.kernel)):
            raise GraphError(f"pads {list(pads)} reach the kernel's {list(windows.kernel)}", mend="pad less than the kernel")
    return [(x[0], channels, *windows.out)] * 2


def _lp_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    _check_p(attrs)
    return _pool_shapes(attrs, shapes, constants)[:1]


def _check_p(attrs: Attrs) -> None:
    if attrs["p"] < 1:
        raise GraphError(f"p is {attrs['p']}", mend="give a power of 1 or more")


def _kernel_axes(x: Array) -> tuple[int, ...]:
    return tuple(range(2 - x.ndim, 0))


def _lowest(x: Array) -> float:
    return -np.inf if x.dtype.kind == "f" else int(np.iinfo(x.dtype).min)


def _max_pool(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    where = geometry(attrs, x.shape[2:], attrs["kernel_shape"])
    windows = where.windows(x, _lowest(x))
    most = np.asarray(windows.max(axis=_kernel_axes(x)))
    return [most, _places(x, where, windows, most, attrs["storage_order"])] if outputs > 1 else [most]


def _places(x: Array, where: Geometry, windows: Array, most: Array, storage_order: int) -> Array:
    """Where in the flattened input the first of each window's largest numbers lies."""
    spatial = x.shape[2:]
    spots = np.arange(prod(spatial), dtype=np.int64).reshape(spatial, order="F" if storage_order else "C")
    spots = where.windows(spots[None, None], -1)
    is_most = (windows == most[(..., *(None for _ in spatial))]) & (spots >= 0)
    flat = (*most.shape, prod(where.kernel))
    first = is_most.reshape(flat).argmax(axis=-1)[..., None]
    at = np.take_along_axis(np.broadcast_to(spots, windows.shape).reshape(flat), first, axis=-1)[..., 0]
    pictures = np.arange(x.shape[0] * x.shape[1], dtype=np.int64) * prod(spatial)
    return np.asarray(at + pictures.reshape(*x.shape[:2], *(1 for _ in spatial)))


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


def _lp_pool(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    windows = geometry(attrs, x.shape[2:], attrs["kernel_shape"]).windows(x, 0)
    return [_norm(windows, attrs["p"], _kernel_axes(x), False)]


def _norm(x: Array, p: int, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray((np.abs(x) ** float(p)).sum(axis=axes, keepdims=keepdims) ** (1 / p))


def _pool_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(outs[0]) * prod(attrs["kernel_shape"])


def _global_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    channels, spatial = image_shape(x)
    if min(spatial) < 1:
        raise GraphError(f"{show(x)} has an axis of size 0", mend="pool what has numbers")
    return [(x[0], channels, *(1 for _ in spatial))]


def _global_lp_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    _check_p(attrs)
    return _global_shapes(attrs, shapes, constants)


def _global_average(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [np.asarray(x.mean(axis=_kernel_axes(x), keepdims=True))]


def _global_max(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [np.asarray(x.max(axis=_kernel_axes(x), keepdims=True))]


def _global_lp(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [_norm(x, attrs["p"], _kernel_axes(x), True)]


def _global_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(ins[0])


def _unpool_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    channels, spatial = image_shape(x)
    expect("indices", shapes[1], x)
    own = _unpooled(attrs, spatial)
    if len(shapes) < 3 or shapes[2] is None:
        return [(x[0], channels, *own)]
    asked = sizes_at(constants, 2, "output_shape")
    if len(asked) != len(x) or tuple(asked[:2]) != tuple(x[:2]):
        raise GraphError(f"output_shape {show(tuple(asked))} does not begin as {show(x)}", mend="change its spatial sizes alone")
    if any(fixed(size, "output_shape") < least for size, least in zip(asked[2:], own)):
        raise GraphError(f"output_shape {show(tuple(asked))} is smaller than {list(own)}", mend="make it as large at least")
    return [tuple(asked)]


def _unpooled(attrs: Attrs, spatial: Sequence[int]) -> tuple[int, ...]:
    """The spatial sizes that were pooled to ``spatial``."""
    rank = len(spatial)
    strides, pads, kernel = attrs["strides"] or (1,) * rank, attrs["pads"] or (0,) * (2 * rank), attrs["kernel_shape"]
    if (len(strides), len(pads), len(kernel)) != (rank, 2 * rank, rank):
        raise GraphError(f"kernel_shape, strides and pads do not fit {rank} spatial axes", mend="give one size an axis")
    out = tuple((size - 1) * strides[axis] + kernel[axis] - pads[axis] - pads[axis + rank] for axis, size in enumerate(spatial))
    if min(out) < 1:
        raise GraphError(f"the output would be {list(out)}", mend="pad less, or give a larger kernel")
    return out


def _unpool(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, places = given(inputs[0]), given(inputs[1])
    shape = (*x.shape[:2], *_unpooled(attrs, x.shape[2:]))
    if places.size and not (places.min() >= 0 and places.max() < prod(shape)):
        raise GraphError("an index leaves the output", mend="take the indices from a MaxPool of the same attributes")
    flat = np.zeros(prod(shape), x.dtype)
    flat[places] = x
    wide = np.zeros(tuple(map(int, inputs[2])) if len(inputs) > 2 and inputs[2] is not None else shape, x.dtype)
    wide[tuple(map(slice, shape))] = flat.reshape(shape)
    return [wide]


def _unpool_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 0


_FLOATING = Dtypes()
_P = {"p": AttrSpec("int", 2)}
_KERNEL = {"kernel_shape": AttrSpec("ints", is_required=True)}


def _pool(
    name: str,
    reference: Callable[[Attrs, Sequence[Array | None], int], list[Array]],
    own: dict[str, AttrSpec],
    dtypes: Dtypes = _FLOATING,
    outputs: int = 1,
) -> Op:
    attrs = {**SLIDING_ATTRS, **_KERNEL, "ceil_mode": AttrSpec("int", 0, choices=(0, 1)), **own}
    shapes = _lp_shapes if own == _P else _pool_shapes
    return Op(name, (1, 1), shapes, reference, _pool_flops, attrs, (1, outputs), dtypes)


_MAX_DTYPES = Dtypes((*FLOATS, "int8", "uint8"), outputs={1: "int64"})
_UNPOOL_ATTRS = {**_KERNEL, "pads": AttrSpec("ints"), "strides": AttrSpec("ints")}

POOLING = {
    "MaxPool": _pool("MaxPool", _max_pool, {"storage_order": AttrSpec("int", 0, choices=(0, 1))}, _MAX_DTYPES, 2),
    "AveragePool": _pool("AveragePool", _average_pool, {"count_include_pad": AttrSpec("int", 0, choices=(0, 1))}),
    "LpPool": _pool("LpPool", _lp_pool, _P),
    "GlobalAveragePool": Op("GlobalAveragePool", (1, 1), _global_shapes, _global_average, _global_flops),
    "GlobalMaxPool": Op("GlobalMaxPool", (1, 1), _global_shapes, _global_max, _global_flops),
    "GlobalLpPool": Op("GlobalLpPool", (1, 1), _global_lp_shapes, _global_lp, _global_flops, _P),
    "MaxUnpool": Op(
        "MaxUnpool", (2, 3), _unpool_shapes, _unpool, _unpool_flops, _UNPOOL_ATTRS,
        dtypes=Dtypes(inputs={1: ("int64",), 2: ("int64",)}), trainable=(),
    ),
}  # fmt: skip
