"""Convolution by planes, for layers of few channels: a vector holds neighbouring pixels of one channel instead of one pixel's channels.

A picture is read as it lies, channels first; each number of a window is found at a fixed distance from the window's first. The sums
start from the bias and take one fused multiply-add a number, in the order of the channels-last tile: the bits are the same.
Where a pool follows, there is one plane for each of its places, so that pooling is a plain pass over planes.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES
from esp.kernels.pointers import copy_floats, divide, emitted, f4, from_bits, i8
from esp.kernels.tile import Tile
from esp.kernels.vector_ir import F32, I64, entry, floats, load, loop, spread

F4 = npt.NDArray[np.float32]
MANY, FEW = 4, 2  # channels of a tile
WIDE, NARROW = 4 if LANES == 16 else 3, 2  # vectors of pixels: sums, weights and pixels fill 32 registers, or 16


def make_planar(rows: int, vectors: int) -> Any:
    """An intrinsic: ``rows`` channels of ``vectors * LANES`` pixels.

    ``tile(left, x, taps, count, weights, bias, out, out_step, columns, low, high)``: of the channels only ``left`` may be there
    (the last is then computed again); taps float offsets from a pixel to the ``count`` numbers of its window; weights[count, rows];
    the channels of out lie out_step floats apart; all but low and high are addresses or sizes.
    """

    @emitted
    def tile(
        typingctx: Any, left: Any, x: Any, taps: Any, count: Any, weights: Any, bias: Any, out: Any, out_step: Any,
        columns: Any, low: Any, high: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            left, x, taps, count, weights, bias, out, out_step, columns, low, high = args
            shape, b = Tile(builder, rows, vectors), builder

            def ones(base: Any, first: Any) -> list[Any]:
                return [spread(b, b.load(floats(b, base, first, I64(row)), typ=F32)) for row in range(rows)]

            def step(i: Any, sums: list[Any]) -> list[Any]:
                pixels = floats(b, x, entry(b, taps, i))
                many = [load(b, floats(b, pixels, I64(v * LANES))) for v in range(vectors)]
                return shape.add_products(sums, ones(weights, b.mul(i, I64(rows))), many)

            first = [one for one in ones(bias, I64(0)) for _ in range(vectors)]
            sums = loop(b, I64(0), count, first, step)
            shape.keep(sums, shape.places(out, out_step, left), columns, low, high)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9, types.float32, types.float32), codegen

    return tile


_4xw, _4x2, _2xw, _2x2 = (make_planar(rows, vectors) for rows in (MANY, FEW) for vectors in (WIDE, NARROW))


def pack_planar(weights: F4, bias: F4) -> tuple[F4, F4]:
    """w[k, m] -> groups of MANY columns, [k, MANY] each, and one of FEW where no more are left; the last column fills the last group."""
    blocks, biases, at = [], [], 0
    while at < len(bias):
        width = MANY if len(bias) - at > FEW else FEW
        columns = np.minimum(np.arange(at, at + width), len(bias) - 1)
        blocks.append(np.ascontiguousarray(weights[:, columns], np.float32).reshape(-1))
        biases.append(bias[columns].astype(np.float32))
        at += width
    return np.concatenate(blocks), np.concatenate(biases)


@part
def _run(channels, x, taps, count, weights, bias, out, out_step, columns, low, high):
    """All channels of a run of pixels that a wide tile covers."""
    at, is_narrow = 0, columns <= NARROW * LANES
    while at < channels:
        left, w, b, y = channels - at, weights + 4 * at * count, bias + 4 * at, out + 4 * at * out_step
        if left > FEW:
            if is_narrow:
                _4x2(min(left, MANY), x, taps, count, w, b, y, out_step, columns, low, high)
            else:
                _4xw(min(left, MANY), x, taps, count, w, b, y, out_step, columns, low, high)
            at += MANY
        else:
            if is_narrow:
                _2x2(left, x, taps, count, w, b, y, out_step, columns, low, high)
            else:
                _2xw(left, x, taps, count, w, b, y, out_step, columns, low, high)
            at += FEW


@part
def planar(n, x, x_step, places, taps, count, weights, bias, channels, pixels, y, y_step, low, high):
    """y[n, places, channels, y_step]: the first ``pixels`` of each plane are sums over taps[place, count] from that pixel on.

    Reads up to WIDE vectors past the last pixel's numbers; weights and bias from ``pack_planar``.
    """
    for i in range(n):
        for place in range(places):
            at, plane = 0, y + 4 * (i * places + place) * channels * y_step
            while at < pixels:
                _run(channels, x + 4 * (i * x_step + at), taps + 8 * place * count, count, weights, bias, plane + 4 * at, y_step,
                     pixels - at, low, high)  # fmt: skip
                at += WIDE * LANES


@part
def _largest(size, x, y):
    """y = max(x, y), NaN if either is."""
    source, target = f4(x), f4(y)
    for j in range(size):
        value, top = source[j], target[j]
        target[j] = value if value > top or value != value else top


@part
def _add(size, x, y):
    source, target = f4(x), f4(y)
    for j in range(size):
        target[j] = target[j] + source[j]


@part
def _divide(size, total, y):
    target = f4(y)
    for j in range(size):
        target[j] = divide(target[j], total)


@part
def pool_planes(n, places, size, is_average, x, y):
    """y[n, size] = the largest, or the average, over the places of x[n, places, size]."""
    for i in range(n):
        target, source = y + 4 * i * size, x + 4 * i * places * size
        copy_floats(target, source, size)
        for place in range(1, places):
            if is_average:
                _add(size, source + 4 * place * size, target)
            else:
                _largest(size, source + 4 * place * size, target)
        if is_average:
            _divide(size, np.float32(places), target)


@instruction
def planar_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    planar(n, x, g[0], g[1], g[2], g[3], g[4], b, g[5], g[6], y, g[7], from_bits(g[8]), from_bits(g[9]))


@instruction
def pool_planes_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    pool_planes(n, g[0], g[1], g[2], x, y)
