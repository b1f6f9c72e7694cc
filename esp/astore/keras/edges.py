"""More or less at the ends of spatial axes: zero padding and cropping."""

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.sliding import spatial_axes
from esp.astore.keras.values import Held


def zero_pad(call: Call, axes: int) -> Held:
    """Zeros before and behind each spatial axis."""
    ends = _pairs(call, "padding", axes)
    perm, name = values.favourite(call.build, call.x)
    around = _around(call, axes, ends)
    pads = [around[axis][side] for side in range(2) for axis in perm]
    return call.held(call.build.add("Pad", name, call.ints(*pads)), perm)


def crop(call: Call, axes: int) -> Held:
    """Some numbers less at both ends of each spatial axis."""
    return cut(call, _around(call, axes, _pairs(call, "cropping", axes)))


def cut(call: Call, ends: dict[int, tuple[int, int]]) -> Held:
    """The tensor less the numbers at begin and end of the axes that lose any."""
    perm, name = values.favourite(call.build, call.x)
    axes = [axis for axis in perm if any(ends.get(axis, ()))]
    if not axes:
        return call.x
    sizes = [call.size(axis) for axis in axes]
    starts, stops = [ends[axis][0] for axis in axes], [size - ends[axis][1] for axis, size in zip(axes, sizes)]
    if any(start >= stop for start, stop in zip(starts, stops)):
        raise call.refused("it leaves nothing of an axis", "crop less")
    places = [perm.index(axis) for axis in axes]
    return call.held(call.build.add("Slice", name, call.ints(*starts), call.ints(*stops), call.ints(*places)), perm)


def _around(call: Call, axes: int, ends: list[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    found = dict.fromkeys(range(len(call.x.shape)), (0, 0))
    return {**found, **dict(zip(spatial_axes(call, axes), ends))}


def _pairs(call: Call, key: str, axes: int) -> list[tuple[int, int]]:
    """Begin and end of each axis out of one number, one an axis, or pairs (Keras 1: four numbers for two axes)."""
    value = call.settings.get(key, 1)
    if axes == 1 and isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) for side in value):
        value = [value]
    elif axes == 2 and isinstance(value, list) and len(value) == 4:
        value = [value[:2], value[2:]]
    elif isinstance(value, dict):
        value = [[value.get(f"{side}_pad", 0) for side in sides] for sides in (("top", "bottom"), ("left", "right"))][:axes]
    listed = [value] * axes if isinstance(value, int) else value
    pairs = [(item, item) if isinstance(item, int) else tuple(item) for item in listed]
    is_well = len(pairs) == axes and all(
        len(pair) == 2 and all(isinstance(side, int) and side >= 0 for side in pair) for pair in pairs
    )
    if not is_well:
        raise call.settings.refused(key, f"wanted a number or a pair for each of {axes} axes", "save the model again")
    return [(pair[0], pair[1]) for pair in pairs]


def center_crop(call: Call) -> Held:
    """The middle of a picture that is large enough."""
    wanted = call.settings.whole("height"), call.settings.whole("width")
    ends = {}
    for axis, size in zip(spatial_axes(call, 2), wanted):
        over = call.size(axis) - size
        if over < 0:
            raise call.refused("its picture is smaller than the crop, which Keras then resizes", "crop no larger than the picture")
        ends[axis] = (over // 2, over - over // 2)
    return cut(call, ends)
