"""Sliding windows: what a window hands on to later ones lies in rings, a block of them a row of the state table.

A ring holds the last ``size`` positions of one tensor, as many rings as it has phases. Window ``number`` of a row (0 the first
since it began anew) takes the ring ``number % phases``, whose oldest position lies at ``number // phases * shift``, modulo size.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from llvmlite import ir
from numba import types

from esp.kernels.compile import instruction, kernel, part
from esp.kernels.plan import ARRAYS, CHUNK, LENGTH, READ, SCRATCH, STEPS, TABLE, enter, walk
from esp.kernels.pointers import copy_floats, declare, emitted, f4, i8

STATE = 3  # int64 of a row: the count and the number of its last window, and the pass in which it last took a step
NEVER = -(1 << 62)  # a count that no window follows
PLACE = 2  # int64 of a window on its way: the address of its row's rings (0: none), and its number
DONE, SORTED, FULL, MISSING = range(4)
PLAN, CAPACITY, MOST, HOMES, STATES, HOP, FIRST, PASSES, PLACES, STEPPED, FILLED, FOUND = range(12)  # of a call: see ``advance``
FIELDS = 12
LINE = 64  # bytes of a cache line
AHEAD = 3  # windows


@emitted
def _prefetch(typingctx: Any, at: Any) -> Any:
    """Asks for the cache line of an address, which will soon be read."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        read, near, data = number(0), number(3), number(1)
        builder.call(declare(builder.module, kind, "llvm.prefetch.p0"), [builder.inttoptr(args[0], byte), read, near, data])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@part
def _ring(place, at, phases, size, shift, inner):
    """The address of a window's ring, and which of its positions is the oldest."""
    number = i8(place)[1]
    turn, phase = number, 0
    if phases > 1:
        turn = number // phases
        phase = number - turn * phases
    return i8(place)[0] + 4 * (at + phase * size * inner), turn * shift % size


@part
def _read(ring, oldest, size, inner, first, count, y):
    """Copies ``count`` positions from the one ``first`` places after the oldest on."""
    start = oldest + first
    start -= size if start >= size else 0
    run = min(count, size - start)
    copy_floats(y, ring + 4 * start * inner, run * inner)
    if run < count:
        copy_floats(y + 4 * run * inner, ring, (count - run) * inner)


@part
def _call_up(ring, oldest, size, inner, first, count):
    """Asks for what ``_read`` will copy."""
    start = oldest + first
    start -= size if start >= size else 0
    run = min(count, size - start)
    for at in range(ring + 4 * start * inner, ring + 4 * (start + run) * inner, LINE):
        _prefetch(at)
    for at in range(ring, ring + 4 * (count - run) * inner, LINE):
        _prefetch(at)


@part
def _write(ring, oldest, size, inner, count, x):
    """Puts ``count`` new positions (at most size) in the place of the oldest."""
    run = min(count, size - oldest)
    copy_floats(ring + 4 * oldest * inner, x, run * inner)
    if run < count:
        copy_floats(ring, x + 4 * run * inner, (count - run) * inner)


@part
def _clear(count, y):
    target = f4(y)
    for j in range(count):
        target[j] = 0


@part
def keep(n, at, phases, size, shift, inner, head, tail, new, left, before, after, x, other, places, y):
    """Joins what is known of each window's positions, ``inner`` numbers each, and hands them on.

    y[n, :, inner] = ``before`` zeros, other[n, left, inner], the first ``head`` positions of the ring and those from ``tail`` on,
    x[n, new, inner], ``after`` zeros. Then the first ``shift`` positions of x take the place of the oldest in the ring. So windows
    of one row may follow one another in a batch.
    """
    kept, line = min(shift, size), 4 * inner
    asked = head + size - tail
    step = line * (before + left + asked + new + after)
    for i in range(n):
        if i + AHEAD < n:  # rings of many rows are not near
            ring, oldest = _ring(places + 8 * PLACE * (i + AHEAD), at, phases, size, shift, inner)
            _call_up(ring, oldest, size, inner, 0, head)
            _call_up(ring, oldest, size, inner, tail, size - tail)
        ring, oldest = _ring(places + 8 * PLACE * i, at, phases, size, shift, inner)
        source, target = x + line * i * new, y + step * i
        if before:
            _clear(before * inner, target)
        if left:
            copy_floats(target + line * before, other + line * i * left, left * inner)
        target += line * (before + left)
        if head:
            _read(ring, oldest, size, inner, 0, head, target)
        if tail < size:
            _read(ring, oldest, size, inner, tail, size - tail, target + line * head)
        copy_floats(target + line * asked, source, new * inner)
        if after:
            _clear(after * inner, target + line * (asked + new))
        if kept:
            _write(ring, (oldest + shift - kept) % size, size, inner, kept, source + line * (shift - kept))


@instruction
def keep_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    keep(n, g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], x, c, b, y)


KEEP = keep_row


