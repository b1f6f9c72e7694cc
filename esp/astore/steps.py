"""What each step of preprocessing asks of its parameters, and the shape that it makes of a shape."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from esp.errors import GraphError

if TYPE_CHECKING:
    from esp.astore.model import Input

MAX_ELEMENTS = 1 << 26  # of one prepared event: 256 MiB of float32
SIZE = "say the height and width that the graph takes"
SIZED = ("resize", "letterbox")  # what gives images of any size the one that the graph takes
UNSIZED = "'decode' must be followed by 'resize' or 'letterbox'"
MAX_SIDE = 1 << 14  # of a resized image
DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64", "blob")
_PARAMS = {
    "decode": ("channels",), "resize": ("height", "width"), "letterbox": ("height", "width", "fill"), "scale": ("scale", "offset"),
    "normalise": ("mean", "std"), "reverse_channels": (), "channels_first": (), "reshape": ("shape",),
}  # fmt: skip
Dims = tuple[int, ...]  # without the batch axis; 0 = not known before the image is decoded


def prepared_shape(input: "Input", where: str = "") -> Dims:
    """The shape, without the batch axis, that an input's steps make of an event; GraphError for steps that cannot be."""
    where = where or f"input {input.name!r}"
    if input.dtype not in DTYPES:
        raise GraphError(f"dtype {input.dtype!r} is none of an input", where=where, mend=f"use one of {', '.join(DTYPES)}")
    if (input.dtype == "blob") != (bool(input.steps) and input.steps[0].op == "decode"):
        raise GraphError("'decode' is the first step of a blob input, and of no other", where=where, mend="add or remove the step")
    if input.dtype == "blob" and input.shape:
        raise GraphError(f"a blob has no shape, got {list(input.shape)}", where=where, mend="use shape () for image files")
    shape = _bounded(input.shape, where)
    for at, step in enumerate(input.steps):
        path = f"{where}.steps[{at}]"
        _check_params(step.op, step.params, path)
        if at and step.op == "decode":
            raise GraphError("'decode' can only be the first step", where=path, mend="remove the step")
        if at and input.steps[at - 1].op == "decode" and step.op not in SIZED:
            raise GraphError(UNSIZED, where=path, mend=SIZE)
        shape = _SHAPES[step.op](step.params, shape, path)
        if step.op != "decode":
            shape = _bounded(shape, path)
    if 0 in shape:
        raise GraphError(UNSIZED, where=where, mend=SIZE)
    return shape


def channel_values(value: Any, shape: Dims, where: str) -> tuple[float, ...]:
    """A parameter that is one finite number, or one a channel of the last axis; GraphError otherwise."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    values = tuple(value) if is_list else (value,)
    if not all(_is_number(item) and math.isfinite(item) for item in values):
        raise GraphError("wanted a finite number or a list of them", where=where, mend="write numbers")
    if is_list and (not shape or len(values) != shape[-1]):
        axis = f"a last axis of {shape[-1]}" if shape else "a scalar"
        raise GraphError(f"{len(values)} numbers for {axis}", where=where, mend="give one number, or one a channel")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_params(op: str, params: Mapping[str, Any], where: str) -> None:
    if op not in _PARAMS:
        raise GraphError(f"step {op!r} is unknown", where=where, mend=f"use one of {', '.join(_PARAMS)}")
    for key in _PARAMS[op]:
        if key not in params:
            raise GraphError(f"step '{op}' lacks {key!r}", where=where, mend=f"give it {' and '.join(_PARAMS[op])}")
    for key in params:
        if key not in _PARAMS[op]:
            raise GraphError(
                f"step '{op}' knows no {key!r}", where=where, mend=f"it takes {' and '.join(_PARAMS[op]) or 'nothing'}"
            )


def _bounded(shape: Dims, where: str) -> Dims:
    if any(type(dim) is not int or dim < 1 for dim in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise GraphError(
            f"the shape {list(shape)} cannot be prepared", where=where, mend=f"keep an event within {MAX_ELEMENTS} elements"
        )
    return tuple(shape)


def _decode(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    if params["channels"] not in (1, 3) or isinstance(params["channels"], bool):
        raise GraphError(
            f"channels {params['channels']!r} cannot be decoded", where=where, mend="use 1 (grey) or 3 (red, green, blue)"
        )
    return 0, 0, params["channels"]


def _resize(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    return _sized("resize", params, shape, where)


def _sized(op: str, params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    sides = (params["height"], params["width"])
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise GraphError(f"cannot {op} to {sides[0]!r} x {sides[1]!r}", where=where, mend=f"use whole numbers of 1 to {MAX_SIDE}")
    if len(shape) != 3:
        raise GraphError(f"'{op}' wants [height, width, channels], got {list(shape)}", where=where, mend="reshape before it")
    return *sides, shape[2]


def _letterbox(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    after = _sized("letterbox", params, shape, where)
    channel_values(params["fill"], after, f"{where}.fill")
    return after


def _scale(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    for key in ("scale", "offset"):
        channel_values(params[key], shape, f"{where}.{key}")
    return shape


def _normalise(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    channel_values(params["mean"], shape, f"{where}.mean")
    if 0 in channel_values(params["std"], shape, f"{where}.std"):
        raise GraphError(
            "a standard deviation of 0 cannot divide", where=f"{where}.std", mend="use 1 for a channel that is constant"
        )
    return shape


def _reverse_channels(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    if shape[-1:] != (3,):
        what = f"'reverse_channels' wants a last axis of 3 colours, got {list(shape)}"
        raise GraphError(what, where=where, mend="put it where the colours are the last axis, or remove it")
    return shape


def _channels_first(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    if len(shape) < 2:
        raise GraphError(f"'channels_first' wants two axes or more, got {list(shape)}", where=where, mend="remove the step")
    return shape[-1], *shape[:-1]


def _reshape(params: Mapping[str, Any], shape: Dims, where: str) -> Dims:
    wanted = params["shape"]
    if not isinstance(wanted, list | tuple):
        raise GraphError("'shape' is a list of sizes", where=where, mend="write such as [8, 8, 1]")
    after = _bounded(tuple(wanted), where)
    if math.prod(after) != math.prod(shape):
        raise GraphError(f"{list(shape)} cannot become {list(after)}", where=where, mend="keep the number of elements")
    return after


_SHAPES: dict[str, Callable[[Mapping[str, Any], Dims, str], Dims]] = {
    "decode": _decode, "resize": _resize, "letterbox": _letterbox, "scale": _scale, "normalise": _normalise,
    "reverse_channels": _reverse_channels, "channels_first": _channels_first, "reshape": _reshape,
}  # fmt: skip
