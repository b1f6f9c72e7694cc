"""Pooling of any rank, channels last: each output pixel has a list of the input pixels that its window covers.

The channels of a pixel are taken some vectors at a time, whose results stay in registers over all pixels of the window.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from llvmlite import ir
from numba import types

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES
from esp.kernels.pointers import emitted, f4, fma, i8
from esp.kernels.tile import F32, I64, VEC, Tile, counted, first_lanes, load_masked, store_masked

MAX, AVERAGE = range(2)
NEUTRAL = (float("-inf"), -0.0)  # what a window without numbers would give


def _joined(builder: Any, kind: int, total: Any, value: Any) -> Any:
    """What a window's numbers so far and one more give; for MAX, NaN if either is."""
    if kind == AVERAGE:
        return builder.fadd(total, value)
    is_more = builder.or_(builder.fcmp_ordered(">", value, total), builder.fcmp_unordered("uno", value, value))
    return builder.select(is_more, value, total)


def make_window(kind: int, vectors: int, is_tail: bool) -> Any:
    """An intrinsic: the largest or the average of a window for ``vectors * LANES`` channels, or the fewer that are left of one vector.

    ``window(x, taps, count, channels, out, left, total)``: x and out at the first of these channels; ``taps`` the ``count`` (at
    least 1) pixels of the window, ``channels`` floats each; an average is the sum divided by ``total``.
    """

    @emitted
    def window(typingctx: Any, x: Any, taps: Any, count: Any, channels: Any, out: Any, left: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, taps, count, channels, out, left, total = args
            shape, b = Tile(builder, 1, vectors), builder
            x, out, taps = (b.inttoptr(at, kind.as_pointer()) for at, kind in ((x, F32), (out, F32), (taps, I64)))
            mask = first_lanes(b, left) if is_tail else None

            def step(t: Any, totals: list[Any]) -> list[Any]:
                base = shape.at(x, b.mul(channels, b.load(b.gep(taps, [t], source_etype=I64), typ=I64)))
                places = [shape.at(base, I64(v * LANES)) for v in range(vectors)]
                values = [load_masked(b, place, mask) if is_tail else shape.load(place) for place in places]
                return [_joined(b, kind, so_far, value) for so_far, value in zip(totals, values)]

            ends = counted(shape, count, [ir.Constant(VEC, [NEUTRAL[kind]] * LANES)] * vectors, step)
            if kind == AVERAGE:
                ends = [b.fdiv(value, shape.spread(b.sitofp(total, F32))) for value in ends]
            for v, value in enumerate(ends):
                place = shape.at(out, I64(v * LANES))
                if is_tail:
                    store_masked(b, value, place, mask)
                else:
                    b.store(value, b.bitcast(place, VEC.as_pointer())).align = 4
            return context.get_dummy_value()

        return types.void(*[types.intp] * 7), codegen

    return window


_max_4, _max_2, _max_1, _max_tail = (make_window(MAX, *form) for form in ((4, False), (2, False), (1, False), (1, True)))
_sum_4, _sum_2, _sum_1, _sum_tail = (make_window(AVERAGE, *form) for form in ((4, False), (2, False), (1, False), (1, True)))


@part
def _largest(x, taps, count, channels, out):
    """One pixel of a max pool."""
    at = 0
    while channels - at >= LANES:
        left = channels - at
        if left >= 4 * LANES:
            _max_4(x + 4 * at, taps, count, channels, out + 4 * at, left, 0)
            at += 4 * LANES
        elif left >= 2 * LANES:
            _max_2(x + 4 * at, taps, count, channels, out + 4 * at, left, 0)
            at += 2 * LANES
        else:
            _max_1(x + 4 * at, taps, count, channels, out + 4 * at, left, 0)
            at += LANES
    if at < channels:
        _max_tail(x + 4 * at, taps, count, channels, out + 4 * at, channels - at, 0)


@part
def _average(x, taps, count, channels, out, total):
    """One pixel of an average pool; a window of pads alone is 0."""
    at, result = 0, f4(out)
    if count == 0:
        for c in range(channels):
            result[c] = 0
        return
    while channels - at >= LANES:
        left = channels - at
        if left >= 4 * LANES:
            _sum_4(x + 4 * at, taps, count, channels, out + 4 * at, left, total)
            at += 4 * LANES
        elif left >= 2 * LANES:
            _sum_2(x + 4 * at, taps, count, channels, out + 4 * at, left, total)
            at += 2 * LANES
        else:
            _sum_1(x + 4 * at, taps, count, channels, out + 4 * at, left, total)
            at += LANES
    if at < channels:
        _sum_tail(x + 4 * at, taps, count, channels, out + 4 * at, channels - at, total)


@part
def max_pool(n, pixels, channels, starts, taps, x, x_step, y):
    """y[p, c] = max over taps t of p of x[taps[t], c], NaN if any is; ``starts[p] : starts[p + 1]`` are the taps of p, at least one."""
    begin = i8(starts)
    for i in range(n):
        for p in range(pixels):
            count, out = begin[p + 1] - begin[p], y + 4 * (i * pixels + p) * channels
            _largest(x + 4 * i * x_step, taps + 8 * begin[p], count, channels, out)


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
    begin, tap, weight = i8(starts), i8(taps), f4(weights)
    for i in range(n):
        for p in range(pixels):
            out = f4(y + 4 * (i * pixels + p) * channels)
            for c in range(channels):
                out[c] = 0
            for t in range(begin[p], begin[p + 1]):
                source, times = f4(x + 4 * (i * x_step + tap[t] * channels)), weight[t]
                for c in range(channels):
                    out[c] = fma(source[c], times, out[c])


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
