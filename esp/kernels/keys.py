"""Kernels that write the key fields of events as bytes, and read them back.

A field takes one byte (1 = there, 0 = null) and then its value: fixed-size values as they stand in memory (zeros where null),
others as int32 size (little-endian) and bytes. ``cursor`` int64[n] is where each event's key goes on; kernels move it.
"""

import numpy as np

from esp.kernels.compile import kernel

_BYTES = "Array(uint8, 1, 'C', True)"  # read-only, which writable arrays convert to
_LONGS = "Array(int64, 1, 'C', True)"
_GRID = "Array(uint8, 2, 'C', True)"
SIZE_BYTES = 4


@kernel(f"void({_GRID}, {_BYTES}, int64[::1], uint8[::1])")
def put_fixed(values: np.ndarray, there: np.ndarray, cursor: np.ndarray, out: np.ndarray) -> None:
    """values uint8[n, width], there uint8[n]."""
    n, width = values.shape
    for i in range(n):
        at = cursor[i]
        out[at] = there[i]
        for j in range(width):
            out[at + 1 + j] = values[i, j] if there[i] else 0
        cursor[i] = at + 1 + width


@kernel(f"void({_LONGS}, {_BYTES}, {_BYTES}, int64[::1], uint8[::1])")
def put_var(offsets: np.ndarray, data: np.ndarray, there: np.ndarray, cursor: np.ndarray, out: np.ndarray) -> None:
    """Value i is ``data[offsets[i]:offsets[i + 1]]``, empty where null; there uint8[n]."""
    for i in range(len(cursor)):
        at, start, size = cursor[i], offsets[i], offsets[i + 1] - offsets[i]
        out[at] = there[i]
        for j in range(SIZE_BYTES):
            out[at + 1 + j] = (size >> (8 * j)) & 255
        at += 1 + SIZE_BYTES
        for j in range(size):
            out[at + j] = data[start + j]
        cursor[i] = at + size


@kernel(f"void({_BYTES}, int64[::1], uint8[::1], uint8[:, ::1])")
def get_fixed(data: np.ndarray, cursor: np.ndarray, there: np.ndarray, out: np.ndarray) -> None:
    """there uint8[n], out uint8[n, width]: what ``put_fixed`` wrote."""
    n, width = out.shape
    for i in range(n):
        at = cursor[i]
        there[i] = data[at]
        for j in range(width):
            out[i, j] = data[at + 1 + j]
        cursor[i] = at + 1 + width


@kernel(f"void({_BYTES}, int64[::1], uint8[::1], int64[:, ::1])")
def get_var(data: np.ndarray, cursor: np.ndarray, there: np.ndarray, span: np.ndarray) -> None:
    """there uint8[n], span int64[n, 2]: where in ``data`` each value that ``put_var`` wrote begins, and its size."""
    for i in range(len(cursor)):
        at, size = cursor[i], 0
        there[i] = data[at]
        for j in range(SIZE_BYTES):
            size |= int(data[at + 1 + j]) << (8 * j)
        span[i, 0], span[i, 1] = at + 1 + SIZE_BYTES, size
        cursor[i] = at + 1 + SIZE_BYTES + size
