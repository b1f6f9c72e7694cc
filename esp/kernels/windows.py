"""Kernels of the stateful windows: retention (copy), sequences of the last events, and folding into tumbling windows.

``rows`` int64[n] is each event's row in the state table; arrays whose first axis is "rows" are columns of that table.
All of them go through events strictly in order, so that the cut into blocks cannot show.
"""

import numpy as np

from esp.kernels.compile import kernel, part

_BYTES = "Array(uint8, 1, 'C', True)"  # read-only, which writable arrays convert to
_LONGS = "Array(int64, 1, 'C', True)"
_DOUBLES = "Array(float64, 1, 'C', True)"

INSERT, DELETE = 0, 3  # opcodes
COUNT, NAN, PLUS_INF, MINUS_INF = range(4)  # places in counts
SUM, LOST, MEAN, SQUARES, MIN, MAX = range(6)  # places in reals
INT_SUM, INT_MIN, INT_MAX = range(3)  # places in ints


@kernel(f"void({_LONGS}, int64[::1], int64[::1], int64[::1])")
def group(rows: np.ndarray, scratch: np.ndarray, place: np.ndarray, order: np.ndarray) -> None:
    """place int64[n]: how many events of its row came before each in this block; order int64[n]: the events, row by row.

    scratch int64[rows] comes in as zeros and leaves as where a row's events begin in ``order``.
    """
    n, begin = len(rows), 0
    for i in range(n):
        place[i] = scratch[rows[i]]
        scratch[rows[i]] += 1
    for i in range(n):
        if place[i] == 0:
            size = scratch[rows[i]]
            scratch[rows[i]] = begin
            begin += size
    for i in range(n):
        order[scratch[rows[i]] + place[i]] = i


@kernel(
    f"int64({_LONGS}, int64, int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], "
    "int64[:, ::1])"
)
def retain(
    rows: np.ndarray, keep: int, count: np.ndarray, begin: np.ndarray, place: np.ndarray, order: np.ndarray,
    source: np.ndarray, opcode: np.ndarray, cause: np.ndarray, is_kept: np.ndarray, fallen: np.ndarray,
) -> int:  # fmt: skip
    """Each event goes out as an insert, and behind it the delete of the event of its row that came ``keep`` before it.

    count int64[rows] counts all events of a row; begin, place, order as ``group`` gave them. Out, two places an event each:
    source (an event of this block, or n + k for entry k of ``fallen`` (row, slot), which the table holds), opcode, and cause
    (the event that made it). is_kept uint8[n]: events to be stored, in slot count % keep. Gives how many rows go out.
    """
    n, out, held = len(rows), 0, 0
    for i in range(n):
        row = rows[i]
        source[out], opcode[out], cause[out] = i, INSERT, i
        out += 1
        is_kept[i] = 1
        if count[row] >= keep:
            if place[i] >= keep:
                source[out] = order[begin[row] + place[i] - keep]
                is_kept[source[out]] = 0
            else:
                source[out] = n + held
                fallen[held, 0], fallen[held, 1] = row, count[row] % keep
                held += 1
            opcode[out], cause[out] = DELETE, i
            out += 1
        count[row] += 1
    return out


@kernel(f"int64({_LONGS}, {_LONGS}, int64, int64, int64, int64[::1], int64[::1], int64[::1], uint8[::1])")
def advance_sequences(
    rows: np.ndarray, ts_ns: np.ndarray, length: int, hop: int, max_gap_ns: int, count: np.ndarray, last_ns: np.ndarray,
    number: np.ndarray, is_full: np.ndarray,
) -> int:  # fmt: skip
    """Counts events into the ring of their row: count, last_ns int64[rows]; number int64[n] is each event's in its row, from 1 on.

    is_full uint8[n] marks events that complete a sequence; gives how many there are. A gap over max_gap_ns starts the row anew.
    """
    full = 0
    for i in range(len(rows)):
        row = rows[i]
        if count[row] > 0 and ts_ns[i] - last_ns[row] > max_gap_ns:
            count[row] = 0
        count[row] += 1
        number[i] = count[row]
        last_ns[row] = ts_ns[i]
        is_full[i] = count[row] >= length and (count[row] - length) % hop == 0
        full += is_full[i]
    return full


