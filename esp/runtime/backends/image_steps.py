"""Which chains of steps are one pass of the image kernel, and what they are for it: scalings, a size, an order, a layout."""

import math
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from esp.astore.graph import Array
from esp.astore.model import Input, Step
from esp.astore.steps import SIZED, prepared_shape
from esp.kernels.intake import NORMALISED, SCALED

PARAMS = {"scale": ("scale", "offset"), "normalise": ("mean", "std")}
CODES = {"scale": SCALED, "normalise": NORMALISED}
ONE_ROW = 4096  # numbers: 16 KiB, that stay in the first cache
Scaling = tuple[int, Array, Array]  # a code of ``apply_steps`` with its a and b


@dataclass(frozen=True, slots=True)
class ImageSteps:
    """Steps as the kernel takes them, everything in the order of the source's channels.

    ``before`` are scalings of the event's numbers, a and b as long as an event. Then it is an image of ``height``, ``width`` (0, 0:
    a file, each of its own size) and ``channels``, brought to a size by ``size`` (None = its own) with ``fill``, one a channel,
    around it; ``after`` are scalings, a and b one a channel. Then the channels may change their order and come first; ``shape``
    is what comes out.
    """

    before: tuple[Scaling, ...]
    height: int
    width: int
    channels: int
    size: Step | None
    fill: Array
    after: tuple[Scaling, ...]
    is_reversed: bool
    is_planar: bool
    shape: tuple[int, ...]


@dataclass(slots=True)
class _Reading:
    """What the steps up to one have made of an event: ``shape``, and how its channels lie."""

    shape: tuple[int, ...]
    scalings: list[Scaling] = field(default_factory=list)
    is_reversed: bool = False
    is_planar: bool = False
    is_flat: bool = False  # a reshape after which no axis is known to be that of the channels


def image_steps(input: Input) -> ImageSteps | None:
    """The steps of an input; None for those that are not one pass."""
    steps = input.steps
    sized = [at for at, step in enumerate(steps) if step.op in SIZED]
    cut = sized[0] if sized else len(list(takewhile(lambda step: step.op == "reshape", steps)))
    read = _Reading((0, 0, steps[0].params["channels"]) if input.dtype == "blob" else input.shape)
    if not all(_read_before(read, step) for step in steps[:cut] if step.op != "decode") or not read.shape:
        return None
    image = read.shape
    height, width = image[:2] if sized else _rows(image)
    size, before = steps[cut] if sized else None, tuple(read.scalings)
    fill = _spread(size.params.get("fill", 0.0) if size else 0.0, image[-1:], read.is_reversed)
    read.scalings = []
    if not all(_read_after(read, step, image[-1:]) for step in steps[cut + len(sized[:1]) :]):
        return None
    shape, after = prepared_shape(input), tuple(read.scalings)
    return ImageSteps(before, height, width, image[-1], size, fill, after, read.is_reversed, read.is_planar, shape)


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """An event [..., channels] that keeps its size as rows of pixels: one, where it is small."""
    if math.prod(shape) <= ONE_ROW:
        return 1, math.prod(shape[:-1])
    return math.prod(shape[:-2]), math.prod(shape[-2:-1])


def _read_before(read: _Reading, step: Step) -> bool:
    """Reads a step before the one that gives the size; False where it cannot be."""
    if step.op == "reverse_channels":
        read.is_reversed = not read.is_reversed
    elif step.op == "reshape" and not read.is_reversed:
        read.shape = tuple(step.params["shape"])
    elif step.op in CODES:
        read.scalings.append(scaling(step, read.shape, read.is_reversed))
    else:
        return False
    return True


def _read_after(read: _Reading, step: Step, channels: tuple[int, ...]) -> bool:
    """Reads a step after it, for that many channels; where they are no longer the last axis, a scaling has one number for all."""
    is_last = not read.is_planar and not read.is_flat
    if step.op == "reverse_channels" and is_last:
        read.is_reversed = not read.is_reversed
    elif step.op == "channels_first" and is_last:
        read.is_planar = True
    elif step.op == "reshape":
        read.is_flat = True
    elif step.op in CODES:
        if not is_last and any(np.ndim(value) for value in step.params.values()):
            return False
        read.scalings.append(scaling(step, channels, read.is_reversed))
    else:
        return False
    return True


def scaling(step: Step, shape: tuple[int, ...], is_reversed: bool = False) -> Scaling:
    """A scaling of numbers of a shape, whose channels are those of the step's parameters or, reversed, the last first."""
    a, b = (_spread(step.params[key], shape, is_reversed) for key in PARAMS[step.op])
    return CODES[step.op], a, b


def _spread(value: Any, shape: tuple[int, ...], is_reversed: bool) -> Array:
    """One number, or one a channel of the last axis, as one for each number of a shape."""
    array = np.asarray(value, np.float32)
    array = array[::-1] if array.ndim and is_reversed else array
    return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1)
