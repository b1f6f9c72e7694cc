"""Work along an axis: sums, means, largest and smallest numbers, and normalisation by statistics of each row.

Sums along what lies together are taken in double precision, in order: a row's result does not depend on the others.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import math

import numpy as np

from esp.kernels.compile import instruction, part
from esp.kernels.functions import ONE, ZERO, exp, log
from esp.kernels.pointers import divide, f4, fma, from_bits, i8

SUM, MEAN, MAX, MIN = range(4)


@part
def _fold_run(kind, count, x):
    """One number out of x[count]."""
    source = f4(x)
    if kind in (SUM, MEAN):
        total = 0.0
        for j in range(count):
            total += source[j]
        return np.float32(total if kind == SUM else total / max(count, 1))
    top = source[0]
    for j in range(1, count):
        value = source[j]
        if kind == MAX:
            top = value if value > top or value != value else top
        else:
            top = value if value < top or value != value else top
    return top


@part
def _fold_lines(kind, count, inner, x, y):
    """y[inner] out of x[count, inner], line by line."""
    target = f4(y)
    for c in range(inner):
        target[c] = f4(x)[c]
    for j in range(1, count):
        source = f4(x + 4 * j * inner)
        if kind == MAX:
            for c in range(inner):
                value, top = source[c], target[c]
                target[c] = value if value > top or value != value else top
        elif kind == MIN:
            for c in range(inner):
                value, top = source[c], target[c]
                target[c] = value if value < top or value != value else top
        else:
            for c in range(inner):
                target[c] += source[c]
    if kind == MEAN:
        total = np.float32(count)
        for c in range(inner):
            target[c] = divide(target[c], total)


@part
def fold(rows, kind, count, inner, x, y):
    """y[rows, inner] = the sum, mean, largest or smallest of x[rows, count, inner]; NaN if any is."""
    for i in range(rows):
        if inner == 1:
            f4(y)[i] = _fold_run(kind, count, x + 4 * i * count)
        else:
            _fold_lines(kind, count, inner, x + 4 * i * count * inner, y + 4 * i * inner)


@part
def normalise(rows, size, is_centred, epsilon, x, y):
    """y[rows, size] = (x - mean) / sqrt(variance + epsilon) of each row; the mean is taken as 0 where it is not centred."""
    for i in range(rows):
        source, target = f4(x + 4 * i * size), f4(y + 4 * i * size)
        mean, squares = 0.0, 0.0
        if is_centred:
            for j in range(size):
                mean += source[j]
            mean /= max(size, 1)
        for j in range(size):
            away = source[j] - mean
            squares += away * away
        centre = np.float32(mean)
        scale = divide(ONE, np.float32(math.sqrt(squares / max(size, 1) + epsilon)))
        for j in range(size):
            target[j] = (source[j] - centre) * scale


@part
def normalise_near(rows, channels, before, after, alpha, beta, bias, x, y):
    """y[rows, channels] = x / (bias + alpha * s) ** beta, s the squares of the channels from ``before`` to ``after`` places on."""
    for i in range(rows):
        source, target = f4(x + 4 * i * channels), f4(y + 4 * i * channels)
        for c in range(channels):
            target[c] = ZERO
        for off in range(-before, after + 1):
            near = f4(x + 4 * (i * channels + off))
            for c in range(max(0, -off), min(channels, channels - off)):
                target[c] = fma(near[c], near[c], target[c])
        for c in range(channels):
            target[c] = source[c] * exp(-beta * log(fma(alpha, target[c], bias)))


@instruction
def fold_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    fold(n * g[0], g[1], g[2], g[3], x, y)


@instruction
def normalise_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    normalise(n * g[0], g[1], g[2], from_bits(g[3]), x, y)


@instruction
def normalise_near_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    normalise_near(n * g[0], g[1], g[2], g[3], from_bits(g[4]), from_bits(g[5]), from_bits(g[6]), x, y)
