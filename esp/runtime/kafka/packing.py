"""Blocks as record batches for aiokafka's producer: one kernel lays all records down, small ones as the producer takes them, and seals its numbers in."""

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

AT_ONCE_BYTES = 256 << 10  # less than this is laid on the event loop: a thread would take longer to begin
_NOTHING = np.empty(0, np.uint8)


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


class OpenBatch(ColumnBatch):
    """A batch that is laid when the sender takes it: what comes until then goes with it."""

    def __init__(self, packing: "ColumnPacking") -> None:
        super().__init__(_NOTHING, np.zeros(BATCH, np.int64), packing.attributes)
        self._packing, self._closed = packing, False
        self.taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._data, self._state = self._packing.lay_some()
            self.taken.set_result(None)

    def record_count(self) -> int:
        """Closes it: the first to ask is the sender, as it takes the batch."""
        self.close()
        return super().record_count()

    def _build(self) -> memoryview:
        self.close()
        return super()._build()


class _Part(NamedTuple):
    block: RawBlock
    row: int  # the first that is not in a batch yet
    size: int  # the most bytes that it takes


class ColumnPacking:
    """Packs what waits in one pass; what is large or compressed is packed ahead, in a thread beside the event loop."""

    def __init__(self, limit: int, codec: int, threads: ThreadPoolExecutor, is_transactional: bool = False) -> None:
        self.limit, self.codec, self.threads = limit, codec, threads
        self.attributes = TRANSACTIONAL if is_transactional else 0
        self.parts: collections.deque[_Part] = collections.deque()
        self._open: OpenBatch | None = None

    def __bool__(self) -> bool:
        return bool(self.parts)

    def add(self, block: RawBlock, size: int) -> None:
        self.parts.append(_Part(block, 0, size - HEADER * (len(block) - 1)))

    async def pack(self) -> ColumnBatch:
        if not self.codec and sum(part.size for part in self.parts) <= AT_ONCE_BYTES:
            self._open = OpenBatch(self)
            return self._open
        self._open, taken = None, self._take(self.limit)
        data, state, codec, left = await asyncio.get_running_loop().run_in_executor(
            self.threads, build, taken, self.limit, self.codec
        )
        self.parts.extendleft(reversed(left))
        return ColumnBatch(data, state, codec | self.attributes)

    async def taken(self) -> None:
        if self._open is not None:
            await self._open.taken

    def lay_some(self) -> tuple[U8, I64]:
        """A batch of what waits, no more than the event loop has time for."""
        limit = min(self.limit, AT_ONCE_BYTES)
        data, state, _, left = build(self._take(limit), limit, 0)
        self.parts.extendleft(reversed(left))
        return data, state

    def _take(self, limit: int) -> list[_Part]:
        """The parts that wait, until they fill a batch."""
        taken, size = list[_Part](), 0
        while self.parts and size < limit:
            taken.append(self.parts.popleft())
            size += taken[-1].size
        return taken


def build(parts: Sequence[_Part], limit: int, codec: int) -> tuple[U8, I64, int, list[_Part]]:
    """A batch of at most ``limit`` bytes (a record that is larger is alone): its bytes, their state, its codec; and the parts that do not fit."""
    room = HEADER + max(min(sum(part.size for part in parts), limit - HEADER), _most_bytes(parts[0].block, parts[0].row))
    out, state, now_ms = np.empty(room, np.uint8), np.zeros(BATCH, np.int64), int(time.time() * 1e3)
    for at, (block, row, size) in enumerate(parts):
        after = lay(
            block.buffer, block.value_at, block.value_size, block.key_at, block.key_size, block.header_at, block.header_size,
            block.ts_ms, row, now_ms, out, state,
        )  # fmt: skip
        if after < len(block):
            return *_finished(out, state, codec), [_Part(block, after, size), *parts[at + 1 :]]
    return *_finished(out, state, codec), []


def _finished(out: U8, state: I64, codec: int) -> tuple[U8, I64, int]:
    """The batch compressed, unless that makes it no smaller: what just fits the topic must go on fitting."""
    data = out[: state[SIZE]]
    shrunk = shrink(codec, data[HEADER:]) if codec else b""
    if not codec or len(shrunk) >= len(data) - HEADER:
        return data, state, 0
    return np.concatenate((out[:HEADER], np.frombuffer(shrunk, np.uint8))), state, codec


def _most_bytes(block: RawBlock, row: int) -> int:
    """The most bytes that a record takes in a batch, its header left out."""
    parts = (block.value_size[row], block.key_size[row], block.header_size[row])
    return MOST_OVERHEAD + sum(max(int(part), 0) for part in parts)


require(MessageAccumulator.add_batch, "self builder tp timeout")
require(BatchBuilder._set_producer_state, "self producer_id producer_epoch base_sequence")
require_use(MessageAccumulator._pop_batch, ["record_count"])
require_use(MessageBatch.set_producer_state, ["_set_producer_state"])
require_use(MessageBatch.get_data_buffer, ["_build"])
require_use(AIOKafkaProducer.send_batch, ["add_batch"])
