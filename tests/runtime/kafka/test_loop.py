"""What the event loop does with records does not grow with their number: as many calls for ten as for ten thousand."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esp.kernels.records_write import BATCH, SIZE, lay, seal
from esp.runtime.connect import connection
from esp.runtime.events import RawBlock, raw_block
from esp.runtime.kafka.packing import _Part, build
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from tests.runtime.kafka.test_fetched import fetched


def calls(work: Callable[[], Any]) -> int:
    """Calls of Python and C functions that some work takes."""
    count = 0

    def seen(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what a collection calls is no part of the work
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def records(n: int) -> RawBlock:
    return raw_block([b"value"] * n, keys=[b"key"] * n, ts_ms=[1] * n)


def batch(n: int) -> bytes:
    block, state, out = records(n), np.zeros(BATCH, np.int64), np.zeros(1 << 20, np.uint8)
    lay(
        block.buffer, block.value_at, block.value_size, block.key_at, block.key_size, block.header_at, block.header_size,
        block.ts_ms, 0, 1, out, state,
    )  # fmt: skip
    seal(out[: state[SIZE]], state, 0, -1, -1, -1)
    return out[: state[SIZE]].tobytes()


def fetch(n: int) -> Callable[[], Any]:
    data = batch(n)
    return lambda: fetched(data)


def read(n: int) -> Callable[[], Any]:
    return fetched(batch(n)).block


def pack(n: int) -> Callable[[], Any]:
    block = records(n)
    return lambda: build([_Part(block, 0, 50 * n)], 1 << 20, 0)


def send(n: int) -> Callable[[], Any]:
    settings = connection({"connector": "kafka", "topic": "t", "partition_by": "key"}, "q")
    assert isinstance(settings, KafkaConnection)
    sink, block = KafkaSink(settings, "q"), records(n)
    sink._lanes = dict.fromkeys(range(3))  # type: ignore[assignment]
    return lambda: sink._parted(block)


@pytest.mark.parametrize("work", [fetch, read, pack, send])
def test_as_many_calls_for_ten_records_as_for_ten_thousand(work: Callable[[int], Callable[[], Any]]) -> None:
    few, many = work(10), work(10_000)
    few(), many()  # what is done once is done
    assert calls(few) == calls(many) > 0
