"""Pieces of a buffer, one behind the other in another one: keys on their way from records to records."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from esp.kernels.compile import kernel
from esp.kernels.words import copy, start_of


@kernel("void(Array(uint8, 1, 'C', True), Array(int64, 1, 'C', True), Array(int64, 1, 'C', True), uint8[::1], int64[::1])")
def join(buffer: Any, at: Any, size: Any, out: Any, begin: Any) -> None:
    """Copies ``buffer[at[i] : at[i] + size[i]]`` for each i in turn into ``out``, which holds them all; ``begin[i]`` is where, a size below 0 is 0.

    at, size, begin: int64[n]; buffer, out: uint8.
    """
    source, target, end = start_of(buffer), start_of(out), 0
    for i in range(len(at)):
        begin[i] = end
        if size[i] > 0:
            copy(target + end, source + at[i], size[i])
            end += size[i]
