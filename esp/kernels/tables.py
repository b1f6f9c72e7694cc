"""Kernels of the state tables: an open-addressing hash index over key bytes, and heaps of cells that differ in size.

Arrays that several kernels share, all owned by ``esp/runtime/state``:
``slots`` int64[2^k]: row, or -1 where free; linear probing, at most half full, entries shift back on removal.
``hashes`` uint64[rows], ``flags`` uint8[rows] (LIVE, CHANGED), ``free`` int64[rows]: stack of rows to use again.
``head`` int64[3]: rows ever used, height of ``free``, lowest height of ``free`` since the last dump.
``span`` int64[cells, 2]: where a cell begins in ``heap`` uint8[...] and its size; ``fill`` int64[2]: end of the heap, bytes in use.
"""

import numpy as np

from esp.kernels.compile import kernel, part

LIVE, CHANGED = 1, 2  # bits of flags
USED, FREE, LOW = 0, 1, 2  # places in head
END, BYTES = 0, 1  # places in fill

_BYTES = "Array(uint8, 1, 'C', True)"  # read-only, which writable arrays convert to
_LONGS = "Array(int64, 1, 'C', True)"
_INDEX = "uint64, int64[::1], uint64[::1], uint8[::1], int64[:, ::1], uint8[::1]"

_K1, _K2, _K3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S8, _S27, _S30, _S31, _S37 = (np.uint64(bits) for bits in (8, 27, 30, 31, 37))
_ZERO = np.uint64(0)


