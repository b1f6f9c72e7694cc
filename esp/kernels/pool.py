"""Pooling of any rank, channels last: each output pixel has a list of the input pixels that its window covers."""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np

from esp.kernels.compile import instruction, part
from esp.kernels.pointers import copy_floats, divide, f4, fma, i8


@part
def max_pool(n, pixels, channels, starts, taps, x, x_step, y):
    """y[p, c] = max over taps t of p of x[taps[t], c], NaN if any is; ``starts[p] : starts[p + 1]`` are the taps of p."""
    begin, tap = i8(starts), i8(taps)
    for i in range(n):
        for p in range(pixels):
            place = y + 4 * (i * pixels + p) * channels
            out = f4(place)
            copy_floats(place, x + 4 * (i * x_step + tap[begin[p]] * channels), channels)
            for t in range(begin[p] + 1, begin[p + 1]):
                source = f4(x + 4 * (i * x_step + tap[t] * channels))
                for c in range(channels):
                    value, top = source[c], out[c]
                    out[c] = value if value > top or value != value else top


@part
def average_pool(n, pixels, channels, starts, taps, counts, x, x_step, y):
    """y[p, c] = sum over taps t of p of x[taps[t], c] / counts[p]."""
    begin, tap, count = i8(starts), i8(taps), i8(counts)
    for i in range(n):
        for p in range(pixels):
            out = f4(y + 4 * (i * pixels + p) * channels)
            for c in range(channels):
                out[c] = 0
            for t in range(begin[p], begin[p + 1]):
                source = f4(x + 4 * (i * x_step + tap[t] * channels))
                for c in range(channels):
                    out[c] += source[c]
            total = np.float32(count[p])
            for c in range(channels):
                out[c] = divide(out[c], total)


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
