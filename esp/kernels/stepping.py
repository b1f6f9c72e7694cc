"""Kernels of stateful scoring: a block goes through a network event by event a key, in rounds in which each key comes once.

Addresses, as in a plan. ``memory`` is that of a table of int64: the columns of the state table (count, last_ns int64[rows]; states
float32[rows, width]), seen int64[rows] of zeros, initial float32[width], and the numbers width and max_gap_ns.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.plan import ARRAYS, CHUNK, LENGTH, READ, SCRATCH, STEPS, TABLE, walk
from esp.kernels.pointers import copy_floats, i4, i8

COUNT, LAST_NS, STATES, SEEN, INITIAL, WIDTH, MAX_GAP_NS = range(7)  # places in ``memory``
FINITE = 0x7F800000  # the exponent of what is infinite or not a number
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
def _begins(row, ts_ns, memory):
    """Whether an event is the first of its row, or the first after a gap."""
    m = i8(memory)
    return i8(m[COUNT])[row] == 0 or ts_ns - i8(m[LAST_NS])[row] > m[MAX_GAP_NS]


@part
def _enter(row, ts_ns, memory, target):
    """Writes the states that an event meets: those of the row, or the initial ones."""
    m = i8(memory)
    width = m[WIDTH]
    copy_floats(target, m[INITIAL] if _begins(row, ts_ns, memory) else m[STATES] + 4 * row * width, width)


@part
def _leave(row, ts_ns, memory, after):
    """Counts an event into its row and keeps the states after it; 1, and nothing has moved, where they are not all finite."""
    m = i8(memory)
    count, width, bits, found = i8(m[COUNT]), m[WIDTH], i4(after), 0
    for k in range(width):
        found |= (bits[k] & FINITE) == FINITE
    if found != 0:
        return 1
    count[row] = 1 if _begins(row, ts_ns, memory) else count[row] + 1
    i8(m[LAST_NS])[row] = ts_ns
    copy_floats(m[STATES] + 4 * row * width, after, width)
    return 0


@kernel(types.intp(_LONGS, types.intp, types.int64[::1]))
def rounds(rows: np.ndarray, memory: int, order: np.ndarray) -> int:
    """Splits events into rounds: order int64[3 * n] holds the events round by round, then where each round ends, then scratch."""
    last: int = _round(rows, i8(memory)[SEEN], order.ctypes.data)
    return last


@kernel(types.void(_LONGS, _LONGS, types.intp, types.float32[:, ::1]))
def enter(rows: np.ndarray, ts_ns: np.ndarray, memory: int, states: np.ndarray) -> None:
    """The states float32[n, width] that events of different rows meet."""
    start, width = states.ctypes.data, i8(memory)[WIDTH]
    for i in range(len(rows)):
        _enter(rows[i], ts_ns[i], memory, start + 4 * i * width)


@kernel(types.void(_LONGS, _LONGS, READ, types.intp, types.boolean[::1]))
def leave(rows: np.ndarray, ts_ns: np.ndarray, states: np.ndarray, memory: int, refused: np.ndarray) -> None:
    """Counts events and keeps the states after them, float32[n * width], in the rows; refused are those that would not be finite."""
    width, start = i8(memory)[WIDTH], states.ctypes.data
    for i in range(len(rows)):
        refused[i] = _leave(rows[i], ts_ns[i], memory, start + 4 * i * width) != 0


@part
def _has_nan(x):
    found = 0
    for value in x:
        found |= value != value
    return found != 0


@kernel(types.intp(types.intp, types.intp, types.intp, types.intp, types.intp, _LONGS, _LONGS, READ, types.float32[::1]))
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
) -> int:
    """All rounds of a block through a plan in one call; ``call`` as ``plan.score`` takes it.

    The plan's arrays are the event, the states, the outputs and the new states; ``fixed`` is int64[2 + outputs]: how many outputs
    there are, and the floats of an event and of each of them. x[n, size]; out holds each output [n, size], one after the
    other. room has space for int64[3 * n] and float32[n, 2 * width + sizes of x and outputs]. ``is_whole``: where there is a NaN in
    x, nothing is done but to tell so by -1. Else the events are counted whose states after them would not be finite: they leave
    their rows as they were, and the last n of the room's int64 say which they are.
    """
    if is_whole and _has_nan(x):
        return -1
    c, m, outputs, size_of, n = i8(call), i8(memory), i8(fixed)[0], i8(fixed + 8), len(rows)
    arrays, width, x_size, start, target = i8(c[ARRAYS]), m[WIDTH], size_of[0], x.ctypes.data, out.ctypes.data
    order, ends = i8(room), i8(room + 8 * n)
    states = room + 24 * n
    after = states + 4 * n * width
    gathered = after + 4 * n * width
    made = gathered + 4 * n * x_size
    last, begin, refused, count_refused = _round(rows, m[SEEN], room), 0, i8(room + 16 * n), 0
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
            refused[i] = _leave(rows[i], ts_ns[i], memory, after + 4 * j * width)
            count_refused += refused[i]
            at, source = target, made
            for o in range(outputs):
                size = size_of[1 + o]
                if last > 1:
                    copy_floats(at + 4 * i * size, source + 4 * j * size, size)
                at += 4 * n * size
                source += 4 * n * size
        begin = ends[k]
    return count_refused
