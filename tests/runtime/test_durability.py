"""Durability: wherever a run breaks off, the next one loses nothing, and what comes twice is the same to the byte."""

import asyncio
import errno
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import StateError
from esp.runtime import runner as runner_module
from esp.runtime.connect import MemoryTopic, connection
from esp.runtime.connect import memory as memory_connector
from esp.runtime.connect.memory import MemorySink, MemorySource
from esp.runtime.deployments import Deployments
from esp.runtime.durability import origin
from esp.runtime.query import load_query
from esp.runtime.runner import QueryRunner
from esp.runtime.state import checkpoint as checkpoint_module
from esp.runtime.state.checkpoint import CheckpointStore
from esp.runtime.task import Task
from tests.runtime import streams
from tests.runtime.memory_stream import PARTITIONS, Stream, until, while_running

OPTIONS = {"max_batch": 16, "queue_events": 64, "checkpoint": "1ms"}


@pytest.fixture(autouse=True)
def topics() -> Iterator[dict[str, MemoryTopic]]:
    """The topics of this process, empty for each test."""
    memory_connector.TOPICS.clear()
    yield memory_connector.TOPICS
    memory_connector.TOPICS.clear()


class Crash(Exception):
    """Breaks a run off: nothing is drained, saved or committed after it."""


def break_off(patch: pytest.MonkeyPatch, owner: type, method: str, calls: int, is_after: bool) -> None:
    """Lets the n-th call of a method fail, before it has done anything or after."""
    original, left = getattr(owner, method), [calls]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Crash(f"{owner.__name__}.{method}")

    def plain(self: Any, *args: Any) -> Any:
        if not is_after:
            count()
        result = original(self, *args)
        if is_after:
            count()
        return result

    async def awaited(self: Any, *args: Any) -> Any:
        if not is_after:
            count()
        result = await original(self, *args)
        if is_after:
            count()
        return result

    patch.setattr(owner, method, awaited if asyncio.iscoroutinefunction(original) else plain)


POINTS = [
    (Task, "process", 15),
    (MemorySink, "send", 30),
    (MemorySink, "flush", 8),
    (CheckpointStore, "save", 3),
    (MemorySource, "commit", 2),
]


@pytest.mark.parametrize("seed", range(8))
def test_a_run_that_breaks_off_anywhere_and_goes_on_gives_what_an_undisturbed_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng, stream = random.Random(seed), Stream(tmp_path, OPTIONS)
    stream.send(streams.events(seed, n=600))
    stream.topic("events").end()
    crashes = 0
    for number in range(6):
        with monkeypatch.context() as patch:
            owner, method, calls = POINTS[(seed + number) % len(POINTS)]
            break_off(patch, owner, method, rng.randint(1, calls), rng.random() < 0.5)
            try:
                asyncio.run(stream.runner().run(asyncio.Event()))
            except Crash:
                crashes += 1
    asyncio.run(stream.runner().run(asyncio.Event()))
    assert crashes
    stream.check(is_ended=True)
    assert stream.committed == stream.ends


@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_is_cancelled_under_way_goes_on(tmp_path: Path, seed: int) -> None:
    rng, stream = random.Random(seed), Stream(tmp_path, OPTIONS)

    async def cut_short(scores: int) -> None:
        running = asyncio.create_task(stream.runner().run(asyncio.Event()))
        await until(lambda: len(stream.values("scores")) >= scores or running.done())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    for number in range(4):
        stream.send(streams.events(seed + number, n=200, first=200 * number))
        asyncio.run(cut_short(len(stream.values("scores")) + rng.randrange(60)))
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True)


