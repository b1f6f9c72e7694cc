"""Layers that work number by number: activations as layers, Rescaling, Normalization, Masking, and what does nothing."""

from math import prod
from typing import Any

import numpy as np

from esp.astore.graph import Array
from esp.astore.hdf5.words import CHANNELS_FIRST, LEARNT
from esp.astore.keras import values
from esp.astore.keras.activations import activate, along_axis, clip, scaled
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held


def nothing(call: Call) -> Held:
    """A layer that acts in training alone."""
    call.settings.ignore("rate", "stddev", "noise_shape", "l1", "l2", "data_format")
    return call.x


def augmentation(call: Call) -> Held:
    """A layer that changes pictures in training and leaves them alone when it scores."""
    call.settings.ignore(*call.settings.config)
    return call.x


def activation(call: Call) -> Held:
    return activate(call, call.floating(), call.settings.get("activation"))


def relu(call: Call) -> Held:
    """x above a threshold, up to max_value; negative_slope * (x - threshold) below it."""
    settings = call.settings
    slope, threshold = settings.number("negative_slope", 0.0), settings.number("threshold", 0.0)
    top = settings.number("max_value") if settings.get("max_value") is not None else None

    def bend(x: str) -> str:
        if threshold:
            above = call.build.add("Where", call.build.add("Greater", x, call.number(threshold)), x, call.number(0.0))
        elif slope and top is None:
            return call.build.add("LeakyRelu", x, alpha=slope)
        else:
            above = call.build.add("Relu", x)
        if top is not None:
            above = clip(call, above, 0.0, top)
        if not slope:
            return above
        below = call.build.add("Relu", scaled(call, x, -1.0, threshold))
        return call.build.add("Sub", above, scaled(call, below, slope))

    return values.each(call.build, call.floating(), bend)


def leaky_relu(call: Call) -> Held:
    alpha = call.settings.number("negative_slope", 0.3)
    return values.each(call.build, call.floating(), lambda x: call.build.add("LeakyRelu", x, alpha=alpha))


def elu(call: Call) -> Held:
    alpha = call.settings.number("alpha", 1.0)
    return values.each(call.build, call.floating(), lambda x: call.build.add("Elu", x, alpha=alpha))


def prelu(call: Call) -> Held:
    """A slope below 0 of its own for each number, or shared along axes."""
    x = call.floating()
    call.settings.ignore("shared_axes")
    (alpha,) = call.weights("alpha")
    if call.origin.generation == 1 and alpha.ndim != len(x.shape) - 1:
        raise call.refused(f"its slopes are {list(alpha.shape)}", "give the file of this model")
    perm, name = values.favourite(call.build, x)
    if perm not in (values.plain(len(perm)), values.first(len(perm))):
        perm, name = values.plain(len(perm)), call.tensor(x)
    word = "alpha" if perm == values.plain(len(perm)) else f"alpha{CHANNELS_FIRST}"
    slopes = values.along(alpha, range(1, len(x.shape)), perm)
    return call.held(call.build.add("PRelu", name, call.build.weight(word, slopes)), perm)


def thresholded_relu(call: Call) -> Held:
    """x where it is above theta, else 0."""
    theta = call.settings.number("theta", 1.0)

    def bend(x: str) -> str:
        return call.build.add("Where", call.build.add("Greater", x, call.number(theta)), x, call.number(0.0))

    return values.each(call.build, call.floating(), bend)


def softmax(call: Call) -> Held:
    axis = call.settings.get("axis", -1)
    if isinstance(axis, list) and len(axis) == 1:
        axis = axis[0]
    if not isinstance(axis, int):
        raise call.settings.refused("axis", "softmax goes over one axis", "use one axis")
    return along_axis(call, call.floating(), "softmax", axis)


def rescaling(call: Call) -> Held:
    """x * scale + offset, each one number or one a channel of the last axis."""
    scale, offset = (_numbers(call, key, default) for key, default in (("scale", 1.0), ("offset", 0.0)))
    return affine(call, call.floating(), scale, offset)


