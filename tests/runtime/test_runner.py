"""The runner: a whole query over topics in memory, against the same query in plain Python."""

import asyncio
import errno
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import BackendError, EspError, TransportError
from esp.runtime import draining
from esp.runtime.connect import MemoryTopic
from esp.runtime.connect import memory as memory_connector
from esp.runtime.headers import add_headers, decode_headers
from esp.runtime.kinds.sequence import SequenceWindow
from esp.runtime.peer import Peer
from esp.runtime.poison import PoisonError
from tests.runtime import streams
from tests.runtime.memory_stream import PARTITIONS, Stream, until, while_running


@pytest.fixture(autouse=True)
def topics() -> Iterator[dict[str, MemoryTopic]]:
    """The topics of this process, empty for each test."""
    memory_connector.TOPICS.clear()
    yield memory_connector.TOPICS
    memory_connector.TOPICS.clear()


def test_a_bounded_stream_gives_what_plain_python_gives_and_its_end_closes_all_windows(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=2000))
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True, is_once=True)
    assert stream.committed == stream.ends
    assert len(streams.expected(stream.sent, PARTITIONS, True).late) > 5


def test_a_stop_closes_no_window_and_a_restart_goes_on_without_a_double(tmp_path: Path) -> None:
    stream = Stream(tmp_path)

    for seed in range(3):
        stream.send(streams.events(seed, n=300, first=300 * seed))
        asyncio.run(while_running(stream.runner(), stream.all_committed))
        stream.check(is_ended=False, is_once=True)
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True, is_once=True)


def test_a_stream_that_has_ended_gives_nothing_twice(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=400))
    stream.topic("events").end()
    for _ in range(2):
        asyncio.run(stream.runner().run(asyncio.Event()))
        stream.check(is_ended=True, is_once=True)


def test_a_stop_works_off_what_has_been_fetched(tmp_path: Path) -> None:
    stream = Stream(tmp_path, {"checkpoint": "1h"})
    stream.send(streams.events(seed=1, n=2000))

    async def stop_early(stopping: asyncio.Event) -> None:
        await until(lambda: bool(stream.values("scores")))

    asyncio.run(while_running(stream.runner(), stop_early))
    read = [
        event
        for number, log in enumerate(stream.topic("events").logs)
        for event in [e for e in stream.sent if streams.partition_of(e["device"], PARTITIONS) == number][: stream.committed[number]]
    ]
    stream.sent = sorted(read, key=lambda event: event["id"])
    stream.check(is_ended=False, is_once=True)


def test_bad_events_are_dead_letters_that_can_be_replayed_and_do_not_stop_the_stream(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=50))
    own = add_headers(b"", [("trace", b"7")])
    stream.topic("events").append([b"{broken"], partition=1, keys=[b"k"], headers=[own], ts_ms=[12345])
    bad_offset = stream.topic("events").logs[1].next_offset - 1
    stream.send(streams.events(seed=2, n=50, first=50))
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True, is_once=True)
    (letter,) = stream.topic("dead").blocks()
    assert (letter.value(0), letter.key(0), letter.ts_ms[0], letter.partition) == (b"{broken", b"k", 12345, 1)
    headers = dict(decode_headers(letter.headers(0)))
    assert headers.pop("esp-reason")
    assert headers == {
        "trace": b"7", "esp-query": b"motion", "esp-window": b"events", "esp-topic": b"t.events", "esp-partition": b"1",
        "esp-offset": b"%d" % bad_offset,
    }  # fmt: skip


def test_a_slow_sink_pauses_the_fetch_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(tmp_path, {"max_batch": 8, "queue_events": 32})
    stream.send(streams.events(seed=1, n=1500))
    stream.topic("events").end()
    gate = asyncio.Event()
    send = memory_connector.MemorySink.send

    async def send_later(self: Any, block: Any) -> None:
        await gate.wait()
        await send(self, block)

    monkeypatch.setattr(memory_connector.MemorySink, "send", send_later)
    runner = stream.runner()

    async def look(stopping: asyncio.Event) -> None:
        await until(lambda: runner.is_ready and runner.worker.inbox.is_full and runner.worker.outbox.is_full)
        for _ in range(50):
            await asyncio.sleep(0)
        lag = await runner.sources["events"].lag()
        assert 1500 - sum(lag.values()) < 1000  # the rest waits in the topic
        gate.set()
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, look))
    stream.check(is_ended=True, is_once=True)


