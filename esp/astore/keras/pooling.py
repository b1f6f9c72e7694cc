"""Pooling over windows and over whole axes."""

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.sliding import Window, image, spatial_axes
from esp.astore.keras.values import Held

_REDUCE = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


def pool(call: Call, axes: int, op: str) -> Held:
    """The largest or the mean of each window; a mean counts no pads."""
    settings = call.settings
    kernel = settings.sizes("pool_size", axes, 2)
    strides = settings.sizes("strides", axes) if settings.get("strides") is not None else kernel
    slide = Window(kernel, strides, (1,) * axes, settings.choice("padding", ("valid", "same"), "valid"))
    name, perm, sizes = image(call, axes)
    return call.held(call.build.add(op, name, kernel_shape=kernel, pads=slide.pads(sizes), strides=strides), perm)


def global_pool(call: Call, axes: int, op: str) -> Held:
    """The largest or the mean over all spatial axes, in the layout in which the input is held."""
    x, has_ones = call.floating(), call.settings.flag("keepdims")
    perm, name = values.favourite(call.build, x)
    if len(perm) == axes + 2 and perm != call.image_perm(axes + 2):
        places = sorted(perm.index(axis) for axis in spatial_axes(call, axes))
        pooled = call.build.add(_REDUCE[op], name, call.ints(*places), keepdims=int(has_ones))
        return call.held(pooled, perm if has_ones else None)
    name, perm, _ = image(call, axes, x)
    pooled = call.build.add(op, name)
    return call.held(pooled, perm) if has_ones else call.held(values.reshape(call.build, pooled, call.build.shapes[pooled][:2]))
