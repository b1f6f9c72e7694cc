"""From the bytes of a column of events to the float32 that a network takes: cast, scale and normalise in one pass a row."""

# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.pointers import divide, f4, i8

SCALED, NORMALISED = range(2)
LOOKED_AT = 256  # numbers of a loop without a branch, which becomes vectors
SOURCES = ("uint8", "boolean", "float32", "float64", "int32", "int64")  # Numba's names of what ``take_in`` reads


def _runs(result: str, *elements: str, extra: Sequence[Any] = ()) -> list[Any]:
    """Signatures of functions of one run of numbers, which may be read-only, and ``extra``."""
    return [getattr(types, result)(types.Array(getattr(types, name), 1, "C", readonly=True), *extra) for name in elements]


@kernel(*_runs("intp", *SOURCES))
def address(run: npt.NDArray[Any]) -> int:
    """Where a contiguous array of one axis lies; five times as fast as asking the array from Python."""
    return run.ctypes.data


@kernel(*_runs("boolean", "float32"))
def any_nan(run: npt.NDArray[np.float32]) -> bool:
    """Whether there is a NaN among float32[n]."""
    start, found = 0, np.int32(0)
    while start + LOOKED_AT <= len(run) and not found:
        for at in range(LOOKED_AT):
            found |= np.int32(run[start + at] != run[start + at])
        start += LOOKED_AT
    for at in range(start, len(run)):
        found |= np.int32(run[at] != run[at])
    return bool(found)


@kernel(*_runs("void", *SOURCES, extra=[types.float64[::1]] * 2))
def tally(run: npt.NDArray[Any], count: npt.NDArray[np.float64], total: npt.NDArray[np.float64]) -> None:
    """Adds the finite numbers of run[n * channels] to total[channels], and how many they are to count[channels]."""
    channels = len(total)
    for start in range(0, len(run), channels):
        for channel in range(channels):
            value = np.float64(run[start + channel])
            if value - value == 0:
                count[channel] += 1
                total[channel] += value


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


@kernel(*_runs("boolean", *SOURCES, extra=(types.Array(types.float32, 1, "C"), types.intp)))
def take_in(source: npt.NDArray[Any], target: npt.NDArray[np.float32], call: int) -> bool:
    """target[n * size] = the steps over float32 of source[n * size]; whether any number of the source is NaN.

    ``call``: the address of three int64: size, and the steps and their count as ``apply_steps`` has them.
    """
    size, steps, count = i8(call)[0], i8(call)[1], i8(call)[2]
    found, start = 0, 0
    while start < len(target):
        line, out = source[start : start + size], target[start : start + size]
        for j in range(size):
            found |= line[j] != line[j]
            out[j] = np.float32(line[j])
        apply_steps(steps, count, size, out.ctypes.data)
        start += size
    return found != 0
