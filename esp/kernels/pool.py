"""Pooling of any rank, channels last: each output pixel has a list of the input pixels that its window covers.

The channels of a pixel are taken some vectors at a time, whose results stay in registers over all pixels of the window.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from llvmlite import ir
from numba import types

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES
from esp.kernels.pointers import emitted, i8
from esp.kernels.vector_ir import F32, I64, VEC, entry, first_lanes, floats, fma, load, loop, spread, store

MAX, AVERAGE, BLEND = range(3)
NEUTRAL = (float("-inf"), -0.0, 0.0)  # what a window begins with: that changes no number
FORMS = ((4, False), (2, False), (1, False), (1, True))  # how many vectors at once; whether they are a tail


def _joined(b: Any, kind: int, total: Any, value: Any, share: Any) -> Any:
    """What a window's numbers so far and one more give; for MAX, NaN if either is."""
    if kind == AVERAGE:
        return b.fadd(total, value)
    if kind == BLEND:
        return fma(b, value, share, total)
    return b.select(b.or_(b.fcmp_ordered(">", value, total), b.fcmp_unordered("uno", value, value)), value, total)


def make_window(kind: int, vectors: int, is_tail: bool) -> Any:
    """An intrinsic: what a window gives for ``vectors * LANES`` channels, or for those that are left of one vector.

    ``window(x, taps, count, channels, out, left, total)``: x and out at the first of these channels; ``taps`` the ``count`` pixels of
    the window, ``channels`` floats each. An average is the sum divided by ``total``; a blend multiplies each pixel with a
    float at the address ``total``.
    """

    @emitted
    def window(typingctx: Any, x: Any, taps: Any, count: Any, channels: Any, out: Any, left: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (x, taps, count, channels, out, left, total), b = args, builder
            mask = first_lanes(b, left) if is_tail else None

            def step(t: Any, totals: list[Any]) -> list[Any]:
                pixel = floats(b, x, b.mul(channels, entry(b, taps, t)))
                share = spread(b, b.load(floats(b, total, t), typ=F32)) if kind == BLEND else None
                values = [load(b, floats(b, pixel, I64(v * LANES)), mask) for v in range(vectors)]
                return [_joined(b, kind, so_far, value, share) for so_far, value in zip(totals, values)]

            ends = loop(b, I64(0), count, [ir.Constant(VEC, [NEUTRAL[kind]] * LANES)] * vectors, step)
            if kind == AVERAGE:
                ends = [b.fdiv(value, spread(b, b.sitofp(total, F32))) for value in ends]
            for v, value in enumerate(ends):
                store(b, value, floats(b, out, I64(v * LANES)), mask)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 7), codegen

    return window


def _pixel(kind: int) -> Any:
    """The function of one output pixel: all its channels, under a name of its own, for linked kernels know functions by their names."""
    four, two, one, tail = (make_window(kind, *form) for form in FORMS)

    def pixel(x, taps, count, channels, out, total):
        at = 0
        while channels - at >= LANES:
            left = channels - at
            if left >= 4 * LANES:
                four(x + 4 * at, taps, count, channels, out + 4 * at, left, total)
                at += 4 * LANES
            elif left >= 2 * LANES:
                two(x + 4 * at, taps, count, channels, out + 4 * at, left, total)
                at += 2 * LANES
            else:
                one(x + 4 * at, taps, count, channels, out + 4 * at, left, total)
                at += LANES
        if at < channels:
            tail(x + 4 * at, taps, count, channels, out + 4 * at, channels - at, total)

    pixel.__name__ = pixel.__qualname__ = f"pixel_{kind}"
    return part(pixel)


_largest, _average, _blend = (_pixel(kind) for kind in (MAX, AVERAGE, BLEND))


@part
def max_pool(n, pixels, channels, starts, taps, x, x_step, y):
    """y[p, c] = max over taps t of p of x[taps[t], c], NaN if any is; ``starts[p] : starts[p + 1]`` are the taps of p."""
    begin = i8(starts)
    for i in range(n):
        for p in range(pixels):
            count, out = begin[p + 1] - begin[p], y + 4 * (i * pixels + p) * channels
            _largest(x + 4 * i * x_step, taps + 8 * begin[p], count, channels, out, 0)


@part
def average_pool(n, pixels, channels, starts, taps, counts, x, x_step, y):
    """y[p, c] = sum over taps t of p of x[taps[t], c] / counts[p]."""
    begin, total = i8(starts), i8(counts)
    for i in range(n):
        for p in range(pixels):
            count, out = begin[p + 1] - begin[p], y + 4 * (i * pixels + p) * channels
            _average(x + 4 * i * x_step, taps + 8 * begin[p], count, channels, out, total[p])


@part
def blend(n, pixels, channels, starts, taps, weights, x, x_step, y):
    """y[p, c] = sum over taps t of p of x[taps[t], c] * weights[t]."""
    begin = i8(starts)
    for i in range(n):
        for p in range(pixels):
            count, out = begin[p + 1] - begin[p], y + 4 * (i * pixels + p) * channels
            _blend(x + 4 * i * x_step, taps + 8 * begin[p], count, channels, out, weights + 4 * begin[p])


@instruction
def max_pool_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    max_pool(n, g[0], g[1], g[2], g[3], x, g[4], y)


@instruction
def average_pool_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    average_pool(n, g[0], g[1], g[2], g[3], g[4], x, g[5], y)


@instruction
def blend_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    blend(n, g[0], g[1], g[2], g[3], g[4], x, g[5], y)
