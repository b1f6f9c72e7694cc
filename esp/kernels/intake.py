"""From the bytes of a column of events to the float32 that a network takes: cast, scale and normalise in one pass a row."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.pointers import divide, f4, f8, i4, i8, u1

SCALED, NORMALISED = range(2)
KINDS = {"uint8": 0, "bool": 0, "float32": 1, "float64": 2, "int32": 3, "int64": 4}  # dtype -> how ``take_in`` reads it


def _runs(result: str, *elements: str) -> list[Any]:
    """Signatures of functions of one run of numbers, which may be read-only."""
    return [getattr(types, result)(types.Array(getattr(types, name), 1, "C", readonly=True)) for name in elements]


@kernel(*_runs("intp", "float32", "uint8", "boolean", "float64", "int32", "int64"))
def address(run: npt.NDArray[Any]) -> int:
    """Where a contiguous array of one axis lies; five times as fast as asking the array from Python."""
    return run.ctypes.data


@kernel(*_runs("boolean", "float32"))
def any_nan(run: npt.NDArray[np.float32]) -> bool:
    """Whether there is a NaN among float32[n]."""
    found = 0
    for value in run:
        found |= value != value
    return found != 0


@part
def _cast(size, kind, at, source, target):
    """target[size] = float32 of source[at : at + size]; whether there is a NaN among them."""
    out, found = f4(target), 0
    if kind == 0:
        bytes_ = u1(source + at)
        for j in range(size):
            out[j] = np.float32(bytes_[j])
    elif kind == 1:
        floats = f4(source + 4 * at)
        for j in range(size):
            out[j] = floats[j]
            found |= floats[j] != floats[j]
    elif kind == 2:
        doubles = f8(source + 8 * at)
        for j in range(size):
            out[j] = np.float32(doubles[j])
            found |= doubles[j] != doubles[j]
    elif kind == 3:
        ints = i4(source + 4 * at)
        for j in range(size):
            out[j] = np.float32(ints[j])
    else:
        longs = i8(source + 8 * at)
        for j in range(size):
            out[j] = np.float32(longs[j])
    return found


@part
def apply_steps(steps, count, size, row):
    """row[size] becomes what the steps make of it.

    ``steps``: count rows of three int64: SCALED (x * a + b) or NORMALISED ((x - a) / b), and the addresses of a[size] and b[size].
    Each operation rounds, as in numpy.
    """
    table, out = i8(steps), f4(row)
    for s in range(count):
        a, b = f4(table[3 * s + 1]), f4(table[3 * s + 2])
        if table[3 * s] == SCALED:
            for j in range(size):
                out[j] = out[j] * a[j] + b[j]
        else:
            for j in range(size):
                out[j] = divide(out[j] - a[j], b[j])


@kernel("intp(intp, intp, intp, intp, intp, intp, intp)")
def take_in(n: int, size: int, kind: int, source: int, steps: int, count: int, target: int) -> int:
    """target[n, size] = the steps over float32 of source[n, size]; whether any number of the source is NaN.

    ``steps`` are as ``apply_steps`` has them.
    """
    found = 0
    for i in range(n):
        row = target + 4 * i * size
        found |= _cast(size, kind, i * size, source, row)
        apply_steps(steps, count, size, row)
    return found
