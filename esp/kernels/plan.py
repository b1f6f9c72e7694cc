"""A compiled model is a table of integers; one loop walks it. Loading a model compiles nothing, a batch is one call.

A row of the table is WIDTH int64: the opcode; four addresses (x, y, b, c); floats to skip in x and in y; then the
fields that its kernel takes, in the order of the kernel's own text. An address below 0 names a caller's array: -1 the
first. Floats among the fields stand as their bits.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.conv import depthwise, pad
from esp.kernels.dense import multiply, multiply_pairs
from esp.kernels.elementwise import affine, binary, copy, gather, gather_or, gather_runs, softmax
from esp.kernels.folding import fold, normalise, normalise_near
from esp.kernels.pointers import from_bits, i8
from esp.kernels.pointwise import activate
from esp.kernels.pool import average_pool, blend, max_pool
from esp.kernels.recurrent import gru, lstm, simple

WIDTH = 20
(
    MULTIPLY, BINARY, ACTIVATE, AFFINE, SOFTMAX, COPY, GATHER, PAD, DEPTHWISE, MAX_POOL, AVERAGE_POOL,
    RNN, LSTM, GRU, MULTIPLY_PAIRS, FOLD, NORMALISE, NORMALISE_NEAR, BLEND, GATHER_RUNS, GATHER_OR,
) = range(21)  # fmt: skip


@part
def _address(address, start, arrays, steps):
    """An address as it is, or the row ``start`` of one of the caller's arrays."""
    if address >= 0:
        return address
    return i8(arrays)[-1 - address] + start * i8(steps)[-1 - address]


@part
def _dense(code, n, x, y, b, f, scratch):
    if code == MULTIPLY:
        low, high = from_bits(f[17]), from_bits(f[18])
        multiply(n, f[7], x, f[8], f[9], f[10], f[11], f[12], f[13], b, f[14], y, f[15], f[16], low, high, scratch)
    elif code == MULTIPLY_PAIRS:
        multiply_pairs(n, f[7], f[8], f[9], f[10], x, f[11], b, f[12], y)
    elif code == DEPTHWISE:
        depthwise(n, f[7], f[8], f[9], f[10], f[11], x, f[12], f[13], b, from_bits(f[14]), from_bits(f[15]), y)


@part
def _simple(code, n, x, y, b, f):
    if code == BINARY:
        binary(n, f[7], f[8], f[9], x, b, f[10], y)
    elif code == ACTIVATE:
        activate(n * f[8], f[7], from_bits(f[9]), from_bits(f[10]), x, y)
    elif code == AFFINE:
        affine(n * f[7], f[8], x, f[9], f[10], from_bits(f[11]), from_bits(f[12]), y)
    elif code == SOFTMAX:
        softmax(n * f[7], f[8], x, y)
    elif code == COPY:
        copy(n, f[7], f[8], x, f[9], y, f[10], f[11])
    elif code == GATHER:
        gather(n, f[7], f[8], x, f[9], y)
    elif code == PAD:
        pad(n, f[7], f[8], x, f[9], y, f[10])
    elif code == GATHER_RUNS:
        gather_runs(n, f[7], f[8], f[9], x, f[10], y)
    elif code == GATHER_OR:
        gather_or(n, f[7], f[8], x, f[9], from_bits(f[10]), y)


@part
def _along(code, n, x, y, f):
    if code == MAX_POOL:
        max_pool(n, f[7], f[8], f[9], f[10], x, f[11], y)
    elif code == AVERAGE_POOL:
        average_pool(n, f[7], f[8], f[9], f[10], f[11], x, f[12], y)
    elif code == BLEND:
        blend(n, f[7], f[8], f[9], f[10], f[11], x, f[12], y)
    elif code == FOLD:
        fold(n * f[7], f[8], f[9], f[10], x, y)
    elif code == NORMALISE:
        normalise(n * f[7], f[8], f[9], from_bits(f[10]), x, y)
    elif code == NORMALISE_NEAR:
        normalise_near(n * f[7], f[8], f[9], f[10], from_bits(f[11]), from_bits(f[12]), from_bits(f[13]), x, y)


@part
def _recurrent(code, n, x, y, h, c, f, scratch):
    """Fields: steps, size, is_reversed, panels, a zero, work, y_step, a flag (relu or linear), panels and bias of the new state."""
    if code == RNN:
        simple(n, f[7], f[8], f[9], f[14], x, h, f[10], f[11], f[12], y, f[13], scratch)
    elif code == LSTM:
        lstm(n, f[7], f[8], f[9], x, h, c, f[10], f[11], f[12], y, f[13], scratch)
    else:
        gru(n, f[7], f[8], f[9], f[14], x, h, f[10], f[16], f[15], f[11], f[12], y, f[13], scratch)


@kernel("void(intp, intp, intp, intp, intp, intp, intp)")
def run(table: int, rows: int, n: int, chunk: int, arrays: int, steps: int, scratch: int) -> None:
    """Walks a plan for n events, ``chunk`` at a time (what the arena holds); all arguments are addresses or counts.

    ``arrays`` holds the addresses of the caller's inputs and outputs, ``steps`` the bytes of one event in each.
    """
    start = 0
    while start < n:
        count = min(chunk, n - start)
        for r in range(rows):
            f = i8(table + 8 * WIDTH * r)
            code = f[0]
            x = _address(f[1], start, arrays, steps) + 4 * f[5]
            y = _address(f[2], start, arrays, steps)
            if y:  # a recurrent row may have no y
                y += 4 * f[6]
            b, c = _address(f[3], start, arrays, steps), _address(f[4], start, arrays, steps)
            if code in (MULTIPLY, MULTIPLY_PAIRS, DEPTHWISE):
                _dense(code, count, x, y, b, f, scratch)
            elif code in (RNN, LSTM, GRU):
                _recurrent(code, count, x, y, b, c, f, scratch)
            elif code in (MAX_POOL, AVERAGE_POOL, FOLD, NORMALISE, NORMALISE_NEAR, BLEND):
                _along(code, count, x, y, f)
            else:
                _simple(code, count, x, y, b, f)
        start += count


_READ = types.Array(types.float32, 1, "C", readonly=True)


@kernel(types.void(types.intp, types.intp, _READ, types.float32[::1]))
def run_pair(call: int, n: int, x: Any, y: Any) -> None:
    """``run`` for a plan with one input and one output, which come as arrays: half of what a small batch costs is the call.

    ``call`` is the address of int64[6]: table, rows, chunk, arrays, steps, scratch.
    """
    c = i8(call)
    i8(c[3])[0] = x.ctypes.data
    i8(c[3])[1] = y.ctypes.data
    run(c[0], c[1], n, c[2], c[3], c[4], c[5])


def bits(value: float) -> int:
    """A float as a field of a row."""
    return int(np.float32(value).view(np.int32))
