"""What stands still in a source is told after ten seconds in which the cluster could have answered, and no sooner."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from esp.runtime.kafka import standstill as module
from esp.runtime.kafka.standstill import Standstill

START_S = 1000.0


class Consumer:
    """Knows when each partition answered last."""

    def __init__(self, *partitions: int) -> None:
        self.answers = {TopicPartition("t", partition): 0.0 for partition in partitions}
        self._fetcher = SimpleNamespace(_records={})

    def last_poll_timestamp(self, part: TopicPartition) -> float:
        if part not in self.answers:
            raise IllegalStateError("it is not assigned")
        return self.answers[part]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [START_S]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def source_of(*partitions: int) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(topic="t", fetch_max_wait_ms=100), _consumer=Consumer(*partitions), _position=dict.fromkeys(partitions, 0), _paused=set()
    )  # fmt: skip


@pytest.mark.parametrize("what", ["the group gives no partitions", "offsets wait to be committed"])
def test_work_that_has_begun_and_does_not_end_is_told_until_it_ends(clock: list[float], what: str) -> None:
    standstill = Standstill(source_of())
    standstill.begin(what)
    clock[0] += 9.9
    assert standstill.what(START_S) == ""
    clock[0] += 0.2
    assert standstill.what(START_S) == what
    assert standstill.what(START_S + 5) == ""  # the cluster has answered for five seconds alone
    standstill.end(what)
    assert standstill.what(START_S) == ""


def test_a_partition_that_is_fetched_and_gives_no_answer_is_told_until_it_answers(clock: list[float]) -> None:
    source = source_of(0, 1, 2, 3)
    source._paused = {2}
    source._consumer._fetcher._records = {TopicPartition("t", 3): "what was fetched and not yet taken"}
    standstill = Standstill(source)
    assert standstill.what(START_S) == ""
    clock[0] += 5
    source._consumer.answers[TopicPartition("t", 1)] = 1.0
    assert standstill.what(START_S) == ""
    clock[0] += 5.2
    assert standstill.what(START_S) == "partition 0 gives no answer"
    clock[0] += 5
    assert standstill.what(START_S) == "partition 0, 1 gives no answer"
    source._consumer.answers = dict.fromkeys(source._consumer.answers, 2.0)
    assert standstill.what(START_S) == ""


def test_a_partition_that_moves_just_now_is_no_trouble(clock: list[float]) -> None:
    source = source_of(0)
    standstill = Standstill(source)
    assert standstill.what(START_S) == ""
    del source._consumer.answers[TopicPartition("t", 0)]
    clock[0] += 20
    assert standstill.what(START_S) == ""
