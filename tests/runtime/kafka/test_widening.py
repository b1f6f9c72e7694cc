"""A changelog that cannot have as many partitions as its source: one line that says so, and how to mend it."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import InvalidPartitionsError, KafkaError, TopicAuthorizationFailedError

from esp.errors import StateError
from esp.runtime.kafka import widening
from esp.runtime.kafka.settings import KafkaConnection

CHANGELOG = KafkaConnection(connector="kafka", topic="changelog")


def _cluster(monkeypatch: pytest.MonkeyPatch, counts: list[int], answer: KafkaError) -> list[int]:
    """Stands in for the cluster: ``counts`` are the partitions that it tells of, one after the other; gives what was asked for."""
    asked: list[int] = []

    class Admin:
        def __init__(self, **_: Any) -> None: ...

        async def start(self) -> None: ...

        async def close(self) -> None: ...

        async def describe_topics(self, _: list[str]) -> list[Any]:
            return [{"error_code": 0, "partitions": [{"leader": 1, "replicas": [1]}] * counts.pop(0)}]

        async def create_partitions(self, wanted: dict[str, Any]) -> None:
            asked.append(wanted["changelog"].total_count)
            raise answer

    monkeypatch.setattr(widening, "AIOKafkaAdminClient", Admin)
    return asked


def test_a_cluster_that_refuses_is_told_in_a_line_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    _cluster(monkeypatch, [2], TopicAuthorizationFailedError())
    told = (
        r"^q.toml: 127.0.0.1:9092: the changelog 'changelog' has fewer partitions than its source, 3, and gets no more "
        r"\(TopicAuthorizationFailedError\); give it as many, or let us alter it$"
    )
    with pytest.raises(StateError, match=told):
        asyncio.run(widening.widen(CHANGELOG, "q.toml", 3))


def test_an_engine_that_comes_second_sees_what_the_first_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _cluster(monkeypatch, [2, 2, 5], InvalidPartitionsError())
    assert asyncio.run(widening.widen(CHANGELOG, "q.toml", 3)) == 5
    assert asked == [3]


def test_partitions_that_are_there_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _cluster(monkeypatch, [4], InvalidPartitionsError())
    assert asyncio.run(widening.widen(CHANGELOG, "q.toml", 3)) == 4
    assert asked == []
