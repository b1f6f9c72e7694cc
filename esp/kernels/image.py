"""Images from an event's bytes to what a network takes: resized, set in a frame, scaled, in its colour order and layout, row by row."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.intake import apply_steps
from esp.kernels.pointers import copy_floats, emitted, f4, i4, i8, u1

BYTES, FLOATS = range(2)  # what a source holds: uint8 or bool, float32
SLACK = 4  # floats of scratch past the end of a row: pixels are read and written four floats at a time

# The integers that describe one way from images of one size to the network's input, in the order that ``take_images`` reads them.
FIELDS = (
    "height", "width", "channels",  # of the source
    "out_height", "out_width",  # of what comes out
    "top", "left", "inner_height", "inner_width",  # where the image lies in it
    "is_resized", "is_planar", "is_reversed",  # planar: [channel, height, width]; reversed: of three channels the last first
    "row_low", "row_high", "row_share",  # int32, int32, float32 [inner_height]: source rows, and the share of the second
    "column_low", "column_high", "column_share",  # the same of [inner_width], places in floats from the start of a row
    "picks", "pick_count",  # int32: the pixels that make up such a row, by their places in the source; a count of 0 = all
    "steps", "step_count",  # as ``take_in`` has them, over [inner_width, channels]
    "frame",  # float32 [out_width, channels] or, planar, [channels, out_width]: a row of what lies around the image
)  # fmt: skip


@emitted
def _between(typingctx: Any, first: Any, second: Any, share: Any, out: Any) -> Any:
    """Four floats at ``out``: first + (second - first) * share of four at each address; each operation rounds."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        four, place = ir.VectorType(ir.FloatType(), 4), ir.IntType(32)
        pointers = [builder.inttoptr(args[at], four.as_pointer()) for at in (0, 1, 3)]
        low, high = (builder.load(pointer) for pointer in pointers[:2])
        low.align = high.align = 4
        undefined = ir.Constant(four, ir.Undefined)
        one = builder.insert_element(undefined, args[2], place(0))
        shares = builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(place, 4), [0] * 4))
        builder.store(builder.fadd(low, builder.fmul(builder.fsub(high, low), shares)), pointers[2], align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float32, types.intp), codegen


@part
def _read(kind, source, count, line):
    """line[count] = float32 of the source."""
    out = f4(line)
    if kind == BYTES:
        bytes_ = u1(source)
        for j in range(count):
            out[j] = np.float32(bytes_[j])
    else:
        copy_floats(line, source, count)


@part
def _down(kind, first, second, share, count, line):
    """line[count] = what lies between two rows of the source."""
    out = f4(line)
    if kind == BYTES:
        a, b = u1(first), u1(second)
        for j in range(count):
            low = np.float32(a[j])
            out[j] = low + (np.float32(b[j]) - low) * share
    else:
        x, y = f4(first), f4(second)
        for j in range(count):
            out[j] = x[j] + (y[j] - x[j]) * share


@part
def _down_picked(kind, first, second, share, picks, count, channels, line):
    """line[count, channels] = what lies between two rows of the source, of some pixels alone."""
    at, out = i4(picks), f4(line)
    a, b, x, y = u1(first), u1(second), f4(first), f4(second)
    for j in range(count):
        for c in range(channels):
            p = at[j] + c
            low = np.float32(a[p]) if kind == BYTES else x[p]
            high = np.float32(b[p]) if kind == BYTES else y[p]
            out[j * channels + c] = low + (high - low) * share


@part
def _across(line, channels, lows, highs, shares, count, out):
    """out[count, channels] = what lies between two pixels of a row each."""
    low, high, share = i4(lows), i4(highs), f4(shares)
    if channels == 1:
        x, y = f4(line), f4(out)
        for j in range(count):
            first = x[low[j]]
            y[j] = first + (x[high[j]] - first) * share[j]
    elif channels <= 4:
        for j in range(count):
            _between(line + 4 * low[j], line + 4 * high[j], share[j], out + 4 * channels * j)
    else:
        for j in range(count):
            for c in range(0, channels, 4):
                _between(line + 4 * (low[j] + c), line + 4 * (high[j] + c), share[j], out + 4 * (channels * j + c))


