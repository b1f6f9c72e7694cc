"""Pictures of other sizes: UpSampling and Resizing."""

import numpy as np

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.sliding import image, spatial_axes
from esp.astore.keras.values import Held


def up_sample(call: Call, axes: int) -> Held:
    """Sizes times whole numbers: repeated, or between the numbers on lines."""
    factors = call.settings.sizes("size", axes, 2)
    way = call.settings.choice("interpolation", ("nearest", "bilinear"), "nearest")
    name, perm, _ = image(call, axes)
    scales = call.build.weight("scales", np.array([1, 1, *factors], np.float32))
    if way == "nearest":
        coordinates = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return call.held(call.build.add("Resize", name, "", scales, mode="nearest", **coordinates), perm)
    return call.held(call.build.add("Resize", name, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"), perm)


def resizing(call: Call) -> Held:
    """A picture of another size, half-pixel centres."""
    settings = call.settings
    wanted = settings.whole("height"), settings.whole("width")
    way = settings.choice("interpolation", ("nearest", "bilinear"), "bilinear")
    settings.ignore("fill_mode", "fill_value")
    if way == "nearest":
        return _nearest(call, wanted)
    name, perm, sizes = image(call, 2)
    scales = call.build.weight("scales", np.array([1, 1, *map(_scale, sizes, wanted)], np.float32))
    return call.held(call.build.add("Resize", name, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"), perm)


def _scale(size: int, wanted: int) -> float:
    """wanted / size in float32, above it where it would otherwise lose the last number."""
    scale = np.float32(wanted / size)
    return float(scale if int(scale * np.float32(size)) >= wanted else np.nextafter(scale, np.float32(np.inf)))


def _nearest(call: Call, wanted: tuple[int, int]) -> Held:
    """Each number taken from where its centre lies: exact where ONNX's Resize would have to round a scale."""
    perm, name = values.favourite(call.build, call.floating())
    for axis, size in zip(spatial_axes(call, 2), wanted):
        sources = (2 * np.arange(size) + 1) * call.size(axis) // (2 * size)
        name = call.build.add("Gather", name, call.build.weight("constant", sources), axis=perm.index(axis))
    return call.held(name, perm)
