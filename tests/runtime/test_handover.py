"""Giving partitions up and taking them up: what waits is left to the next owner, what is done is saved in time, what comes back stays."""

import asyncio
import logging
import threading
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import pytest

from esp.runtime.connect import memory
from esp.runtime.runner import QueryRunner
from tests.runtime import streams
from tests.runtime.memory_stream import PARTITIONS, Stream, until, while_running

ALL = set(range(PARTITIONS))


@pytest.fixture(autouse=True)
def no_topics() -> None:
    memory.TOPICS.clear()


def answering(runner: QueryRunner, commits: Callable[[], dict[int, int]]) -> Any:
    """The source of events, which says that so much was committed of partitions that nobody else has had."""
    source: Any = runner.sources["events"]

    async def unmoved(partitions: Set[int]) -> dict[int, int]:
        return {number: offset for number, offset in commits().items() if number in partitions}

    source.unmoved = unmoved
    return source


async def after(is_so: Callable[[], bool], event: threading.Event) -> None:
    await until(is_so)
    event.set()


class Hold:
    """Something that the worker is about until it is let go."""

    def __init__(self) -> None:
        self.has_begun, self.going_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.has_begun.set()
        assert self.going_on.wait(300)

    async def begin(self, runner: QueryRunner) -> "asyncio.Task[None]":
        """Returns when the worker is about it."""
        holding = asyncio.create_task(runner.worker.call(self))
        await until(self.has_begun.is_set)
        return holding


async def rebalance(runner: QueryRunner, source: Any) -> dict[int, int | None]:
    """All partitions go and come back; the source goes on from where it is told, as one of Kafka does."""
    runner_polls = runner._polls["events"]
    async with runner_polls:
        await runner._revoked("events", ALL)
        answers = await runner._assigned("events", ALL)
        source._position = {number: offset or 0 for number, offset in answers.items()}
    source._news.set()
    return answers


def test_what_waits_is_read_again_and_tasks_that_come_back_stay_as_they_are(tmp_path: Path) -> None:
    stream, hold = Stream(tmp_path, {"checkpoint": "1h", "max_batch": 16}), Hold()
    runner = stream.runner()

    async def work(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=300))
        await until(lambda: len(stream.values("scores")) > 50)
        await runner.checkpoint()
        before = dict(runner.worker.tasks)
        holding = await hold.begin(runner)
        stream.send(streams.events(seed=2, n=300, first=300))
        await until(lambda: runner.worker.inbox.events > 0)
        releasing = asyncio.create_task(after(lambda: bool(runner.worker.unwanted), hold.going_on))
        source = answering(runner, lambda: stream.committed)
        answers = await rebalance(runner, source)
        await asyncio.gather(holding, releasing)
        assert {key: id(task) for key, task in runner.worker.tasks.items()} == {key: id(task) for key, task in before.items()}
        assert answers == stream.committed
        assert sum(stream.committed.values()) < 600

    asyncio.run(while_running(runner, work))
    assert runner.meter.assigned == {"restored": PARTITIONS, "kept": PARTITIONS}
    stream.options["checkpoint"] = "20ms"
    asyncio.run(while_running(stream.runner(), stream.all_committed))
    stream.check(is_ended=False, is_once=True)


def test_a_task_whose_offset_another_has_moved_is_restored(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    runner = stream.runner()

    async def work(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=100))
        await until(lambda: stream.committed == stream.ends)
        before = dict(runner.worker.tasks)
        await rebalance(runner, answering(runner, lambda: {0: stream.ends[0], 1: stream.ends[1] - 1}))
        same = {number for number in ALL if runner.worker.tasks["events", number] is before["events", number]}
        assert same == {0}
        stream.send(streams.events(seed=2, n=100, first=100))
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, work))
    assert runner.meter.assigned == {"restored": 2 * PARTITIONS - 1, "kept": 1}
    stream.check(is_ended=False, is_once=True)


def test_partitions_that_cannot_be_saved_in_time_go_without_a_last_checkpoint_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream, hold = Stream(tmp_path, {"checkpoint": "1h"}), Hold()
    runner = stream.runner()

    async def work(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=200))
        await until(lambda: len(stream.values("scores")) > 20)
        await runner.checkpoint()
        saved = dict(stream.committed)
        stream.send(streams.events(seed=2, n=200, first=200))
        await until(lambda: sum(task.next_offset for task in runner.worker.tasks.values()) == 400)
        source = answering(runner, lambda: stream.ends)
        source.handover_s = 0.01
        holding = await hold.begin(runner)
        releasing = asyncio.create_task(after(lambda: runner.meter.revoked["unsaved"] > 0, hold.going_on))
        answers = await rebalance(runner, source)
        assert answers == saved
        await asyncio.gather(holding, releasing)
        await until(lambda: sum(task.next_offset for task in runner.worker.tasks.values()) == 400)

    caplog.set_level(logging.ERROR, "esp.handover")
    asyncio.run(while_running(runner, work))
    assert "partitions [0, 1, 2] go without a last checkpoint: it was not done within 0.01 s" in caplog.text
    assert runner.meter.revoked == {"saved": 0, "unsaved": PARTITIONS}
    stream.check(is_ended=False)


def test_the_time_to_give_partitions_up_lies_below_the_groups_own(tmp_path: Path) -> None:
    from esp.errors import QueryError
    from esp.runtime.connect import connection

    table = {"connector": "kafka", "topic": "t", "client": {"rebalance_timeout_ms": 8000}}
    assert connection(table, "q").rebalance_timeout_ms == 8000  # type: ignore[union-attr]
    with pytest.raises(QueryError, match=r"handover_s must be below client\.rebalance_timeout_ms, which is 8000"):
        connection({**table, "handover_s": 8}, "q")
