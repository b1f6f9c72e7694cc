"""Records as aiokafka hands them out, joined into a block: a few operations of Python a record."""

from typing import Any

import numpy as np
from aiokafka import ConsumerRecord

from esp.runtime.events import I64, RawBlock
from esp.runtime.headers import encode_headers


def block_of(topic: str, partition: int, records: list[ConsumerRecord[bytes, bytes]]) -> RawBlock:
    """The records of one partition as a block."""
    n = len(records)
    parts, value_size = _sized([record.value for record in records])
    value_at = np.cumsum(np.maximum(value_size, 0)) - np.maximum(value_size, 0)
    none, zero = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    key_at = header_at = zero
    key_size = header_size = none
    total = int(np.maximum(value_size, 0).sum())
    keys = [record.key for record in records]
    if keys.count(None) < n:
        more, key_size = _sized(keys)
        key_at = total + np.cumsum(np.maximum(key_size, 0)) - np.maximum(key_size, 0)
        total += int(np.maximum(key_size, 0).sum())
        parts = [*parts, *more]
    headers = [record.headers for record in records]
    if any(headers):
        encoded = list(map(encode_headers, headers))
        more, header_size = _sized(encoded)
        header_at = total + np.cumsum(header_size) - header_size
        parts = [*parts, *more]
    offset = np.fromiter([record.offset for record in records], np.int64, n)
    ts_ms = np.fromiter([record.timestamp or 0 for record in records], np.int64, n)  # the oldest format has none
    buffer = np.frombuffer(b"".join(parts), np.uint8)
    return RawBlock(topic, partition, buffer, value_at, value_size, key_at, key_size, header_at, header_size, offset, ts_ms)


def _sized(parts: list[Any]) -> tuple[list[bytes], I64]:
    """The parts that are there, and the size of each (-1 = null)."""
    try:
        return parts, np.fromiter(map(len, parts), np.int64, len(parts))
    except TypeError:
        size = np.fromiter((-1 if part is None else len(part) for part in parts), np.int64, len(parts))
        return [part for part in parts if part is not None], size