@pytest.mark.parametrize("committed", ["nothing", "less", "more"])
def test_the_checkpoint_rules_whatever_the_group_has_committed(tmp_path: Path, committed: str) -> None:
    stream = Stream(tmp_path, OPTIONS)

    stream.send(streams.events(seed=1, n=300))
    asyncio.run(while_running(stream.runner(), stream.all_committed))
    stream.send(streams.events(seed=2, n=300, first=300))
    ends = stream.ends
    told = {"nothing": {}, "less": dict.fromkeys(ends, 3), "more": {number: end - 5 for number, end in ends.items()}}
    stream.topic("events").commits["motion"] = told[committed]
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True, is_once=True)
    assert stream.committed == ends


def test_a_restart_without_new_events_tells_the_group_what_its_checkpoint_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(tmp_path, OPTIONS)
    stream.send(streams.events(seed=1, n=100))
    stream.topic("events").end()
    with monkeypatch.context() as patch:
        break_off(patch, MemorySource, "commit", 1, is_after=False)
        with pytest.raises(Crash):
            asyncio.run(stream.runner().run(asyncio.Event()))
    assert stream.committed == {}
    asyncio.run(stream.runner().run(asyncio.Event()))
    assert stream.committed == stream.ends
    stream.check(is_ended=True)


def test_the_offsets_of_one_file_are_not_those_of_another(tmp_path: Path) -> None:
    folder, text = tmp_path / "q", streams.query_file(tmp_path / "q", streams.memory("t", 1)).read_text()
    for seed, name in enumerate("ab"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(streams.value(event) + b"\n" for event in streams.events(seed, n=50)))

    def run(name: str, is_fresh: bool = False) -> None:
        lines = text.splitlines()
        at = lines.index("[windows.recent]") - 2
        lines[at] = f'connect = {{ connector = "file", path = "{tmp_path / name}.jsonl" }}'
        (folder / "query.toml").write_text("\n".join(lines))
        asyncio.run(QueryRunner(load_query(folder), tmp_path / "state", is_fresh=is_fresh).run(asyncio.Event()))

    run("a")
    seen = len(memory_connector.TOPICS["t.scores"].values())
    with pytest.raises(StateError, match=r"offsets are those of 'file:/.*a.jsonl', the query reads 'file:/.*b.jsonl'; .*--fresh"):
        run("b")
    assert len(memory_connector.TOPICS["t.scores"].values()) == seen
    run("b", is_fresh=True)
    assert len(memory_connector.TOPICS["t.scores"].values()) > seen


def test_a_source_is_known_by_its_topic_and_not_by_its_brokers(tmp_path: Path) -> None:
    before, after, other = (
        origin(connection({"connector": "kafka", "topic": topic, "brokers": brokers}, "q"))
        for topic, brokers in (("t", "one:9092"), ("t", "two:9092"), ("u", "one:9092"))
    )
    assert (before, after, other) == ("kafka:t", "kafka:t", "kafka:u")


def test_a_source_window_may_be_called_models(tmp_path: Path) -> None:
    stream = Stream(tmp_path, OPTIONS)
    path = streams.query_file(tmp_path, streams.memory("t", PARTITIONS))
    path.write_text(path.read_text().replace("[windows.events]", "[windows.models]").replace('from = "events"', 'from = "models"'))
    stream.send(streams.events(seed=1, n=100))

    async def refused(stopping: asyncio.Event) -> None:
        await stream.all_committed(stopping)
        with pytest.raises(StateError, match="another engine runs query 'motion'"):
            await QueryRunner(load_query(path), tmp_path / "state", is_fresh=True).run(asyncio.Event())

    asyncio.run(while_running(QueryRunner(load_query(path), tmp_path / "state", is_fresh=True), refused))
    stream.check(is_ended=False, is_once=True)


