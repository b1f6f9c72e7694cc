"""The hash by which Kafka's Java client chooses the partition of a key: MurmurHash2 (A. Appleby), 32 bits, with its seed."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np

from esp.kernels.compile import kernel, part
from esp.kernels.words import load_u8, load_u32, start_of

_SEED, _M, _POSITIVE = np.int64(0x9747B28C), np.int64(0x5BD1E995), np.int64(0x7FFFFFFF)
_WORD = np.int64(0xFFFFFFFF)
_LONGS = "Array(int64, 1, 'C', True)"


@part
def murmur2(at, size):
    """The hash of bytes, in the low half of an int64."""
    h, end = (_SEED ^ size) & _WORD, at + size
    while at + 4 <= end:
        k = (load_u32(at) * _M) & _WORD
        k = ((k ^ (k >> 24)) * _M) & _WORD
        h = ((h * _M) & _WORD) ^ k
        at += 4
    if at < end:
        for p in range(at, end):
            h ^= load_u8(p) << (8 * (p - at))
        h = (h * _M) & _WORD
    h = ((h ^ (h >> 13)) * _M) & _WORD
    return h ^ (h >> 15)


@kernel(f"void(Array(uint8, 1, 'C', True), {_LONGS}, {_LONGS}, int64, int64, int64[::1])")
def partitions(buffer: Any, key_at: Any, key_size: Any, count: int, otherwise: int, out: Any) -> None:
    """out[n]: of ``count`` partitions the one of each key, as the Java client chooses it; ``otherwise`` for records without a key."""
    start = start_of(buffer)
    for i in range(len(out)):
        if key_size[i] < 0:
            out[i] = otherwise
        else:
            out[i] = (murmur2(start + key_at[i], key_size[i]) & _POSITIVE) % count