@kernel("void(intp, intp, intp, intp, intp, intp, intp, intp)")
def fill(n: int, at: int, phases: int, size: int, shift: int, inner: int, x: int, places: int) -> None:
    """Fills the rings of n windows for the next of their phase: x[n, size, inner] are their positions, oldest first."""
    for i in range(n):
        place = places + 8 * PLACE * i
        if i8(place)[0]:
            ring, oldest = _ring(place, at, phases, size, shift, inner)
            _write(ring, (oldest + shift) % size, size, inner, size, x + 4 * i * size * inner)


@part
def _is_room(n, rows, capacity, most):
    """Whether no row is past what there is memory for, while there may be more."""
    if capacity < most:
        for i in range(n):
            if rows[i] >= capacity:
                return False
    return True


@part
def _is_missing(n, new, windows, rows, counts, call):
    """Whether a window has a NaN among its last ``new`` numbers, or anywhere where it does not follow the last one of its row."""
    c, size, found = i8(call), len(windows) // max(n, 1), 0
    for i in range(n):
        row, looked = rows[i], size
        if row < c[CAPACITY] and i8(c[STATES] + 8 * STATE * row)[0] + c[HOP] == counts[i]:
            looked = min(new, size)
        window = f4(windows.ctypes.data + 4 * (i * size + size - looked))
        for j in range(looked):
            found |= window[j] != window[j]
    return found != 0


@part
def _sort(n, rows, counts, call):
    """Which of n windows go on from the last of their row, in order, and which are scored whole; found: windows seen, steps, fills.

    Neither are windows whose count is below 0: their rows begin anew. It ends where a row that took a step begins anew, for all
    fills come first. Places of steps begin the list, those of fills stand from place n on.
    """
    c, stepped, filled, i = i8(call), 0, 0, 0
    while i < n:
        row, home, number = rows[i], 0, 0
        if counts[i] < 0:
            if row < c[CAPACITY]:
                i8(c[STATES] + 8 * STATE * row)[0] = NEVER
            i += 1
            continue
        if row < c[CAPACITY]:
            home, state = i8(c[HOMES])[row], i8(c[STATES] + 8 * STATE * row)
            number = state[1] + 1 if state[0] + c[HOP] == counts[i] else 0
            if number < c[FIRST] and state[2] == c[PASSES]:
                break
            state[0], state[1] = counts[i], number
            if number >= c[FIRST]:
                state[2] = c[PASSES]
        if home and number >= c[FIRST]:
            i8(c[STEPPED])[stepped] = i
            place = i8(c[PLACES] + 8 * PLACE * stepped)
            stepped += 1
        else:
            i8(c[FILLED])[filled] = i
            place = i8(c[PLACES] + 8 * PLACE * (n + filled))
            filled += 1
        place[0], place[1] = home, number
        i += 1
    found = i8(c[FOUND])
    found[0], found[1], found[2] = i, stepped, filled


@part
def _step(plan, places, n, windows, out):
    p = i8(plan)
    enter(plan, n, windows, out)
    i8(p[ARRAYS])[1] = places
    walk(p[TABLE], p[LENGTH], 0, n, p[CHUNK], p[ARRAYS], p[STEPS], p[SCRATCH])


_I8 = types.Array(types.int64, 1, "C", readonly=True)


@part
def _sorted(call, rows, counts):
    """SORTED or FULL."""
    c, n = i8(call), len(rows)
    if not _is_room(n, rows, c[CAPACITY], c[MOST]):
        return FULL
    c[PASSES] += 1
    _sort(n, rows, counts, call)
    return SORTED


@kernel(types.intp(types.intp, _I8, _I8))
def sort(call: int, rows: Any, counts: Any) -> Any:
    """Sorts windows into steps and fills, as the lists then say. FULL: a row is past the capacity while there may be more.

    ``call`` is the address of int64[FIELDS]: the call of the step's plan (see ``plan.score``), rows that have rings and that may have
    them, the addresses of homes and states, the hop, how many windows of a row come before its first step, passes so far, and the
    addresses of places, lists and found.
    """
    return _sorted(call, rows, counts)


@kernel(types.intp(types.intp, types.intp, READ, _I8, _I8, types.float32[::1]))
def advance(call: int, new: int, windows: Any, rows: Any, counts: Any, out: Any) -> Any:
    """``sort``, and where all are steps ``step``: DONE. MISSING, and nothing is done: there is a NaN.

    ``new``: how many numbers at the end of a window to look at for that; all where it does not follow another; 0: none.
    """
    if new and _is_missing(len(rows), new, windows, rows, counts, call):
        return MISSING
    done = _sorted(call, rows, counts)
    if done == SORTED and i8(i8(call)[FOUND])[1] == len(rows):
        _step(i8(call)[PLAN], i8(call)[PLACES], len(rows), windows, out)
        return DONE
    return done


@kernel(types.void(types.intp, types.intp, READ, types.float32[::1]))
def step(call: int, n: int, windows: Any, out: Any) -> None:
    """Scores n windows that are steps, whose places begin the list."""
    _step(i8(call)[PLAN], i8(call)[PLACES], n, windows, out)
