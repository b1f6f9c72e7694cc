"""Ops that normalise each row by statistics of its own: over channels, groups of them, or trailing axes."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.astore.ops.row import Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import axis_of, broadcast, expect, refuse_batch, show, size_of
from esp.astore.ops.sliding import image_shape
from esp.errors import GraphError

_STASHED = {1: np.float32, 11: np.float64}  # by ONNX's number of a dtype


def _trailing_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    """X, and its statistics: the axes from ``axis`` on are 1."""
    x = given_shape(shapes[0])
    axis = axis_of(attrs["axis"], len(x))
    for at in range(axis, len(x)):
        refuse_batch(x, at, "normalising over")
    for what, shape in zip(("scale", "bias"), shapes[1:]):
        if shape is not None and broadcast(shape, x) != x:
            raise GraphError(f"{what} {show(shape)} does not broadcast to {show(x)}", mend="give it the sizes of the last axes")
    told = (*x[:axis], *(1 for _ in x[axis:]))
    return [x, told, told]


def _trailing_axes(attrs: Attrs, x: Array) -> tuple[int, ...]:
    return tuple(range(attrs["axis"] % x.ndim, x.ndim))


def _centred(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """x - mean, the mean and 1 / the standard deviation over ``axes``."""
    mean = x.mean(axis=axes, keepdims=True)
    apart = np.asarray(x - mean)
    return apart, mean, np.asarray(1 / np.sqrt((apart * apart).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon)))


def _layer_norm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, scale = given(inputs[0]), given(inputs[1])
    apart, mean, inverse = _centred(x.astype(np.float32), _trailing_axes(attrs, x), attrs["epsilon"])
    out = (apart * inverse).astype(x.dtype) * scale
    if len(inputs) > 2 and inputs[2] is not None:
        out = out + inputs[2]
    return [np.asarray(out), mean, inverse][:outputs]


def _rms_norm_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return _trailing_shapes(attrs, shapes, constants)[:1]


def _rms_norm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, scale = given(inputs[0]), given(inputs[1])
    wide = x.astype(_STASHED[attrs["stash_type"]])
    squares = (wide * wide).mean(axis=_trailing_axes(attrs, x), keepdims=True)
    normalised = wide / np.sqrt(squares + wide.dtype.type(attrs["epsilon"]))
    return [np.asarray(normalised.astype(scale.dtype) * scale)]


def _channel_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    channels, _ = image_shape(x)
    groups = attrs.get("num_groups", 1)
    if groups < 1 or channels % groups:
        raise GraphError(f"{channels} channels do not make {groups} groups", mend="give a number that divides the channels")
    for what, shape in zip(("scale", "bias"), shapes[1:]):
        expect(what, shape, (channels,))
    return [x]


def _instance_norm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    apart, _, inverse = _centred(x, tuple(range(2, x.ndim)), attrs["epsilon"])
    return [_by_channel(np.asarray(apart * inverse), inputs)]


def _group_norm(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    wide = x.astype(_STASHED[attrs["stash_type"]]).reshape(x.shape[0], attrs["num_groups"], -1)
    apart, _, inverse = _centred(wide, (2,), attrs["epsilon"])
    return [_by_channel(np.asarray(apart * inverse).reshape(x.shape).astype(x.dtype), inputs)]


def _by_channel(x: Array, inputs: Sequence[Array | None]) -> Array:
    """``x`` times scale plus bias, one of each a channel."""
    scale, bias = (given(array).reshape(-1, *(1,) * (x.ndim - 2)) for array in inputs[1:3])
    return np.asarray(x * scale + bias)


def _mean_variance_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    axes = [axis_of(axis, len(x)) for axis in attrs["axes"]]
    if not axes or len(set(axes)) < len(axes):
        raise GraphError(f"axes {list(attrs['axes'])} are none, or one twice", mend="name each axis once")
    for axis in axes:
        refuse_batch(x, axis, "normalising over")
    return [x]


def _mean_variance(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, axes = given(inputs[0]), tuple(attrs["axes"])
    apart = np.asarray(x - x.mean(axis=axes, keepdims=True))
    deviation = np.sqrt((apart * apart).mean(axis=axes, keepdims=True))
    return [np.asarray(apart / (deviation + x.dtype.type(1e-9)))]


def _local_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    image_shape(given_shape(shapes[0]))
    if attrs["size"] < 1:
        raise GraphError(f"size is {attrs['size']}", mend="sum over one channel or more")
    return [given_shape(shapes[0])]


def _local(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, size = given(inputs[0]), attrs["size"]
    sums = np.concatenate([np.zeros_like(x[:, :1], np.float64), np.cumsum(np.square(x, dtype=np.float64), axis=1)], axis=1)
    at = np.arange(x.shape[1])
    first, last = np.maximum(at - (size - 1) // 2, 0), np.minimum(at + size // 2 + 1, x.shape[1])
    near = (sums[:, last] - sums[:, first]).astype(x.dtype)
    return [np.asarray(x / (attrs["bias"] + attrs["alpha"] / size * near) ** attrs["beta"])]


def _unit_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    refuse_batch(x, axis_of(attrs["axis"], len(x)), "normalising over")
    return [x]


def _unit(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    norm = np.linalg.norm(x, attrs["p"], attrs["axis"], keepdims=True)
    return [np.asarray(x / np.where(norm == 0, 1, norm).astype(x.dtype))]


def _flops(each: int) -> Callable[[Attrs, Sequence[Shape | None], Sequence[Shape]], int]:
    return lambda attrs, ins, outs: each * size_of(outs[0])


_EPSILON = {"epsilon": AttrSpec("float", 1e-5)}
_AXIS = {"axis": AttrSpec("int", -1)}
_STASH = {"stash_type": AttrSpec("int", 1, choices=tuple(_STASHED))}
_LAYER_ATTRS = {**_EPSILON, **_AXIS, "stash_type": AttrSpec("int", 1, choices=(1,))}
_LOCAL_ATTRS = {
    "alpha": AttrSpec("float", 1e-4),
    "beta": AttrSpec("float", 0.75),
    "bias": AttrSpec("float", 1.0),
    "size": AttrSpec("int", is_required=True),
}
_UNIT_ATTRS = {**_AXIS, "p": AttrSpec("int", 2, choices=(1, 2))}
_MEAN_VARIANCE_ATTRS = {"axes": AttrSpec("ints", (0, 2, 3))}

STATISTICS = {
    "LayerNormalization": Op(
        "LayerNormalization", (2, 3), _trailing_shapes, _layer_norm, _flops(7), _LAYER_ATTRS, (1, 3),
        Dtypes(outputs={1: "float32", 2: "float32"}),
    ),
    "RMSNormalization": Op(
        "RMSNormalization", (2, 2), _rms_norm_shapes, _rms_norm, _flops(4), {**_EPSILON, **_AXIS, **_STASH},
        dtypes=Dtypes(inputs={1: ("float32", "float64")}, outputs={0: 1}),
    ),
    "InstanceNormalization": Op("InstanceNormalization", (3, 3), _channel_shapes, _instance_norm, _flops(7), _EPSILON),
    "GroupNormalization": Op(
        "GroupNormalization", (3, 3), _channel_shapes, _group_norm, _flops(7),
        {**_EPSILON, **_STASH, "num_groups": AttrSpec("int", is_required=True)},
    ),
    "MeanVarianceNormalization": Op(
        "MeanVarianceNormalization", (1, 1), _mean_variance_shapes, _mean_variance, _flops(6), _MEAN_VARIANCE_ATTRS
    ),
    "LRN": Op("LRN", (1, 1), _local_shapes, _local, _flops(6), _LOCAL_ATTRS),
    "LpNormalization": Op("LpNormalization", (1, 1), _unit_shapes, _unit, _flops(3), _UNIT_ATTRS),
}  # fmt: skip
