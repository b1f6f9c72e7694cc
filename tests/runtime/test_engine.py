"""The engine: queries side by side, and what the failure or the end of one means for the others."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import QueryError, StateError, TransportError
from esp.runtime.connect import MemoryTopic
from esp.runtime.connect import memory as memory_connector
from esp.runtime.engine import Engine, EngineSettings
from tests.runtime import streams
from tests.runtime.memory_stream import Stream, until


@pytest.fixture(autouse=True)
def topics() -> Iterator[dict[str, MemoryTopic]]:
    """The topics of this process, empty for each test."""
    memory_connector.TOPICS.clear()
    yield memory_connector.TOPICS
    memory_connector.TOPICS.clear()


def two(tmp_path: Path) -> tuple[Stream, Stream]:
    return Stream(tmp_path / "a", name="a", tag="a"), Stream(tmp_path / "b", name="b", tag="b")


def engine_of(tmp_path: Path, *all_streams: Stream) -> Engine:
    return Engine([stream.query() for stream in all_streams], EngineSettings("127.0.0.1:0", tmp_path / "state"))


def test_two_queries_run_side_by_side_until_both_have_ended(tmp_path: Path) -> None:
    a, b = two(tmp_path)
    for seed, stream in enumerate((a, b)):
        stream.send(streams.events(seed, n=300))
        stream.topic("events").end()
    asyncio.run(engine_of(tmp_path, a, b).run())
    for stream in (a, b):
        stream.check(is_ended=True, is_once=True)


def test_a_query_that_fails_drains_the_others_and_fails_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = two(tmp_path)
    engine = engine_of(tmp_path, a, b)
    send = memory_connector.MemorySink.send

    async def refuse(self: Any, block: Any) -> None:
        if self.topic.name.startswith("a."):
            raise TransportError("the topic takes nothing", where="a.toml: windows.scores.connect")
        await send(self, block)

    monkeypatch.setattr(memory_connector.MemorySink, "send", refuse)

    async def main() -> None:
        running = asyncio.create_task(engine.run())
        b.send(streams.events(2, n=300))
        await until(lambda: engine.runners["b"].meter.windows["events"].events_in == sum(b.ends.values()))
        a.send(streams.events(1, n=300))
        await running

    with caplog.at_level(logging.INFO, "esp"), pytest.raises(TransportError, match="takes nothing"):
        asyncio.run(main())
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("query a failed: a.toml: windows.scores.connect: the topic takes nothing")]
    assert "query b has drained: everything is sent, saved and committed" in lines
    assert a.committed == {}
    assert b.committed == b.ends
    b.check(is_ended=False, is_once=True)


def test_two_engines_on_one_state_folder_are_kept_apart(tmp_path: Path) -> None:
    a, _ = two(tmp_path)

    async def main() -> None:
        first = engine_of(tmp_path, a)
        running = asyncio.create_task(first.run())
        await until(lambda: first.runners["a"].is_ready)
        with pytest.raises(StateError, match="another engine runs query 'a' on this state") as caught:
            await engine_of(tmp_path, a).run()
        assert caught.value.exit_status == 3
        first.stopping.set()
        await running

    asyncio.run(main())


def test_two_queries_of_one_name_are_refused(tmp_path: Path) -> None:
    a, _ = two(tmp_path)
    with pytest.raises(QueryError, match="two queries have the name 'a'"):
        engine_of(tmp_path, a, a)
