"""Images for a backend: tables of taps, scalings and places for each size of image, and one call of the kernel that reads them."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from esp.astore.graph import Array
from esp.astore.image import MOST_READ, Place, letterbox_place, taps
from esp.astore.model import Input
from esp.astore.preprocess import Blobs, Prepared, gathered, images_of, prepare
from esp.kernels.image import BYTES, FIELDS, FLOATS, SLACK, take_images
from esp.kernels.intake import SCALED, address, any_nan, take_in
from esp.runtime.backends.image_steps import ImageSteps, Scaling
from esp.runtime.events import Bools, VarColumn

MOST_SIZES = 32  # of images from files, whose tables are kept
F4 = np.dtype(np.float32)
Taps = tuple[Array, Array, Array]  # the first and second neighbour of each wanted place, and the share of the second


@dataclass(frozen=True, slots=True)
class Way:
    """From images of one size to the network's input: the address of a table as FIELDS has it, and what that points at."""

    table: int
    scratch: int  # floats
    held: tuple[Any, ...]


class Scalings:
    """Scalings of numbers in runs of ``size`` as kernels read them: ``rows`` of ``apply_steps``, the ``call`` of ``take_in``."""

    def __init__(self, size: int, scalings: Sequence[Scaling]) -> None:
        rows = [(code, a.ctypes.data, b.ctypes.data) for code, a, b in scalings]
        self.held, self.rows = scalings, np.array(rows, np.int64).reshape(len(rows), 3)
        self.numbers = np.array((size, self.rows.ctypes.data, len(rows)), np.int64)
        self.call = self.numbers.ctypes.data


class Images:
    """One input's columns through the image kernel: ``take`` for tensors, ``take_files`` for files, each image of its own size."""

    def __init__(self, input: Input, steps: ImageSteps) -> None:
        self.input, self.steps = input, steps
        self.kind = BYTES if input.dtype in ("uint8", "bool", "blob") and not steps.before else FLOATS
        self.before = Scalings(prod(input.shape), steps.before)
        self.way = way_of(steps, steps.height, steps.width) if steps.height else None
        self.ways: OrderedDict[tuple[int, int], Way] = OrderedDict()
        self.lock = threading.Lock()

    def take(self, column: Array) -> tuple[Array, bool]:
        """What the steps make of a contiguous column, and whether there was a NaN in it (not looked for where it may pass)."""
        assert self.way is not None
        source, has_nan = column, False
        if self.kind == FLOATS and (self.steps.before or column.dtype != F4):
            source = np.empty(column.shape, F4)
            has_nan = take_in(column.reshape(-1), source.reshape(-1), self.before.call)
        elif self.kind == FLOATS and self.input.missing != "nan":
            has_nan = any_nan(column.reshape(-1))
        out = np.empty((len(column), *self.steps.shape), F4)
        self._pass(source, self.way, out)
        return out, has_nan

    def take_files(self, column: Blobs, valid: Bools | None) -> Prepared:
        """What the steps make of image files; a broken one refuses its row alone, which holds zeros."""
        out = np.zeros((len(column), *self.steps.shape), F4)
        reasons: dict[int, str] = {}
        for row, pixels in images_of(self.input, column, None if valid is None else ~valid, reasons):
            if pixels is None:
                out[row] = prepare(self.input, VarColumn.of([b""]), np.zeros(1, np.bool_)).array[0]
            else:
                self._pass(pixels, self._way(*pixels.shape[:2]), out[row : row + 1])
        return gathered(out, reasons)

    def _pass(self, source: Array, way: Way, out: Array) -> None:
        scratch = np.empty(way.scratch, F4)
        ends = address(source.reshape(-1)), way.table, address(scratch), address(out.reshape(-1))
        take_images(len(out), self.kind, *ends)

    def _way(self, height: int, width: int) -> Way:
        """The tables for a size, made when it first comes; those used last are kept."""
        with self.lock:
            way = self.ways.get((height, width)) or way_of(self.steps, height, width)
            self.ways[height, width] = way
            self.ways.move_to_end((height, width))
            if len(self.ways) > MOST_SIZES:
                self.ways.popitem(last=False)
        return way


def way_of(steps: ImageSteps, height: int, width: int) -> Way:
    """The tables for images of a size."""
    out_height, out_width, place = _place(steps, height, width)
    channels, is_resized = steps.channels, (place.height, place.width) != (height, width)
    rows, (columns, picks) = _taps(height, place.height, 1), _picked(_taps(width, place.width, channels), width, channels)
    after = Scalings(0, [(code, np.tile(a, place.width), np.tile(b, place.width)) for code, a, b in steps.after])
    frame = _frame(steps, out_width)
    fields = {
        "height": height, "width": width, "channels": channels, "out_height": out_height, "out_width": out_width,
        "top": place.top, "left": place.left, "inner_height": place.height, "inner_width": place.width,
        "is_resized": is_resized, "is_planar": steps.is_planar, "is_reversed": steps.is_reversed,
        **{f"row_{name}": array.ctypes.data for name, array in zip(("low", "high", "share"), rows)},
        **{f"column_{name}": array.ctypes.data for name, array in zip(("low", "high", "share"), columns)},
        "picks": picks.ctypes.data, "pick_count": len(picks),
        "steps": after.rows.ctypes.data, "step_count": len(after.rows), "frame": frame.ctypes.data,
    }  # fmt: skip
    scratch = ((len(picks) or width) + (place.width if is_resized else 0)) * channels + 2 * SLACK
    table = np.array([fields[name] for name in FIELDS], np.int64)
    return Way(table.ctypes.data, scratch, (table, *rows, *columns, picks, after, frame))


def _place(steps: ImageSteps, height: int, width: int) -> tuple[int, int, Place]:
    """Height and width of what comes out, and where the image lies in it."""
    if steps.size is None:
        return height, width, Place(0, 0, height, width)
    wanted = steps.size.params["height"], steps.size.params["width"]
    return *wanted, letterbox_place(height, width, *wanted) if steps.size.op == "letterbox" else Place(0, 0, *wanted)


def _taps(size: int, wanted: int, step: int) -> Taps:
    """The taps along an axis, as places ``step`` apart."""
    low, high, share = taps(size, wanted, F4)
    return (low * step).astype(np.int32), (high * step).astype(np.int32), share


def _picked(columns: Taps, width: int, channels: int) -> tuple[Taps, Array]:
    """The taps along a row, and what is picked of the row for them: nothing (all of it is read), unless it is far wider than they are."""
    low, high, share = columns
    if width <= MOST_READ * len(share):
        return columns, np.zeros(0, np.int32)
    places = np.arange(2 * len(share), dtype=np.int32) * np.int32(channels)
    return (places[: len(share)], places[len(share) :], share), np.concatenate([low, high])


def _frame(steps: ImageSteps, width: int) -> Array:
    """A row of what lies around the image, in the order and layout of what comes out."""
    fill = steps.fill
    for code, a, b in steps.after:
        fill = fill * a + b if code == SCALED else (fill - a) / b
    fill = fill[::-1] if steps.is_reversed else fill
    return np.repeat(fill, width) if steps.is_planar else np.tile(fill, width)
