"""Parts of the Kafka connector that need no broker: what is counted as in flight, what a dead letter may weigh, what the watch bears."""

import asyncio
import logging
import re
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import PartitionMetadata

from esp.errors import TransportError
from esp.runtime.connect import connection
from esp.runtime.dead_letters import dead_letters
from esp.runtime.events import DeadBlock, raw_block
from esp.runtime.headers import encode_headers
from esp.runtime.kafka import sink as sink_module
from esp.runtime.kafka import watch as watch_module
from esp.runtime.kafka.client_log import Heard
from esp.runtime.kafka.client_packing import ClientPacking
from esp.runtime.kafka.cluster import Topic
from esp.runtime.kafka.pacing import Pace
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.kafka.watch import Watch, Watched
from tests.runtime.memory_stream import until


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


def test_a_sink_that_is_busy_in_the_transactions_of_a_task_does_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(sink_module.time, "monotonic", lambda: clock[0])
    sink = StillSink()
    twin = sink.over(None)
    lane, fine = twin._lanes[0], SimpleNamespace(cancelled=lambda: False, exception=lambda: None)
    lane.handed = 5  # at every look something is in flight
    for _ in range(10):
        clock[0] += 2
        lane.handed += 10
        twin._on_acknowledged(lane, SimpleNamespace(record_count=lambda: 10, size=lambda: 100), fine)  # type: ignore[arg-type]
        assert sink._stalled(0.0) == ""
    clock[0] += watch_module.STALL_S + 1
    assert sink._stalled(0.0) == "the broker does not acknowledge the records"


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


class Client:
    """Answers with what it is given, one after another, and then that all is well."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = iter(answers), 0
        self.cluster = ClusterMetadata()
        self.cluster._partitions = {"t": {0: PartitionMetadata("t", 0, 1, [1], [1], None)}}

    async def force_metadata_update(self) -> bool:
        self.asked += 1
        answer = next(self.answers, True)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def get_random_node(self) -> None:
        return None


def test_a_watch_whose_client_raises_says_that_the_broker_is_gone_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch_module, "WATCH_S", 0.001)
    caplog.set_level(logging.INFO)

    async def check() -> None:
        client = Client(OSError("no route"), False, True)
        watch = Watch(Watched(client, "t", "q: t", Heard(), Pace(), lambda since_s: "", lambda found: None))
        async with asyncio.timeout(120):
            await until(lambda: client.asked > 4)
        assert (watch.trouble, watch.faults) == ("", 1)
        assert watch.away_s > 0
        await watch.stop()

    run(check())
    gone, back = [record.getMessage() for record in caplog.records]
    assert gone == "q: t: the Kafka broker is gone; trying on"
    assert re.fullmatch(r"q: t: the Kafka broker is back after \d+\.\d s", back)


def test_a_watch_tells_of_a_topic_that_has_gone_and_of_partitions_without_a_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WATCH_S", 0.001)

    async def check() -> None:
        client = Client()
        watch = Watch(Watched(client, "t", "q: t", Heard(), Pace(), lambda since_s: "it stands still", lambda found: None))
        async with asyncio.timeout(120):
            await until(lambda: watch.trouble == "it stands still")
            client.cluster._partitions["t"][3] = PartitionMetadata("t", 3, -1, [1], [1], None)
            await until(lambda: watch.trouble == "partition 3 of topic 't' has no leader")
            client.cluster._partitions = {}
            await until(lambda: watch.trouble == "there is no topic 't' any more, or we may not see it")
            client.cluster.unauthorized_topics = {"t"}
            await until(lambda: watch.trouble == "the cluster does not let us at topic 't'")
        await watch.stop()

    run(check())


def test_a_watch_says_what_the_client_has_complained_of_since_all_was_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WATCH_S", 0.001)

    async def check() -> None:
        client, heard, stalled = Client(), Heard("of an older trouble", 1), [""]
        watch = Watch(Watched(client, "t", "q: t", heard, Pace(), lambda since_s: stalled[0], lambda found: None))
        async with asyncio.timeout(120):
            stalled[0] = "it stands still"
            await until(lambda: watch.trouble == "it stands still")
            heard.fault, heard.count = "too few replicas", 2  # between two looks
            await until(lambda: watch.trouble == "it stands still (too few replicas)")
            asked = client.asked
            await until(lambda: client.asked > asked + 3)
            assert watch.trouble == "it stands still (too few replicas)"  # it may be long until the client tries again
            stalled[0] = ""
            await until(lambda: not watch.trouble)
            stalled[0] = "it stands still"
            await until(lambda: watch.trouble == "it stands still")
        await watch.stop()

    run(check())