def test_tasks_may_come_while_a_checkpoint_commits(tmp_path: Path) -> None:
    stream = Stream(tmp_path, {**OPTIONS, "checkpoint": "1h"})
    runner = stream.runner()

    async def assign(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=100))
        await until(lambda: runner.is_ready)
        tasks = runner.worker.tasks
        coming = iter(range(PARTITIONS, PARTITIONS + 10))

        class Offsets(dict[Any, Any]):
            def get(self, key: Any, default: Any = None) -> Any:
                tasks["events", next(coming)] = tasks["events", 0]  # as the worker's thread may at any time
                return super().get(key, default)

        runner.durability._offsets = Offsets(runner.durability._offsets)
        await runner.checkpoint()
        for number in range(PARTITIONS, PARTITIONS + 10):
            tasks.pop(("events", number), None)
        runner.durability._offsets = dict(runner.durability._offsets)

    asyncio.run(while_running(runner, assign))
    stream.check(is_ended=False, is_once=True)


def full_disk(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_stops_checkpoints_and_not_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "LONGEST_RETRY_S", 0.01)
    stream = Stream(tmp_path, OPTIONS)
    runner = stream.runner()

    async def fill_the_disk(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=200))
        await until(lambda: stream.committed == stream.ends)
        before = stream.committed | {}
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module, "write_segment", full_disk)
            stream.send(streams.events(seed=2, n=200, first=200))
            await until(lambda: runner.durability.failure is not None)
            assert not runner.is_ready
            wanted = len(streams.expected(stream.sent, PARTITIONS, False).scores)
            await until(lambda: len(stream.values("scores")) == wanted)
            assert stream.committed == before
        await until(lambda: runner.is_ready)
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, fill_the_disk))
    stream.check(is_ended=False, is_once=True)
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True, is_once=True)


def test_changes_of_all_tasks_outlive_the_failure_of_one_task_to_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "LONGEST_RETRY_S", 0.002)
    stream = Stream(tmp_path, OPTIONS)
    rng, save = random.Random(1), CheckpointStore.save

    def fail_at_times(self: CheckpointStore, partition: int, checkpoint: Any) -> None:
        if rng.random() < 0.4:
            raise StateError("the checkpoint cannot be written: no room")
        save(self, partition, checkpoint)

    async def cut_short(first: int) -> None:
        running = asyncio.create_task(stream.runner().run(asyncio.Event()))
        for number in range(first, first + 400, 20):
            stream.send(streams.events(seed=number, n=20, first=number))
            wanted = len(streams.expected(stream.sent, PARTITIONS, False).scores)
            await until(lambda: len(streams.distinct(stream.values("scores"), "id")) == wanted)  # noqa: B023
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "save", fail_at_times)
        for first in (0, 400, 800):
            asyncio.run(cut_short(first))
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True)


@pytest.mark.parametrize(
    ("owner", "method", "is_after"),
    [
        (CheckpointStore, "save", False), (CheckpointStore, "save", True), (Deployments, "record", False), (Deployments, "record", True),
        (MemorySource, "commit", False), (MemorySource, "commit", True),
    ],
)  # fmt: skip
def test_a_deployment_that_breaks_off_gives_every_event_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, is_after: bool
) -> None:
    stream = Stream(tmp_path, {**OPTIONS, "checkpoint": "1h"})
    runner = stream.runner()
    new = streams.model(tmp_path / "new.astore", seed=2)

    async def deploy(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=300))
        await until(lambda: len(stream.values("scores")) > 20)
        break_off(patch, owner, method, 1, is_after)
        try:
            await runner.deploy("scored", (tmp_path / "new.astore").read_bytes())
        finally:
            patch.undo()

    with monkeypatch.context() as patch, pytest.raises(Crash):
        asyncio.run(while_running(runner, deploy))
    stream.send(streams.events(seed=2, n=300, first=300))
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    scores = streams.distinct(stream.values("scores"), "id")  # a double by another model would not be the same
    by_model = [streams.expected(stream.sent, PARTITIONS, True, seed).scores for seed in (1, 2)]
    assert set(scores) == {(number,) for number in by_model[0]}
    for (number,), row in scores.items():
        wanted = by_model[row["model"] == new.short_digest]
        assert (row["label"], pytest.approx(row["probability"], abs=1e-5)) == wanted[number][1:]