@kernel(f"void({_LONGS}, {_LONGS}, {_BYTES}, float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1])")
def fill_sequences(
    rows: np.ndarray, number: np.ndarray, is_full: np.ndarray, values: np.ndarray, ring: np.ndarray, out: np.ndarray
) -> None:
    """Writes values float32[n, channels] into ring float32[rows, length, channels], and full sequences, oldest first, to out."""
    length, channels, made = ring.shape[1], ring.shape[2], 0
    for i in range(len(rows)):
        row, slot = rows[i], (number[i] - 1) % length
        for c in range(channels):
            ring[row, slot, c] = values[i, c]
        if is_full[i]:
            for t in range(length):
                at = (slot + 1 + t) % length
                for c in range(channels):
                    out[made, t, c] = ring[row, at, c]
            made += 1


@kernel(f"int64({_LONGS}, {_LONGS}, Array(int8, 1, 'C', True), int64, int64[::1], int64[::1], int64[::1])")
def fold_rows(
    rows: np.ndarray,
    start_ns: np.ndarray,
    sign: np.ndarray,
    born: int,
    row_start: np.ndarray,
    row_born: np.ndarray,
    row_n: np.ndarray,
) -> int:
    """Counts events (sign int8[n]: 1 adds, -1 takes back) into their rows, and numbers new rows from ``born`` + 1 on."""
    for i in range(len(rows)):
        row = rows[i]
        if row_born[row] == 0:
            born += 1
            row_born[row], row_start[row] = born, start_ns[i]
        row_n[row] += sign[i]
    return born


@part
def _fold_finite(value: float, sign: int, n: int, reals: np.ndarray) -> None:
    """Sum by Neumaier's compensation, mean and squares by Welford's method, both ways; n counts finite values, this one included."""
    if n == 0:  # the last one is taken back: start clean
        reals[:] = 0.0
        return
    term, before = sign * value, reals[SUM]
    total = before + term
    reals[LOST] += (before - total) + term if abs(before) >= abs(term) else (term - total) + before
    reals[SUM] = total
    off = value - reals[MEAN]
    reals[MEAN] += sign * (off / n)
    reals[SQUARES] = max(0.0, reals[SQUARES] + sign * (off * (value - reals[MEAN])))
    if n == 1 and sign > 0:
        reals[MIN], reals[MAX] = value, value
    else:
        reals[MIN], reals[MAX] = min(reals[MIN], value), max(reals[MAX], value)


@kernel(f"void({_LONGS}, Array(int8, 1, 'C', True), {_DOUBLES}, {_BYTES}, int64, int64[:, :, ::1], float64[:, :, ::1])")
def fold_floats(
    rows: np.ndarray, sign: np.ndarray, values: np.ndarray, there: np.ndarray, place: int, counts: np.ndarray, reals: np.ndarray
) -> None:
    """Folds values float64[n] (there uint8[n]: 0 = null) into counts int64[rows, fields, 4] and reals float64[rows, fields, 6].

    NaN and infinities are counted and not summed, so that taking one back leaves what was there before it.
    """
    for i in range(len(rows)):
        if not there[i]:
            continue
        value, tally = values[i], counts[rows[i], place]
        tally[COUNT] += sign[i]
        if np.isnan(value):
            tally[NAN] += sign[i]
        elif np.isinf(value):
            tally[PLUS_INF if value > 0 else MINUS_INF] += sign[i]
        else:
            n = tally[COUNT] - tally[NAN] - tally[PLUS_INF] - tally[MINUS_INF]
            _fold_finite(value, sign[i], n, reals[rows[i], place])


@kernel(
    f"void({_LONGS}, Array(int8, 1, 'C', True), {_LONGS}, {_BYTES}, int64, int64[:, :, ::1], float64[:, :, ::1], int64[:, :, ::1])"
)
def fold_ints(
    rows: np.ndarray, sign: np.ndarray, values: np.ndarray, there: np.ndarray, place: int, counts: np.ndarray, reals: np.ndarray,
    ints: np.ndarray,
) -> None:  # fmt: skip
    """Folds values int64[n] as ``fold_floats`` does, with exact sum, least and greatest in ints int64[rows, fields, 3]."""
    for i in range(len(rows)):
        if not there[i]:
            continue
        value, tally, exact = values[i], counts[rows[i], place], ints[rows[i], place]
        tally[COUNT] += sign[i]
        exact[INT_SUM] += sign[i] * value
        if tally[COUNT] == 1 and sign[i] > 0:
            exact[INT_MIN], exact[INT_MAX] = value, value
        else:
            exact[INT_MIN], exact[INT_MAX] = min(exact[INT_MIN], value), max(exact[INT_MAX], value)
        _fold_finite(float(value), sign[i], tally[COUNT], reals[rows[i], place])