def test_a_window_that_fails_ends_the_query_and_commits_nothing_beyond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=300))
    on_block, calls = SequenceWindow.on_block, []

    def fail(self: Any, port: str, block: Any) -> Any:
        calls.append(port)
        if len(calls) == 4:
            raise RuntimeError("broken window")
        return on_block(self, port, block)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceWindow, "on_block", fail)
        place = r"t\.events/\d/\d+-\d+"  # a block: no event of it fails by itself
        with pytest.raises(PoisonError, match=rf"^{place}: window 'recent' failed \(RuntimeError: broken window\)"):
            asyncio.run(stream.runner().run(asyncio.Event()))
    assert all(stream.committed.get(number, 0) <= end for number, end in stream.ends.items())
    assert stream.committed != stream.ends
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True)


@pytest.mark.parametrize("method", ["send", "flush"])
def test_a_sink_that_refuses_ends_the_query_and_commits_nothing_beyond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=300))

    async def refuse(self: Any, *_: Any) -> None:
        raise TransportError("the topic takes nothing", where="q.toml: windows.scores.connect")

    with monkeypatch.context() as patch:
        patch.setattr(memory_connector.MemorySink, method, refuse)
        with pytest.raises(TransportError, match="takes nothing"):
            asyncio.run(stream.runner().run(asyncio.Event()))
    assert stream.committed == {}
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True)


def test_a_paused_query_fetches_nothing_and_a_drained_one_has_committed_all(tmp_path: Path) -> None:
    stream = Stream(tmp_path, {"checkpoint": "1h"})
    runner = stream.runner()

    async def administrate(stopping: asyncio.Event) -> None:
        await until(lambda: runner.is_ready)
        stream.send(streams.events(seed=1, n=100))
        await until(lambda: bool(stream.values("scores")))
        for number in (2, 3):
            await runner.drain()
            lag = await runner.sources["events"].lag()
            assert stream.committed == {partition: end - lag[partition] for partition, end in stream.ends.items()}
            before = len(stream.values("scores"))
            stream.send(streams.events(seed=number, n=100, first=100 * (number - 1)))
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert len(stream.values("scores")) == before
            await runner.resume()
            await until(lambda: len(stream.values("scores")) > before)  # noqa: B023

    asyncio.run(while_running(runner, administrate))
    asyncio.run(while_running(stream.runner(), stream.all_committed))
    stream.check(is_ended=False, is_once=True)


def test_a_paused_query_stays_paused_when_partitions_come(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    runner = stream.runner()

    async def rebalance(stopping: asyncio.Event) -> None:
        await until(lambda: runner.is_ready)
        await runner.pause()
        source: Any = runner.sources["events"]
        await runner._revoked("events", set(range(PARTITIONS)))
        source._paused = set()  # as a consumer group forgets it
        await runner._assigned("events", set(range(PARTITIONS)))
        stream.send(streams.events(seed=1, n=100))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert stream.values("scores") == []
        await runner.resume()
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, rebalance))
    stream.check(is_ended=False, is_once=True)


def test_a_stop_while_peers_are_gone_ends_in_time_and_says_what_is_not_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "LOOK_S", 0.01)
    monkeypatch.setattr(draining, "AWAY_S", 0.05)
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=100))

    async def hang(self: Any) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(memory_connector.MemorySink, "flush", hang)
        patch.setattr(memory_connector.MemorySink, "peer", Peer("it is gone"))
        runner = stream.runner()

        async def stop(stopping: asyncio.Event) -> None:
            await until(lambda: bool(stream.values("scores")))

        with pytest.raises(TransportError, match="last outputs could not be confirmed") as caught:
            asyncio.run(while_running(runner, stop))
    assert caught.value.exit_status == 1
    assert stream.committed == {}
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True)


def test_a_stop_while_a_peer_is_awaited_at_the_start_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: Any, *_: Any) -> None:
        await asyncio.Event().wait()

    async def stop(stopping: asyncio.Event) -> None:
        pass

    for place in (memory_connector.MemorySink, memory_connector.MemorySource):
        with monkeypatch.context() as patch:
            patch.setattr(place, "start", hang)
            asyncio.run(while_running(Stream(tmp_path).runner(), stop))


def test_what_cannot_be_done_before_the_start_or_after_the_end_is_one_line(tmp_path: Path) -> None:
    runner = Stream(tmp_path).runner()

    async def nothing(stopping: asyncio.Event) -> None:
        await until(lambda: runner.is_ready)

    async def main() -> None:
        for _ in range(2):
            for action in (runner.drain(), runner.deploy("scored", b"")):
                with pytest.raises(EspError, match="query 'motion' is not running"):
                    await action
            await while_running(runner, nothing)

    with pytest.raises(EspError):  # a runner has one life
        asyncio.run(main())


