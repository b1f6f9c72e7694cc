"""The Kafka connector beside a broker that is down, dies and comes back."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from esp.errors import StartError
from esp.runtime.connect import connection, open_sink
from esp.runtime.events import raw_block
from esp.runtime.kafka import cluster, watch
from tests.broker import Broker, free_ports
from tests.runtime.kafka.members import Member

pytestmark = [pytest.mark.timeout(180)]


def test_a_broker_that_is_down_ends_the_start_with_its_address() -> None:
    bootstrap = f"127.0.0.1:{free_ports(1)[0]}"

    async def run() -> None:
        async with Member(bootstrap, "t", wait_for_broker_s=0.3):
            pass

    with pytest.raises(StartError, match=rf"q.toml: windows.in: t: {bootstrap}: no Kafka broker answered within 0.3 s") as caught:
        asyncio.run(run())
    assert caught.value.exit_status == 3
    assert "\n" not in str(caught.value)


def test_a_broker_that_answers_with_nonsense_is_not_awaited_for_ever() -> None:
    async def run() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sink = open_sink(
            connection({"connector": "kafka", "topic": "t", "brokers": f"127.0.0.1:{port}", "wait_for_broker_s": 0.3}, "q"),
            where="q",
        )
        with pytest.raises(StartError, match="no Kafka broker answered"):
            await sink.start()
        await sink.stop()
        server.close()

    asyncio.run(run())


def test_the_limit_of_a_topic_is_known_though_its_broker_takes_some_seconds_to_tell_it() -> None:
    class Busy:
        """Answers five seconds later, by the clock of the loop."""

        async def describe_configs(self, asked: Any) -> Any:
            loop, late_s = asyncio.get_running_loop(), 5.0
            now = loop.time
            loop.time = lambda: now() + late_s  # type: ignore[method-assign]
            await asyncio.sleep(0.01)
            return [SimpleNamespace(resources=[(0, "", 2, "t", [("max.message.bytes", "10000")])])]

    assert asyncio.run(cluster._max_message_bytes(Busy(), "t")) == 10_000


@pytest.mark.kafka
def test_a_broker_that_dies_is_awaited_and_nothing_is_lost(
    own_broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "WATCH_S", 0.1)
    caplog.set_level(logging.INFO, "esp.runtime.kafka")

    async def run() -> None:
        settings = connection(
            {
                "connector": "kafka",
                "topic": "t",
                "brokers": own_broker.bootstrap,
                "create": {"partitions": 1},
                "wait_for_broker_s": 60,
            },
            "q",
        )
        sink = open_sink(settings, where="q: out")
        await sink.start()
        async with Member(own_broker.bootstrap, "t") as member:
            await sink.send(raw_block([b"%d" % i for i in range(100)]))
            await sink.flush()
            await member.read(100)
            own_broker.kill()
            await sink.send(raw_block([b"%d" % i for i in range(100, 200)]))
            flushing = asyncio.create_task(sink.flush())
            while not (sink.peer.trouble and member.source.peer.trouble):
                await member.step(0.05)
            assert not flushing.done()
            await asyncio.to_thread(own_broker.start)
            await flushing
            await member.read(200)
            await member.commit()
            while sink.peer.trouble or member.source.peer.trouble:
                await member.step(0.05)
            assert [record[3] for record in member.records] == [b"%d" % i for i in range(200)]
        await sink.stop()

    asyncio.run(run())
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("esp.") and record.levelno >= logging.INFO]
    assert len([line for line in lines if "broker is gone" in line]) == 2  # the sink and the source, once each
    ends = ("the Kafka broker is back after", "all is well again after")  # the second where partitions had no leader for a moment
    assert len([line for line in lines if any(end in line for end in ends)]) == 2
    assert not logging.getLogger("aiokafka").propagate  # what the client library says for every attempt stays out of the log


@pytest.mark.kafka
def test_a_broker_that_is_gone_does_not_hold_the_stop_up_for_ever(own_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "STOP_S", 0.5)

    async def run() -> None:
        settings = connection(
            {"connector": "kafka", "topic": "t", "brokers": own_broker.bootstrap, "create": {"partitions": 1}}, "q"
        )
        sink = open_sink(settings, where="q: out")
        await sink.start()
        member = await Member(own_broker.bootstrap, "t").__aenter__()
        own_broker.kill()
        await sink.send(raw_block([b"x"]))
        await asyncio.gather(sink.stop(), member.source.stop())

    asyncio.run(run())
