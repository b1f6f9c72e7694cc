"""Columns as a Kafka record batch (format 2): one pass lays the records down, of one block after another, a last call seals the header.

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
SIZE, RECORDS, FIRST_MS, LAST_MS, BATCH = range(5)  # what is known of a batch while it is filled
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


@kernel(f"int64({', '.join([_LONGS] * 3)}, int64, int64[::1])")
def most_bytes(value_size: Any, key_size: Any, header_size: Any, overhead: int, out: Any) -> int:
    """The most bytes that each record takes, and all together; ``overhead`` is what it takes beside key, value and headers. All int64[n]."""
    total = 0
    for i in range(len(out)):
        out[i] = overhead + max(value_size[i], 0) + max(key_size[i], 0) + max(header_size[i], 0)
        total += out[i]
    return total


@kernel(f"int64({_BYTES}, {', '.join([_LONGS] * 7)}, int64, int64, uint8[::1], int64[::1])")
def lay(
    buffer: Any, value_at: Any, value_size: Any, key_at: Any, key_size: Any, header_at: Any, header_size: Any, ts_ms: Any,
    first: int, now_ms: int, out: Any, batch: Any,
) -> int:  # fmt: skip
    """Writes records from row ``first`` on into ``out`` behind those that are there, as many as fit; gives the row after the last.

    The columns are those of a RawBlock; a stamp that is not above 0 is ``now_ms``. ``batch`` int64[BATCH] is the batch so far, zeros at first.
    """
    start, n = start_of(out), len(value_at)
    if batch[RECORDS] == 0 and first < n:
        batch[SIZE] = HEADER
        batch[FIRST_MS] = batch[LAST_MS] = ts_ms[first] if ts_ms[first] > 0 else now_ms
    source, end, at, i, delta = start_of(buffer), start + len(out), start + batch[SIZE], first, batch[RECORDS]
    while i < n:
        stamp = ts_ms[i] if ts_ms[i] > 0 else now_ms
        header = max(header_size[i], 0)
        size = (
            1 + _width(stamp - batch[FIRST_MS]) + _width(delta) + _width(key_size[i]) + max(key_size[i], 0) + _width(value_size[i])
        )
        size += max(value_size[i], 0) + max(header, 1)
        if size > end - at - _width(size):
            break
        at = _put(at, size)
        store_u8(at, 0)
        at = _put(_put(at + 1, stamp - batch[FIRST_MS]), delta)
        at = _put_sized(at, source + key_at[i], key_size[i])
        at = _put_sized(at, source + value_at[i], value_size[i])
        if header > 0:
            copy(at, source + header_at[i], header)
        else:
            store_u8(at, 0)
        at += max(header, 1)
        batch[LAST_MS] = max(batch[LAST_MS], stamp)
        delta += 1
        i += 1
    batch[SIZE], batch[RECORDS] = at - start, delta
    return i


@kernel("void(uint8[::1], int64[::1], int64, int64, int64, int64)")
def seal(data: Any, batch: Any, attributes: int, producer: int, epoch: int, sequence: int) -> None:
    """Writes the header of a batch and its checksum; ``data`` is the whole batch, its records compressed or not."""
    start, size = start_of(data), len(data)
    store_i64_be(start, 0)
    store_i32_be(start + LENGTH, size - BEFORE_LENGTH)
    store_i32_be(start + BEFORE_LENGTH, -1)  # the leader's epoch, which the broker fills in
    store_u8(start + MAGIC, 2)
    store_u16_be(start + ATTRIBUTES, attributes)
    store_i32_be(start + LAST_DELTA, batch[RECORDS] - 1)
    store_i64_be(start + BASE_TIME, batch[FIRST_MS])
    store_i64_be(start + MAX_TIME, batch[LAST_MS])
    store_i64_be(start + PRODUCER, producer)
    store_u16_be(start + EPOCH, epoch)
    store_i32_be(start + SEQUENCE, sequence)
    store_i32_be(start + COUNT, batch[RECORDS])
    store_i32_be(start + CRC, crc32c(start + ATTRIBUTES, size - ATTRIBUTES))