def test_a_deployment_swaps_between_two_blocks_and_outlives_a_restart(tmp_path: Path) -> None:
    stream = Stream(tmp_path, {"max_batch": 4})
    runner = stream.runner()
    old = runner.query.models["tiny"]
    new = streams.model(tmp_path / "new.astore", seed=2)

    async def deploy(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=500))
        await until(lambda: bool(stream.values("scores")))
        answer = await runner.deploy("scored", (tmp_path / "new.astore").read_bytes(), new.digest)
        assert (answer["old"], answer["new"]) == (old.digest, new.digest)
        stream.send(streams.events(seed=2, n=100, first=500))
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, deploy))
    again = stream.runner()
    stream.send(streams.events(seed=3, n=100, first=600))
    stream.topic("events").end()
    asyncio.run(again.run(asyncio.Event()))
    scores = streams.distinct(stream.values("scores"), "id")
    assert len(scores) == len(stream.values("scores"))
    before, after = (streams.expected(stream.sent, PARTITIONS, True, seed).scores for seed in (1, 2))
    assert set(scores) == {(number,) for number in before}
    for block in stream.topic("scores").logs:
        models = [value["model"] for part in block.blocks for value in _rows(part)]
        assert models == sorted(models, key=[old.short_digest, new.short_digest].index)
    for (number,), row in scores.items():
        wanted = before if row["model"] == old.short_digest else after
        assert (row["label"], pytest.approx(row["probability"], abs=1e-5)) == wanted[number][1:]
    assert {row["model"] for row in scores.values()} == {old.short_digest, new.short_digest}


def _rows(block: Any) -> list[dict[str, Any]]:
    return [json.loads(block.value(row)) for row in range(len(block))]


@pytest.mark.parametrize("fault", ["digest", "bytes", "schema"])
def test_a_deployment_that_fails_leaves_the_old_model(tmp_path: Path, fault: str) -> None:
    stream = Stream(tmp_path)
    runner = stream.runner()
    streams.model(tmp_path / "new.astore", seed=2)
    data = (tmp_path / "new.astore").read_bytes()
    announced = "00" * 32 if fault == "digest" else ""
    if fault == "bytes":
        data = data[:-1] + bytes([data[-1] ^ 1])

    async def deploy(stopping: asyncio.Event) -> None:
        await until(lambda: runner.is_ready)
        with pytest.raises(EspError):
            await runner.deploy("scored" if fault != "schema" else "recent", data, announced)
        stream.send(streams.events(seed=1, n=100))
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, deploy))
    stream.check(is_ended=False, is_once=True)
    assert {row["model"] for row in streams.distinct(stream.values("scores"), "id").values()} == {
        runner.query.models["tiny"].short_digest
    }


@pytest.mark.parametrize("place", ["record", "bind"])
def test_a_deployment_that_cannot_be_kept_or_bound_leaves_the_old_model_and_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    stream = Stream(tmp_path)
    runner = stream.runner()
    streams.model(tmp_path / "new.astore", seed=2)
    models = tmp_path / "state" / "motion" / "models"
    replace = Path.replace

    def full_disk(self: Path, target: Path) -> Path:
        if target.name == "deployed.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    def refuse(*_: Any) -> Any:
        raise BackendError("the backend does not take the model")

    async def deploy(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=100))
        await until(lambda: bool(stream.values("scores")))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full_disk) if place == "record" else patch.setattr(runner.models, "_bind", refuse)
            with pytest.raises(EspError, match="No space left" if place == "record" else "does not take the model"):
                await runner.deploy("scored", (tmp_path / "new.astore").read_bytes())
        assert not list(models.glob("*.astore"))
        stream.send(streams.events(seed=2, n=100, first=100))
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, deploy))
    stream.check(is_ended=False, is_once=True)  # by the old model alone
    stream.topic("events").end()
    asyncio.run(stream.runner().run(asyncio.Event()))
    stream.check(is_ended=True, is_once=True)


def test_a_start_without_a_checkpoint_in_the_middle_of_a_topic_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream(tmp_path)
    stream.send(streams.events(seed=1, n=200))
    stream.topic("events").commits["motion"] = {0: 10, 1: 10, 2: 10}
    stream.topic("events").end()
    with caplog.at_level(logging.WARNING, "esp"):
        asyncio.run(stream.runner().run(asyncio.Event()))
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "begins at offset 10 without a checkpoint here" in line]) == PARTITIONS
