"""Columns as a Kafka record batch (format 2): one pass lays the records down, a second call seals the header.

Source: Apache Kafka protocol, "Record batch".
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np

from esp.kernels.compile import kernel, part
from esp.kernels.crc import crc32c
from esp.kernels.records import (
    ATTRIBUTES,
    BASE_TIME,
    BEFORE_LENGTH,
    COUNT,
    CRC,
    EPOCH,
    HEADER,
    LAST_DELTA,
    LENGTH,
    MAGIC,
    MAX_TIME,
    PRODUCER,
    SEQUENCE,
)  # fmt: skip
from esp.kernels.words import copy, start_of, store_i32_be, store_i64_be, store_u8, store_u16_be

_BYTES = "Array(uint8, 1, 'C', True)"
_LONGS = "Array(int64, 1, 'C', True)"
MOST_OVERHEAD = 36  # bytes that a record may take beside its key, value and headers
_LOW, _MORE = np.uint64(0x7F), np.uint64(0x80)


@part
def _zigzag(value):
    return np.uint64(value << 1) ^ np.uint64(value >> 63)


@part
def _width(value):
    """Bytes of a number."""
    rest, n = _zigzag(value), 1
    while rest > _LOW:
        rest >>= np.uint64(7)
        n += 1
    return n


@part
def _put(at, value):
    """Writes a number; gives the place behind it."""
    rest = _zigzag(value)
    while rest > _LOW:
        store_u8(at, np.int64((rest & _LOW) | _MORE))
        rest >>= np.uint64(7)
        at += 1
    store_u8(at, np.int64(rest))
    return at + 1


@part
def _put_sized(at, source, size):
    at = _put(at, size)
    if size > 0:
        copy(at, source, size)
        at += size
    return at


@kernel(f"void({_BYTES}, {', '.join([_LONGS] * 7)}, int64, int64, uint8[::1], int64[::1])")
def build(
    buffer: Any, value_at: Any, value_size: Any, key_at: Any, key_size: Any, header_at: Any, header_size: Any, ts_ms: Any,
    first: int, now_ms: int, out: Any, told: Any,
) -> None:  # fmt: skip
    """Writes records from row ``first`` on into ``out``, as many as fit; told int64[2]: the row after the last, and the bytes.

    The columns are those of a RawBlock; a stamp that is not above 0 is ``now_ms``. The header is whole but for what ``seal`` writes.
    """
    start, n = start_of(out), len(value_at)
    source, end, at, i = start_of(buffer), start + len(out), start + HEADER, first
    base_ms = ts_ms[first] if ts_ms[first] > 0 else now_ms
    max_ms = base_ms
    while i < n:
        stamp = ts_ms[i] if ts_ms[i] > 0 else now_ms
        header = max(header_size[i], 0)
        size = 1 + _width(stamp - base_ms) + _width(i - first) + _width(key_size[i]) + max(key_size[i], 0) + _width(value_size[i])
        size += max(value_size[i], 0) + max(header, 1)
        if size > end - at - _width(size):
            break
        at = _put(at, size)
        store_u8(at, 0)
        at = _put(_put(at + 1, stamp - base_ms), i - first)
        at = _put_sized(at, source + key_at[i], key_size[i])
        at = _put_sized(at, source + value_at[i], value_size[i])
        if header > 0:
            copy(at, source + header_at[i], header)
        else:
            store_u8(at, 0)
        at += max(header, 1)
        max_ms = max(max_ms, stamp)
        i += 1
    store_i64_be(start, 0)
    store_i32_be(start + BEFORE_LENGTH, -1)  # the leader's epoch, which the broker fills in
    store_u8(start + MAGIC, 2)
    store_i32_be(start + LAST_DELTA, i - first - 1)
    store_i64_be(start + BASE_TIME, base_ms)
    store_i64_be(start + MAX_TIME, max_ms)
    store_i32_be(start + COUNT, i - first)
    told[0], told[1] = i, at - start


@kernel("void(uint8[::1], int64, int64, int64, int64)")
def seal(batch: Any, attributes: int, producer: int, epoch: int, sequence: int) -> None:
    """Writes what is known when a batch is sent, its length and its checksum."""
    start, size = start_of(batch), len(batch)
    store_i32_be(start + LENGTH, size - BEFORE_LENGTH)
    store_u16_be(start + ATTRIBUTES, attributes)
    store_i64_be(start + PRODUCER, producer)
    store_u16_be(start + EPOCH, epoch)
    store_i32_be(start + SEQUENCE, sequence)
    store_i32_be(start + CRC, crc32c(start + ATTRIBUTES, size - ATTRIBUTES))
