"""Blocks as record batches for aiokafka's producer: one kernel lays all records down, the producer's numbers are sealed in when it sends."""

import asyncio
import collections
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch

from esp.kernels.records import HEADER, TRANSACTIONAL
from esp.kernels.records_write import BATCH, MOST_OVERHEAD, RECORDS, SIZE, lay, seal
from esp.runtime.events import I64, U8, RawBlock
from esp.runtime.kafka.binding import require, require_use
from esp.runtime.kafka.compression import shrink

AT_ONCE_BYTES = 256 << 10  # less than this is built on the event loop: a thread would take longer to begin


class ColumnBatch(BatchBuilder):
    """A whole batch: ``data`` with room for its header, ``state`` what ``lay`` knows of it."""

    def __init__(self, data: U8, state: I64, attributes: int) -> None:
        self._data, self._state, self._attributes = data, state, attributes
        self._producer, self._sealed, self._closed = (-1, -1, -1), False, True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> memoryview:
        if not self._sealed:
            seal(self._data, self._state, self._attributes, *self._producer)
            self._sealed = True
        return self._data.data

    def append(self, **_record: Any) -> None:
        """Full: nothing more is taken."""

    def size(self) -> int:
        return len(self._data)

    def record_count(self) -> int:
        return int(self._state[RECORDS])


class _Part(NamedTuple):
    block: RawBlock
    row: int  # the first that is not in a batch yet
    size: int  # the most bytes that it takes


class ColumnPacking:
    """Packs what waits in one pass; what is large or compressed is packed in a thread beside the event loop."""

    def __init__(self, limit: int, codec: int, threads: ThreadPoolExecutor, is_transactional: bool = False) -> None:
        self.limit, self.codec, self.threads = limit, codec, threads
        self.attributes = TRANSACTIONAL if is_transactional else 0
        self.parts: collections.deque[_Part] = collections.deque()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def add(self, block: RawBlock, size: int) -> None:
        self.parts.append(_Part(block, 0, size - HEADER * (len(block) - 1)))

    async def pack(self) -> ColumnBatch:
        taken, size = [], 0
        while self.parts and size < self.limit:
            taken.append(self.parts.popleft())
            size += taken[-1].size
        if self.codec or size > AT_ONCE_BYTES:
            batch, left = await asyncio.get_running_loop().run_in_executor(self.threads, build, taken, self.limit, self.codec)
        else:
            batch, left = build(taken, self.limit, self.codec)
        batch._attributes |= self.attributes
        self.parts.extendleft(reversed(left))
        return batch


def build(parts: Sequence[_Part], limit: int, codec: int) -> tuple[ColumnBatch, list[_Part]]:
    """A batch of at most ``limit`` bytes (a record that is larger is alone), and the parts that do not fit."""
    room = HEADER + max(min(sum(part.size for part in parts), limit - HEADER), _most_bytes(parts[0].block, parts[0].row))
    out, state, now_ms = np.empty(room, np.uint8), np.zeros(BATCH, np.int64), int(time.time() * 1e3)
    for at, (block, row, size) in enumerate(parts):
        after = lay(
            block.buffer, block.value_at, block.value_size, block.key_at, block.key_size, block.header_at, block.header_size,
            block.ts_ms, row, now_ms, out, state,
        )  # fmt: skip
        if after < len(block):
            return _finished(out, state, codec), [_Part(block, after, size), *parts[at + 1 :]]
    return _finished(out, state, codec), []


def _finished(out: U8, state: I64, codec: int) -> ColumnBatch:
    """The batch compressed, unless that makes it no smaller: what just fits the topic must go on fitting."""
    data = out[: state[SIZE]]
    shrunk = shrink(codec, data[HEADER:]) if codec else b""
    if not codec or len(shrunk) >= len(data) - HEADER:
        return ColumnBatch(data, state, 0)
    return ColumnBatch(np.concatenate((out[:HEADER], np.frombuffer(shrunk, np.uint8))), state, codec)


def _most_bytes(block: RawBlock, row: int) -> int:
    """The most bytes that a record takes in a batch, its header left out."""
    parts = (block.value_size[row], block.key_size[row], block.header_size[row])
    return MOST_OVERHEAD + sum(max(int(part), 0) for part in parts)


require(MessageAccumulator.add_batch, "self builder tp timeout")
require(BatchBuilder._set_producer_state, "self producer_id producer_epoch base_sequence")
require_use(MessageBatch.set_producer_state, ["_set_producer_state"])
require_use(MessageBatch.get_data_buffer, ["_build"])
require_use(AIOKafkaProducer.send_batch, ["add_batch"])
