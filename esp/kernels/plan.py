"""A compiled model is a table of integers; one loop walks it. Loading a model compiles nothing, a batch is one call.

A row of the table is WIDTH int64: the address of its instruction; four addresses (x, y, b, c); floats to skip in x and in y; how
many rows an event has for it; then the fields that its instruction takes, in the order of its own text. An address below 0 names a caller's array: -1 the
first. Floats among the fields stand as their bits.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.conv import pad_row
from esp.kernels.dense import multiply_pairs_row, multiply_row
from esp.kernels.depthwise import depthwise_row
from esp.kernels.depthwise_lines import depthwise_3_1_row, depthwise_3_2_row, depthwise_5_1_row, depthwise_5_2_row
from esp.kernels.elementwise import affine_row, binary_row, copy_row, gather_or_row, gather_row, gather_runs_row, softmax_row
from esp.kernels.folding import fold_row, normalise_near_row, normalise_row
from esp.kernels.given import lookup_row, one_hot_row, to_float_row
from esp.kernels.planar import planar_row, pool_planes_row
from esp.kernels.pointers import call_row, i8
from esp.kernels.pointwise import activate_row
from esp.kernels.pool import average_pool_row, blend_row, max_pool_row
from esp.kernels.recurrent import recurrent_row

WIDTH, HEAD = 21, 8  # of a row, and of what stands before its fields
TABLE, LENGTH, CHUNK, ARRAYS, STEPS, SCRATCH, FIRST, INPUTS, SLOTS = range(9)  # of a call: see ``score``
CALL = 9
# The instructions: the names that lowering knows them by.
MULTIPLY, MULTIPLY_PAIRS, DEPTHWISE, PAD = multiply_row, multiply_pairs_row, depthwise_row, pad_row
DEPTHWISE_LINES = {
    (3, 1): depthwise_3_1_row,
    (3, 2): depthwise_3_2_row,
    (5, 1): depthwise_5_1_row,
    (5, 2): depthwise_5_2_row,
}  # by taps of a line and stride
BINARY, ACTIVATE, AFFINE, SOFTMAX = binary_row, activate_row, affine_row, softmax_row
COPY, GATHER, GATHER_RUNS, GATHER_OR = copy_row, gather_row, gather_runs_row, gather_or_row
PLANAR, POOL_PLANES = planar_row, pool_planes_row
MAX_POOL, AVERAGE_POOL, BLEND = max_pool_row, average_pool_row, blend_row
FOLD, NORMALISE, NORMALISE_NEAR = fold_row, normalise_row, normalise_near_row
RECURRENT = recurrent_row
LOOKUP, ONE_HOT, TO_FLOAT = lookup_row, one_hot_row, to_float_row


@part
def _address(address, start, arrays, steps):
    """An address as it is, or the row ``start`` of one of the caller's arrays."""
    if address >= 0:
        return address
    return i8(arrays)[-1 - address] + start * i8(steps)[-1 - address]


@part
def walk(table, rows, first, n, chunk, arrays, steps, scratch):
    """Events ``first`` to ``first + n``: each row for ``chunk`` of them at a time (what the arena holds)."""
    start, end = first, first + n
    while start < end:
        count = min(chunk, end - start)
        for r in range(rows):
            at = table + 8 * WIDTH * r
            f = i8(at)
            x = _address(f[1], start, arrays, steps) + 4 * f[5]
            y = _address(f[2], start, arrays, steps)
            if y:  # a recurrent row may have no y
                y += 4 * f[6]
            b, c = _address(f[3], start, arrays, steps), _address(f[4], start, arrays, steps)
            call_row(f[0], count * f[7], x, y, b, c, at + 8 * HEAD, scratch)
        start += count


@kernel("void(intp, intp, intp, intp, intp, intp, intp)")
def run(table: int, rows: int, n: int, chunk: int, arrays: int, steps: int, scratch: int) -> None:
    """Walks a plan for n events; all arguments are addresses or counts.

    ``arrays`` holds the addresses of the caller's inputs and outputs, ``steps`` the bytes of one event in each.
    """
    walk(table, rows, 0, n, chunk, arrays, steps, scratch)


READ = types.Array(types.float32, 1, "C", readonly=True)


@part
def enter(call, n, x, out):
    """Notes where an input and the outputs of n events are."""
    c = i8(call)
    arrays, steps, at = i8(c[ARRAYS]), i8(c[STEPS]), out.ctypes.data
    arrays[c[FIRST]] = x.ctypes.data
    for slot in range(c[INPUTS], c[SLOTS]):
        arrays[slot] = at
        at += n * steps[slot]


@kernel(types.void(types.intp, types.intp, READ, types.float32[::1]))
def score(call: int, n: int, x: Any, out: Any) -> None:
    """``run`` with arrays, for half of what a small batch costs is the call: an input, and room for all outputs, one after the other.

    ``call`` is the address of int64[CALL]: the arguments of ``run`` but n; which of ``arrays`` is x (the others are entered already);
    how many inputs, and how many inputs and outputs.
    """
    enter(call, n, x, out)
    c = i8(call)
    walk(c[TABLE], c[LENGTH], 0, n, c[CHUNK], c[ARRAYS], c[STEPS], c[SCRATCH])


def bits(value: float) -> int:
    """A float as a field of a row."""
    return int(np.float32(value).view(np.int32))
