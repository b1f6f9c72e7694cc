"""The numbers of a caller's arrays in their own dtype: rows of a table that whole numbers name, one-hot vectors, casts to float32.

``places`` are pairs of int64: which number of a row, and what is added to it. ``kind`` is one of KINDS.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np

from esp.kernels.compile import instruction, kernel, part
from esp.kernels.pointers import copy_floats, f4, f8, from_bits, i4, i8, u1

KINDS = {"uint8": 0, "bool": 0, "float32": 1, "float64": 2, "int32": 3, "int64": 4}  # dtype -> how it is read
FARTHEST = 2.0**62  # a float beyond it, or NaN, is no whole number
NONE = np.int64(-(1 << 63))


@part
def _truncated(value):
    return np.int64(value) if -FARTHEST < value < FARTHEST else NONE


@part
def _whole(kind, x, j):
    """Number j as int64, a float without its fraction."""
    if kind == 0:
        return np.int64(u1(x)[j])
    if kind == 1:
        return _truncated(np.float64(f4(x)[j]))
    if kind == 2:
        return _truncated(f8(x)[j])
    return np.int64(i4(x)[j]) if kind == 3 else i8(x)[j]


@part
def _bytes(kind):
    return 1 if kind == 0 else 4 if kind == 1 or kind == 3 else 8


@part
def lookup(n, outer, count, kind, x, x_step, places, rows, run, table, y):
    """y[n, outer, count, run] = table[outer, id, run], where the ids of a row are its numbers at ``places``, from the end if below 0.

    Ids outside of the table are refused before (``outside``); here they are kept within it.
    """
    at, step = i8(places), x_step * _bytes(kind)
    for i in range(n):
        for j in range(count):
            row = _whole(kind, x + i * step, at[2 * j]) + at[2 * j + 1]
            row = min(max(row + rows if row < 0 else row, 0), rows - 1)
            for o in range(outer):
                copy_floats(y + 4 * ((i * outer + o) * count + j) * run, table + 4 * (o * rows + row) * run, run)


@part
def one_hot(n, count, kind, x, x_step, places, depth, off, on, y):
    """y[n, count, depth] = ``off``, but ``on`` at the id, from the end if below 0; an id that is none leaves all off."""
    at, step = i8(places), x_step * _bytes(kind)
    for i in range(n):
        for j in range(count):
            row = _whole(kind, x + i * step, at[2 * j]) + at[2 * j + 1]
            row = row + depth if row < 0 else row
            out = f4(y + 4 * (i * count + j) * depth)
            for d in range(depth):
                out[d] = off
            if 0 <= row < depth:
                out[row] = on


@part
def to_float(n, count, kind, x, x_step, places, y):
    """y[n, count] = the numbers at ``places``, rounded to float32."""
    at, step = i8(places), x_step * _bytes(kind)
    for i in range(n):
        source, out = x + i * step, f4(y + 4 * i * count)
        if kind == 2:
            for j in range(count):
                out[j] = np.float32(f8(source)[at[2 * j]])
        else:
            for j in range(count):
                out[j] = np.float32(_whole(kind, source, at[2 * j]) + at[2 * j + 1])


@instruction
def lookup_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    lookup(n, g[0], g[1], g[2], x, g[3], g[4], g[5], g[6], b, y)


@instruction
def one_hot_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    one_hot(n, g[0], g[1], x, g[2], g[3], g[4], from_bits(g[5]), from_bits(g[6]), y)


@instruction
def to_float_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    to_float(n, g[0], g[1], x, g[2], g[3], y)


@kernel("intp(intp, intp, intp, intp, intp, intp)")
def outside(n: int, size: int, kind: int, x: int, low: int, high: int) -> int:
    """The first of the numbers x[n, size] that is not within low[size] and high[size], counted through all rows; -1 if none."""
    least, most, step = i8(low), i8(high), size * _bytes(kind)
    for i in range(n):
        for j in range(size):
            value = _whole(kind, x + i * step, j)
            if value < least[j] or value > most[j]:
                return i * size + j
    return -1