def affine(
    call: Call,
    x: Held,
    scale: Array,
    offset: Array,
    axes: tuple[int, ...] | None = None,
    words: tuple[str, str] = ("factor", "offset"),
) -> Held:
    """x * scale + offset over the axes ``axes`` (the last, where left out); ``words`` are theirs where a layer learns them."""
    perm, name = values.favourite(call.build, x)
    if axes is not None and len(axes) > 1:
        perm, name = values.plain(len(perm)), call.tensor(x)  # the numbers stand as Keras has them
    for op, what, array in (("Mul", words[0], scale), ("Add", words[1], offset)):
        over = axes if axes is not None else (len(perm) - 1,) * array.ndim
        if array.ndim or array != (op == "Mul") or what in LEARNT:
            shaped = values.along(array, over, perm) if array.ndim else array
            name = call.build.add(op, name, call.build.weight(what, shaped.astype(np.float32)))
    return call.held(name, perm)


def _numbers(call: Call, key: str, default: float) -> Array:
    value: Any = call.settings.get(key, default)
    if isinstance(value, dict):
        value = value.get("config", {}).get("value")
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as err:
        raise call.settings.refused(key, "they are no numbers", "save the model again") from err
    if array.ndim > 1 or not np.isfinite(array).all():
        raise call.settings.refused(key, "wanted a number or one a channel", "save the model again")
    return array


def normalization(call: Call) -> Held:
    """(x - mean) / deviation along some axes, the numbers from the config or from the weights."""
    x, settings = call.floating(), call.settings
    axes = _axes(call, len(x.shape))
    mean, variance = (_over(call, array, [call.size(axis, x) for axis in axes]) for array in _moments(call))
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    is_learnt = settings.config.get("mean") is None
    if settings.flag("invert"):
        return affine(call, x, deviation, mean, axes, ("deviation", "mean") if is_learnt else ("factor", "offset"))
    words = ("inverse_deviation", "scaled_mean") if is_learnt else ("factor", "offset")
    return affine(call, x, 1 / deviation, -mean / deviation, axes, words)


def _moments(call: Call) -> list[Array]:
    """Mean and variance out of the config, else out of the weights (a count stands behind them)."""
    settings = call.settings
    if settings.get("mean") is not None:
        found = [np.asarray(settings.get(key), np.float64) for key in ("mean", "variance")]
    else:
        found = [np.asarray(array, np.float64) for array in call.arrays or () if np.asarray(array).dtype.kind == "f"][:2]
    settings.ignore("variance")
    if len(found) < 2 or not all(np.isfinite(array).all() for array in found) or (found[1] < 0).any():
        raise call.refused("neither its config nor the file has its mean and variance", "adapt it and save the model again")
    return found


def _over(call: Call, array: Array, shape: list[int]) -> Array:
    if array.size not in (1, prod(shape)):
        raise call.refused(f"its numbers {list(array.shape)} do not fit axes of {shape}", "give the file of this model")
    return np.broadcast_to(array.reshape(()), shape) if array.size == 1 else array.reshape(shape)


def _axes(call: Call, rank: int) -> tuple[int, ...]:
    value = call.settings.config.get("axis", -1)
    call.settings.ignore("axis")
    listed = [] if value is None else [value] if isinstance(value, int) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(axis, int) and -rank <= axis < rank for axis in listed):
        raise call.settings.refused("axis", "wanted axes of the input", "mend the model")
    return tuple(sorted(axis % rank for axis in listed))


def masking(call: Call) -> Held:
    """Steps whose numbers all are mask_value become 0; what follows is told by the mark of a mask."""
    x, value = call.floating(), call.settings.number("mask_value", 0.0)
    perm, name = values.favourite(call.build, x)
    is_same = call.build.add("Equal", name, call.number(value))
    differs = call.cast(call.build.add("Not", is_same), "float32")
    kept = call.build.add("ReduceMax", differs, call.ints(perm.index(len(perm) - 1)), keepdims=1)
    masked = call.held(call.build.add("Mul", name, kept), perm)
    masked.is_masked = True
    return masked
