"""Two requests at a broker while a stream is behind, one that waits for records once it is not; every record once, in order."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.protocol.fetch import FetchRequest

from esp.runtime.connect import connection, open_sink
from esp.runtime.events import raw_block
from esp.runtime.kafka import pipelined
from esp.runtime.kafka.fetching import ColumnFetcher
from esp.runtime.kafka.pipelined import PipelinedFetcher
from tests.runtime.kafka.members import Member

NODE, HELD_MS = 1, 100
Places = list[tuple[int, int, int]]


def fetcher(rich: set[int], flying: dict[int, int], isolation: int = READ_UNCOMMITTED) -> Any:
    """A fetcher without a client, with numbers of partitions of the topic t."""
    made: Any = object.__new__(PipelinedFetcher)
    made._rich = {TopicPartition("t", number) for number in rich}
    made._flying = {TopicPartition("t", number): node for number, node in flying.items()}
    made._isolation_level, made._client_rack = isolation, None
    made._fetch_min_bytes, made._fetch_max_bytes, made._max_partition_fetch_bytes = 1, 16 << 20, 4 << 20
    made._closed = True
    return made


def sent(
    fetcher: Any, numbers: list[int], at: int = 50, highwater: int | None = 100, lso: int | None = 100
) -> list[tuple[int, Places]]:
    """How long the broker may hold each request, and what it is to bring, where partitions stand at an offset and end at another."""
    request = FetchRequest(HELD_MS, 1, 16 << 20, 0, [("t", [(number, at, 4 << 20) for number in numbers])])
    assignment = SimpleNamespace(state_value=lambda tp: SimpleNamespace(highwater=highwater, lso=lso))
    parts = fetcher._parts(assignment, NODE, request)
    assert all(node == NODE for node, _ in parts)
    return [(part._max_wait_ms, [place for _, places in part.topics for place in places]) for _, part in parts]


def numbers(parts: list[tuple[int, Places]]) -> list[tuple[int, list[int]]]:
    return [(wait_ms, [place[0] for place in places]) for wait_ms, places in parts]


def test_partitions_that_are_behind_are_asked_for_in_two_requests_that_nobody_holds() -> None:
    parts = sent(fetcher({0, 1, 2}, {}), [2, 0, 1])
    assert parts == [(0, [(2, 50, 4 << 20), (0, 50, 4 << 20)]), (0, [(1, 50, 4 << 20)])]
    assert numbers(sent(fetcher({0}, {}), [0])) == [(0, [0])]


def test_beside_a_request_in_flight_goes_one_more() -> None:
    assert numbers(sent(fetcher({0, 1, 2, 3}, {2: NODE, 3: NODE}), [0, 1])) == [(0, [0, 1])]
    assert numbers(sent(fetcher({0, 1, 2}, {2: NODE + 1}), [0, 1])) == [(0, [0]), (0, [1])]  # that is another broker's


def test_what_may_find_nothing_waits_for_what_is_in_flight_and_then_goes_as_one() -> None:
    poor = fetcher({0, 1}, {3: NODE})
    assert sent(poor, [0, 1, 2]) == []
    poor._flying = {}
    assert numbers(sent(poor, [0, 1, 2, 3])) == [(HELD_MS, [0, 1, 2, 3])]


@pytest.mark.parametrize(
    ("isolation", "highwater", "lso"), [(READ_UNCOMMITTED, 50, 100), (READ_COMMITTED, 100, 50), (READ_COMMITTED, 100, None)]
)
def test_a_partition_that_has_come_to_its_end_is_not_behind(isolation: int, highwater: int, lso: int | None) -> None:
    assert numbers(sent(fetcher({0, 1}, {}, isolation), [0, 1], 50, highwater, lso)) == [(HELD_MS, [0, 1])]
    assert len(sent(fetcher({0, 1}, {}, isolation), [0, 1], 49, highwater, 50 if lso is None else lso)) == 2


def test_every_record_comes_once_and_then_the_broker_is_asked_as_seldom_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = pytest.importorskip("esp.demo.broker")
    monkeypatch.setattr(pipelined, "MUCH_BYTES", 20_000)
    original, flying, most, held = ColumnFetcher._fetch, [0], [0], list[int]()

    async def noted(self: Any, assignment: Any, node: int, request: Any) -> Any:
        held.append(request._max_wait_ms)
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        try:
            return await original(self, assignment, node, request)
        finally:
            flying[0] -= 1

    monkeypatch.setattr(ColumnFetcher, "_fetch", noted)

    async def run(bootstrap: str) -> None:
        sink = open_sink(
            connection({"connector": "kafka", "topic": "t", "brokers": bootstrap, "max_batch_bytes": 8192}, "q"), where="q"
        )
        await sink.start()
        for partition in range(4):
            await sink.send(raw_block([b"%d " % i + bytes(1000) for i in range(1000)], partition=partition))
        await sink.flush()
        await sink.stop()
        async with Member(bootstrap, "t", max_partition_fetch_bytes=40_000, fetch_max_wait_ms=HELD_MS) as member:
            records = await member.read(4000)
            for partition in range(4):
                mine = [record for record in records if record[0] == partition]
                assert [record[1] for record in mine] == list(range(1000))
                assert [int((record[3] or b"").split()[0]) for record in mine] == list(range(1000))
            assert most == [2]
            held.clear()
            for _ in range(3):
                await member.step()
            assert held.count(0) <= 2  # those that were on their way

    with broker.EmbeddedBroker() as embedded:
        embedded.create_topic("t", 4)
        asyncio.run(run(embedded.bootstrap))
