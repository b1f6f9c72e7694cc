"""Parts of the Kafka connector that need no broker: what is counted as in flight, what a dead letter may weigh, what the watch bears."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from esp.errors import TransportError
from esp.runtime.connect import connection
from esp.runtime.dead_letters import dead_letters
from esp.runtime.events import DeadBlock, raw_block
from esp.runtime.headers import encode_headers
from esp.runtime.kafka import cluster
from esp.runtime.kafka import sink as sink_module
from esp.runtime.kafka.client_packing import ClientPacking
from esp.runtime.kafka.cluster import Topic, Watch
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink


class StillSink(KafkaSink):
    """Takes blocks and never hands them over."""

    def __init__(self, limit: int | None = None, **settings: Any) -> None:
        found = connection({"connector": "kafka", "topic": "t", **settings}, "q")
        assert isinstance(found, KafkaConnection)
        super().__init__(found, "q")
        self._topic, self._lanes = Topic(1, limit), {0: sink_module._Lane(ClientPacking(None))}

    async def _run(self, partition: int, lane: Any) -> None:
        pass

    def taken(self) -> list[Any]:
        return [record for records in self._lanes[0].packing.waiting for record in records]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_headers_and_records_without_a_value_count_as_in_flight() -> None:
    async def check() -> None:
        sink = StillSink()
        await sink.send(raw_block([None] * 10))
        assert sink._in_flight_bytes >= 10
        before = sink._in_flight_bytes
        await sink.send(raw_block([b"v"], headers=[encode_headers([("a", b"h" * 5000)])]))
        assert sink._in_flight_bytes - before > 5000

    run(check())


@pytest.mark.parametrize("settings", [{"limit": 2000}, {"max_batch_bytes": 2000}, {"limit": 2000, "compression": "gzip"}])
def test_a_dead_letter_that_the_topic_does_not_take_is_cut_and_logged(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    raw = raw_block([b"x" * 1900, b"ok"])
    letters = dead_letters(DeadBlock(raw, np.array([0, 1]), ("why", "why"), "w"), "moves")

    async def check() -> None:
        sink = StillSink(**settings)
        await sink.send(letters)
        (_, _, first, headers), (_, _, second, _) = sink.taken()
        assert (first, second) == (None, b"ok")
        assert headers[-1] == ("esp-cut", b"1900")
        assert (sink.letters_cut, sink.letters_lost) == (1, 0)

    run(check())
    assert "dead letters larger than 2000 bytes: 1 cut, 0 left out" in caplog.text


def test_a_record_of_that_size_that_is_no_dead_letter_is_refused() -> None:
    async def check() -> None:
        with pytest.raises(TransportError, match="more than topic 't' takes"):
            await StillSink(limit=2000).send(raw_block([b"x" * 1950]))

    run(check())


def test_a_watch_whose_client_raises_says_not_connected_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WATCH_S", 0.0)

    async def check() -> None:
        answers = iter([OSError("no route"), True])
        gone, back = asyncio.Event(), asyncio.Event()

        async def ask() -> bool:
            answer = next(answers, None)
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                back.set()
            gone.set() if not watch.connected else None
            return True

        watch = Watch(ask, "q: t")
        async with asyncio.timeout(10):
            await gone.wait()
            await back.wait()
        assert watch.connected
        await watch.stop()

    run(check())
