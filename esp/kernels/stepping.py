"""Kernels of stateful scoring: a block goes through a network event by event a key, in rounds in which each key comes once.

Addresses, as in a plan. ``memory`` is that of a table of int64: the columns of the state table (count, last_ns int64[rows]; states
float32[rows, width]), seen int64[rows] of zeros, initial float32[width], and the numbers width and max_gap_ns.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.plan import ARRAYS, CHUNK, LENGTH, READ, SCRATCH, STEPS, TABLE, walk
from esp.kernels.pointers import copy_floats, i8

COUNT, LAST_NS, STATES, SEEN, INITIAL, WIDTH, MAX_GAP_NS = range(7)  # places in ``memory``
_LONGS = types.Array(types.int64, 1, "C", readonly=True)


@part
def _round(rows, seen_at, order_at):
    """How many rounds there are; order_at int64[3 * n] takes the events round by round, where each round ends, and scratch."""
    n, last = len(rows), 0
    seen, order, ends, place = i8(seen_at), i8(order_at), i8(order_at + 8 * n), i8(order_at + 16 * n)
    for i in range(n):
        k = seen[rows[i]]
        if k == last:
            ends[k] = 0
            last += 1
        seen[rows[i]] = k + 1
        place[i] = k
        ends[k] += 1
    total = 0
    for k in range(last):
        size = ends[k]
        ends[k] = total
        total += size
    for i in range(n):
        k = place[i]
        order[ends[k]] = i
        ends[k] += 1
        seen[rows[i]] = 0
    return last


@part
def _enter(row, ts_ns, memory, target):
    """Counts an event into its row, and writes the states that it meets: those of the row, or the initial ones."""
    m = i8(memory)
    count, last_ns, width = i8(m[COUNT]), i8(m[LAST_NS]), m[WIDTH]
    if count[row] > 0 and ts_ns - last_ns[row] > m[MAX_GAP_NS]:
        count[row] = 0
    copy_floats(target, m[INITIAL] if count[row] == 0 else m[STATES] + 4 * row * width, width)
    count[row] += 1
    last_ns[row] = ts_ns


@kernel(types.intp(_LONGS, types.intp, types.int64[::1]))
def rounds(rows: np.ndarray, memory: int, order: np.ndarray) -> int:
    """Splits events into rounds: order int64[3 * n] holds the events round by round, then where each round ends, then scratch."""
    last: int = _round(rows, i8(memory)[SEEN], order.ctypes.data)
    return last


@kernel(types.void(_LONGS, _LONGS, types.intp, types.float32[:, ::1]))
def enter(rows: np.ndarray, ts_ns: np.ndarray, memory: int, states: np.ndarray) -> None:
    """Counts events of different rows into them; states float32[n, width] are those that the events meet."""
    start, width = states.ctypes.data, i8(memory)[WIDTH]
    for i in range(len(rows)):
        _enter(rows[i], ts_ns[i], memory, start + 4 * i * width)


@kernel(types.void(_LONGS, READ, types.intp))
def leave(rows: np.ndarray, states: np.ndarray, memory: int) -> None:
    """Keeps the states after an event, float32[n * width], in the rows."""
    kept, width, start = i8(memory)[STATES], i8(memory)[WIDTH], states.ctypes.data
    for i in range(len(rows)):
        copy_floats(kept + 4 * rows[i] * width, start + 4 * i * width, width)


@part
def _has_nan(x):
    found = 0
    for value in x:
        found |= value != value
    return found != 0


@kernel(types.boolean(types.intp, types.intp, types.intp, types.intp, types.intp, _LONGS, _LONGS, READ, types.float32[::1]))
def advance(
    call: int,
    memory: int,
    fixed: int,
    room: int,
    is_whole: int,
    rows: np.ndarray,
    ts_ns: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
) -> bool:
    """All rounds of a block through a plan in one call; ``call`` as ``plan.score`` takes it.

    The plan's arrays are the event, the states, the outputs and the new states; ``fixed`` is int64[2 + outputs]: how many outputs
    there are, and the floats of an event and of each of them. x[n, size]; out holds each output [n, size], one after the
    other. room has space for int64[3 * n] and float32[n, 2 * width + sizes of x and outputs]. ``is_whole``: where there is a NaN in
    x, nothing is done but to tell so.
    """
    if is_whole and _has_nan(x):
        return True
    c, m, outputs, size_of, n = i8(call), i8(memory), i8(fixed)[0], i8(fixed + 8), len(rows)
    arrays, width, x_size, start, target = i8(c[ARRAYS]), m[WIDTH], size_of[0], x.ctypes.data, out.ctypes.data
    order, ends = i8(room), i8(room + 8 * n)
    states = room + 24 * n
    after = states + 4 * n * width
    gathered = after + 4 * n * width
    made = gathered + 4 * n * x_size
    last, begin = _round(rows, m[SEEN], room), 0
    for k in range(last):
        count = ends[k] - begin
        for j in range(count):
            i = order[begin + j]
            _enter(rows[i], ts_ns[i], memory, states + 4 * j * width)
            if last > 1:
                copy_floats(gathered + 4 * j * x_size, start + 4 * i * x_size, x_size)
        arrays[0], arrays[1], at = start if last == 1 else gathered, states, target if last == 1 else made
        for o in range(outputs):
            arrays[2 + o] = at
            at += 4 * n * size_of[1 + o]
        arrays[2 + outputs] = after
        walk(c[TABLE], c[LENGTH], 0, count, c[CHUNK], c[ARRAYS], c[STEPS], c[SCRATCH])
        for j in range(count):
            i = order[begin + j]
            copy_floats(m[STATES] + 4 * rows[i] * width, after + 4 * j * width, width)
            at, source = target, made
            for o in range(outputs):
                size = size_of[1 + o]
                if last > 1:
                    copy_floats(at + 4 * i * size, source + 4 * j * size, size)
                at += 4 * n * size
                source += 4 * n * size
        begin = ends[k]
    return False
