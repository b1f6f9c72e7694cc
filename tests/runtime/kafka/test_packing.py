"""Batches as the producer gets them: read back by aiokafka, cut at their limit, filled from what waits."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords

from esp.runtime.events import RawBlock, raw_block
from esp.runtime.kafka import packing
from esp.runtime.kafka.compression import CODECS
from esp.runtime.kafka.packing import ColumnBatch, ColumnPacking
from esp.runtime.kafka.sink import _sizes
from tests.kernels.test_records import drawn


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def packed(threads: ThreadPoolExecutor, limit: int, codec: int, *blocks: RawBlock) -> list[ColumnBatch]:
    async def run() -> list[ColumnBatch]:
        waiting, batches = ColumnPacking(limit, codec, threads), []
        for block in blocks:
            waiting.add(block, _sizes(block)[1])
        while waiting:
            batches.append(await waiting.pack())
            batches[-1].close()
            await waiting.taken()
        return batches

    return asyncio.run(run())


def records_of(batch: ColumnBatch, sequence: int = 0) -> list[Any]:
    batch._set_producer_state(11, 2, sequence)
    data = bytes(batch._build())
    assert len(data) == batch.size()
    found = MemoryRecords(data).next_batch()
    assert found.validate_crc()
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == (11, 2, sequence)
    records = list(found)
    assert [record.offset for record in records] == list(range(batch.record_count()))
    return [(record.timestamp, record.key, record.value, list(record.headers)) for record in records]


def expected(block: RawBlock, headers: list[Any]) -> list[Any]:
    return [(int(block.ts_ms[i]), block.key(i), block.value(i), headers[i]) for i in range(len(block))]


@pytest.mark.parametrize("codec", [0, *CODECS.values()])
@pytest.mark.parametrize("limit", [300, 5_000, 1 << 20])
def test_aiokafka_reads_every_record_once_and_in_order(threads: ThreadPoolExecutor, codec: int, limit: int) -> None:
    drawn_blocks = [drawn(n, n) for n in (1, 200, 3, 50)]
    batches = packed(threads, limit, codec, *(block for block, _ in drawn_blocks))
    assert len(batches) == 1 if limit == 1 << 20 else len(batches) > 1
    found = [record for batch in batches for record in records_of(batch)]
    assert found == [record for block, headers in drawn_blocks for record in expected(block, headers)]


def test_no_batch_is_larger_than_its_limit_unless_one_record_is(threads: ThreadPoolExecutor) -> None:
    block = raw_block([b"x" * size for size in (400, 400, 400, 5_000, 400)], ts_ms=[1] * 5)
    batches = packed(threads, 1_000, 0, block)
    assert [batch.record_count() for batch in batches] == [2, 1, 1, 1]
    assert [batch.size() <= 1_000 for batch in batches] == [True, True, False, True]


def test_rows_of_a_block_are_packed_without_the_rest_of_its_buffer(threads: ThreadPoolExecutor) -> None:
    block = raw_block([b"x" * 10_000, b"y"], ts_ms=[1, 2]).take(np.array([1]))
    (batch,) = packed(threads, 1 << 20, 0, block)
    assert batch.size() < 100
    assert records_of(batch) == [(2, None, b"y", [])]


def test_a_batch_that_is_sent_again_keeps_its_bytes(threads: ThreadPoolExecutor) -> None:
    (batch,) = packed(threads, 1 << 20, 0, drawn(5)[0])
    batch._set_producer_state(1, 2, 3)
    first = bytes(batch._build())
    assert bytes(batch._build()) == first
    assert batch.append(timestamp=1, key=None, value=b"more") is None


def test_what_comes_until_the_sender_takes_a_batch_goes_with_it(threads: ThreadPoolExecutor) -> None:
    def block(text: bytes) -> RawBlock:
        return raw_block([text], ts_ms=[1])

    async def run() -> None:
        waiting = ColumnPacking(1 << 20, 0, threads)
        waiting.add(block(b"a"), 100)
        batch = await waiting.pack()
        waiting.add(block(b"b"), 100)
        taking = asyncio.ensure_future(waiting.taken())
        await asyncio.sleep(0)
        assert not taking.done()
        assert batch.record_count() == 2  # as the sender asks when it takes it
        waiting.add(block(b"c"), 100)
        await taking
        assert [value for _, _, value, _ in records_of(batch)] == [b"a", b"b"]
        assert [value for _, _, value, _ in records_of(await waiting.pack())] == [b"c"]

    asyncio.run(run())


def test_a_batch_that_fills_up_while_it_waits_is_no_larger_than_the_loop_has_time_for(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "AT_ONCE_BYTES", 1_000)

    async def run() -> None:
        waiting = ColumnPacking(1 << 20, 0, threads)
        for _ in range(10):
            waiting.add(raw_block([b"x" * 300], ts_ms=[1]), 400)
            if len(waiting.parts) == 1:
                first = await waiting.pack()
        assert first.record_count() == 3
        assert first.size() <= 1_000
        assert (await waiting.pack()).record_count() == 7  # too much for the loop: a thread's

    asyncio.run(run())


def test_what_is_large_is_packed_beside_the_loop(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    names, build = [], packing.build

    def noted(*args: Any) -> Any:
        names.append(threading.current_thread() is threading.main_thread())
        return build(*args)

    monkeypatch.setattr(packing, "build", noted)
    packed(threads, 1 << 20, 0, raw_block([b"x"]))
    packed(threads, 1 << 20, 0, raw_block([b"x" * packing.AT_ONCE_BYTES]))
    packed(threads, 1 << 20, CODECS["lz4"], raw_block([b"x"]))
    assert names == [True, False, False]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_compression_makes_no_smaller_goes_as_it_is(threads: ThreadPoolExecutor, codec: int) -> None:
    block = raw_block([np.random.default_rng(0).bytes(900)], ts_ms=[1])
    (batch,) = packed(threads, 1_000, codec, block)
    assert batch.size() <= 1_000
    assert records_of(batch) == [(1, None, block.value(0), [])]
