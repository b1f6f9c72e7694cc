"""Between the two halves of a deployment the stream stands still at a checkpoint: then it swaps, or goes on as it was."""

import asyncio
import json
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from esp.errors import EspError, QueryError
from esp.runtime import standing
from esp.runtime.connect import memory as memory_connector
from esp.runtime.runner import QueryRunner
from tests.runtime import streams
from tests.runtime.memory_stream import Stream, until, while_running


@pytest.fixture(autouse=True)
def no_topics() -> None:
    memory_connector.TOPICS.clear()


def models(stream: Stream) -> list[str]:
    """The digest in each score, in the order of the events."""
    scores = [json.loads(value) for value in stream.values("scores") if value is not None]
    return [score["model"] for score in sorted(scores, key=lambda score: score["id"])]


async def stood(stream: Stream, runner: QueryRunner, data: bytes) -> int:
    """Deploys the first half to a stream at work and lets it stand, then sends more; gives how many scores there were at that time."""
    stream.send(streams.events(seed=1, n=120))
    await until(lambda: bool(stream.values("scores")))
    await runner.hold("scored", data)
    await runner.stand("scored")
    assert stream.committed == {number: task.next_offset for (_, number), task in runner.worker.tasks.items() if task.next_offset}
    stream.send(streams.events(seed=2, n=60, first=120))
    return len(stream.values("scores"))


@pytest.mark.parametrize("swaps", [True, False])
def test_nothing_is_worked_off_until_the_word_comes(tmp_path: Path, swaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "LONGEST_S", 300.0)
    stream = Stream(tmp_path)
    runner = stream.runner()
    old, new = streams.model(tmp_path / "old.astore"), streams.model(tmp_path / "new.astore", seed=2)

    async def work(stopping: asyncio.Event) -> None:
        count = await stood(stream, runner, (tmp_path / "new.astore").read_bytes())
        await until(lambda: len(runner.worker.inbox.items) > 0)
        assert len(stream.values("scores")) == count
        if swaps:
            assert (await runner.swap("scored"))["new"] == new.digest
        else:
            await runner.models.drop("scored")
            with pytest.raises(QueryError, match="no model waits"):
                await runner.swap("scored")
        await stream.all_committed(stopping)
        assert len(stream.values("scores")) > count
        seen = models(stream)
        assert set(seen) == ({old.short_digest, new.short_digest} if swaps else {old.short_digest})
        assert seen.count(old.short_digest) == (count if swaps else len(seen))

    asyncio.run(while_running(runner, work))


def test_without_a_word_the_stream_goes_on_and_the_swap_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over, waited = threading.Event(), list[Any]()

    class Silent(SimpleQueue[bool]):
        """A word that does not come; the time to wait for it is over when the test says so."""

        def get(self, block: bool = True, timeout: float | None = None) -> bool:
            waited.append(timeout)
            assert over.wait(300)
            raise Empty

    monkeypatch.setattr(standing, "SimpleQueue", Silent)
    stream = Stream(tmp_path)
    runner = stream.runner()
    streams.model(tmp_path / "new.astore", seed=2)

    async def work(stopping: asyncio.Event) -> None:
        await stood(stream, runner, (tmp_path / "new.astore").read_bytes())
        over.set()
        await stream.all_committed(stopping)
        with pytest.raises(EspError, match="the deployment was not decided within 15 s; deploy it again"):
            await runner.swap("scored")

    asyncio.run(while_running(runner, work))
    assert (waited, len(set(models(stream)))) == ([15.0], 1)


def test_what_is_not_held_cannot_stand(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    runner = stream.runner()

    async def work(stopping: asyncio.Event) -> None:
        await until(lambda: runner.is_running)
        with pytest.raises(QueryError, match="no model waits for window 'scored' of query 'motion'; deploy it again"):
            await runner.stand("scored")

    asyncio.run(while_running(runner, work))