@part
def _place(line, count, channels, is_planar, is_reversed, plane, out):
    """Puts line[count, channels] where the network reads it; ``plane`` floats lie between two channels that are planar."""
    x, last = f4(line), 2 if is_reversed else 0
    if is_planar and channels == 3:
        a, b, c = f4(out + 4 * plane * last), f4(out + 4 * plane), f4(out + 4 * plane * (2 - last))
        for j in range(count):
            a[j] = x[3 * j]
            b[j] = x[3 * j + 1]
            c[j] = x[3 * j + 2]
    elif is_planar:
        for c in range(channels):
            y = f4(out + 4 * plane * c)
            for j in range(count):
                y[j] = x[channels * j + c]
    elif is_reversed:
        y = f4(out)
        for j in range(count):
            y[3 * j] = x[3 * j + 2]
            y[3 * j + 1] = x[3 * j + 1]
            y[3 * j + 2] = x[3 * j]
    else:
        copy_floats(out, line, count * channels)


@part
def _surround(frame, channels, width, low, high, is_planar, plane, row):
    """Columns low to high of a row = those of the frame."""
    if is_planar:
        for c in range(channels):
            copy_floats(row + 4 * (plane * c + low), frame + 4 * (width * c + low), high - low)
    else:
        copy_floats(row + 4 * channels * low, frame + 4 * channels * low, channels * (high - low))


@kernel("void(intp, intp, intp, intp, intp, intp)")
def take_images(n: int, kind: int, source: int, table: int, scratch: int, target: int) -> None:
    """target[n] = images[n] made as the table of FIELDS says.

    ``scratch``: float32, SLACK more than a row of the source (or the picks of it), and then SLACK more than one of what comes out.
    Each operation rounds, in the order of the numpy reference, so that the bits are the same.
    """
    t = i8(table)
    height, width, channels, out_height, out_width, top, left = t[0], t[1], t[2], t[3], t[4], t[5], t[6]
    inner_height, inner_width, is_resized, is_planar, is_reversed = t[7], t[8], t[9], t[10], t[11]
    row_low, row_high, row_share = i4(t[12]), i4(t[13]), f4(t[14])
    row, size, plane = width * channels, 4 if kind == FLOATS else 1, out_height * out_width
    step = 4 if is_planar else 4 * channels  # bytes from pixel to pixel
    picks, pick_count = t[18], t[19]
    line = pick_count * channels if pick_count else row
    mixed = scratch + 4 * (line + SLACK) if is_resized else scratch
    for i in range(n):
        image, out = source + i * height * row * size, target + 4 * i * plane * channels
        for y in range(out_height):
            at, k = out + y * out_width * step, y - top
            if k < 0 or k >= inner_height:
                _surround(t[22], channels, out_width, 0, out_width, is_planar, plane, at)
                continue
            if is_resized:
                first, second = image + row_low[k] * row * size, image + row_high[k] * row * size
                if pick_count:
                    _down_picked(kind, first, second, row_share[k], picks, pick_count, channels, scratch)
                else:
                    _down(kind, first, second, row_share[k], row, scratch)
                _across(scratch, channels, t[15], t[16], t[17], inner_width, mixed)
            else:
                _read(kind, image + k * row * size, row, scratch)
            apply_steps(t[20], t[21], inner_width * channels, mixed)
            _place(mixed, inner_width, channels, is_planar, is_reversed, plane, at + left * step)
            if inner_width < out_width:
                _surround(t[22], channels, out_width, 0, left, is_planar, plane, at)
                _surround(t[22], channels, out_width, left + inner_width, out_width, is_planar, plane, at)