@part
def _mix(word: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit of the result."""
    word = (word ^ (word >> _S30)) * _K2
    word = (word ^ (word >> _S27)) * _K3
    return word ^ (word >> _S31)


@part
def _hash(data: np.ndarray, at: int, size: int, seed: np.uint64) -> np.uint64:
    """A 64-bit hash of ``data[at:at + size]``, eight bytes a step."""
    state = _mix(seed ^ (np.uint64(size) * _K1))
    end, i = at + size, at
    while i < end:
        stop = min(i + 8, end)
        word = _ZERO
        for j in range(stop - 1, i - 1, -1):
            word = (word << _S8) | np.uint64(data[j])
        state = _mix(((state << _S27) | (state >> _S37)) + (word ^ _K1) * _K3)
        i = stop
    return state


@part
def _same(left: np.ndarray, left_at: int, right: np.ndarray, right_at: int, size: int) -> bool:
    for i in range(size):  # noqa: SIM110 (Numba compiles the plain loop)
        if left[left_at + i] != right[right_at + i]:
            return False
    return True


@part
def _probe(
    data: np.ndarray, at: int, size: int, word: np.uint64, slots: np.ndarray, hashes: np.ndarray, span: np.ndarray, heap: np.ndarray
) -> np.int64:
    """The slot that holds the key, or the free one where it belongs."""
    mask = len(slots) - 1
    slot = np.int64(word & np.uint64(mask))
    while True:
        row = slots[slot]
        if row < 0:
            return slot
        if hashes[row] == word and span[row, 1] == size and _same(data, at, heap, span[row, 0], size):
            return slot
        slot = (slot + 1) & mask


@kernel(f"void({_LONGS}, {_BYTES}, {_INDEX}, int64[::1])")
def find(
    offsets: np.ndarray,
    data: np.ndarray,
    seed: np.uint64,
    slots: np.ndarray,
    hashes: np.ndarray,
    flags: np.ndarray,
    span: np.ndarray,
    heap: np.ndarray,
    out: np.ndarray,
) -> None:
    """out int64[n]: the row of each key ``data[offsets[i]:offsets[i + 1]]``, -1 where there is none."""
    for i in range(len(out)):
        at, size = offsets[i], offsets[i + 1] - offsets[i]
        out[i] = slots[_probe(data, at, size, _hash(data, at, size, seed), slots, hashes, span, heap)]


@kernel(f"int64({_LONGS}, {_BYTES}, int64, {_INDEX}, int64[::1], int64[::1], int64[::1], int64[::1])")
def find_or_insert(
    offsets: np.ndarray,
    data: np.ndarray,
    start: int,
    seed: np.uint64,
    slots: np.ndarray,
    hashes: np.ndarray,
    flags: np.ndarray,
    span: np.ndarray,
    heap: np.ndarray,
    fill: np.ndarray,
    free: np.ndarray,
    head: np.ndarray,
    out: np.ndarray,
) -> int:
    """out int64[n]: the row of each key from ``start`` on, a new one where there is none; all are marked as changed.

    Gives how many keys are done: less than n when rows or heap are full, for the caller to grow and go on.
    """
    for i in range(start, len(out)):
        at, size = offsets[i], offsets[i + 1] - offsets[i]
        word = _hash(data, at, size, seed)
        slot = _probe(data, at, size, word, slots, hashes, span, heap)
        row = slots[slot]
        if row < 0:
            if (head[FREE] == 0 and head[USED] == len(flags)) or fill[END] + size > len(heap):
                return i
            if head[FREE] > 0:
                head[FREE] -= 1
                head[LOW] = min(head[LOW], head[FREE])
                row = free[head[FREE]]
            else:
                row = head[USED]
                head[USED] += 1
            slots[slot], hashes[row] = row, word
            span[row, 0], span[row, 1] = fill[END], size
            for j in range(size):
                heap[fill[END] + j] = data[at + j]
            fill[END] += size
            fill[BYTES] += size
        flags[row] = LIVE | CHANGED
        out[i] = row
    return len(out)


@kernel(f"void({_INDEX}, int64)")
def rebuild(
    seed: np.uint64, slots: np.ndarray, hashes: np.ndarray, flags: np.ndarray, span: np.ndarray, heap: np.ndarray, used: int
) -> None:
    """Fills ``slots`` (all -1) and ``hashes`` from the rows in use."""
    mask = len(slots) - 1
    for row in range(used):
        if flags[row] & LIVE:
            hashes[row] = _hash(heap, span[row, 0], span[row, 1], seed)
            slot = np.int64(hashes[row] & np.uint64(mask))
            while slots[slot] >= 0:
                slot = (slot + 1) & mask
            slots[slot] = row


@part
def _unlink(row: int, slots: np.ndarray, hashes: np.ndarray) -> None:
    """Takes a row out of the index; the entries behind it shift back, so that no tombstone stays."""
    mask = len(slots) - 1
    hole = np.int64(hashes[row] & np.uint64(mask))
    while slots[hole] != row:
        hole = (hole + 1) & mask
    slot = (hole + 1) & mask
    while slots[slot] >= 0:
        home = np.int64(hashes[slots[slot]] & np.uint64(mask))
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            slots[hole] = slots[slot]
            hole = slot
        slot = (slot + 1) & mask
    slots[hole] = -1


@kernel(f"void({_LONGS}, int64[::1], uint64[::1], uint8[::1], int64[:, ::1], int64[::1], int64[::1], int64[::1])")
def remove(
    rows: np.ndarray,
    slots: np.ndarray,
    hashes: np.ndarray,
    flags: np.ndarray,
    span: np.ndarray,
    fill: np.ndarray,
    free: np.ndarray,
    head: np.ndarray,
) -> None:
    """Takes rows out of the table, in the order given; rows that are not in use are passed over."""
    for i in range(len(rows)):
        row = rows[i]
        if flags[row] & LIVE:
            _unlink(row, slots, hashes)
            flags[row] = CHANGED
            fill[BYTES] -= span[row, 1]
            span[row, 1] = 0
            free[head[FREE]] = row
            head[FREE] += 1


@kernel(f"void({_LONGS}, {_LONGS}, {_BYTES}, int64[:, ::1], uint8[::1], int64[::1])")
def heap_put(
    cells: np.ndarray, offsets: np.ndarray, data: np.ndarray, span: np.ndarray, heap: np.ndarray, fill: np.ndarray
) -> None:
    """Cell ``cells[i]`` becomes value i; the heap has room for all values."""
    for i in range(len(cells)):
        cell, at, size = cells[i], offsets[i], offsets[i + 1] - offsets[i]
        fill[BYTES] += size - span[cell, 1]
        span[cell, 0], span[cell, 1] = fill[END], size
        for j in range(size):
            heap[fill[END] + j] = data[at + j]
        fill[END] += size


@kernel(f"void({_LONGS}, {_LONGS}, int64[:, ::1], uint8[::1], uint8[::1])")
def heap_get(cells: np.ndarray, offsets: np.ndarray, span: np.ndarray, heap: np.ndarray, out: np.ndarray) -> None:
    """out uint8[offsets[n]]: the bytes of the cells, one after another."""
    for i in range(len(cells)):
        at, to = span[cells[i], 0], offsets[i]
        for j in range(offsets[i + 1] - to):
            out[to + j] = heap[at + j]


@kernel("int64(int64[:, ::1], uint8[::1], uint8[::1])")
def heap_compact(span: np.ndarray, heap: np.ndarray, out: np.ndarray) -> int:
    """Copies every cell into ``out`` without the gaps, and gives the end of them."""
    end = 0
    for cell in range(len(span)):
        at, size = span[cell, 0], span[cell, 1]
        span[cell, 0] = end
        for j in range(size):
            out[end + j] = heap[at + j]
        end += size
    return end
