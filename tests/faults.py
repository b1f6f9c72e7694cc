"""What goes wrong between an engine and its broker, made at will: a proxy on the way, and an engine in a thread that is watched meanwhile."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esp.runtime.engine import Engine, EngineSettings
from esp.runtime.query import load_query
from tests.broker import Broker, free_ports
from tests.engine_process import PATIENCE_S, wait_until

PROXIED = """listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},PROXIED://127.0.0.1:{own}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
log.retention.check.interval.ms=200
log.initial.task.delay.ms=100
file.delete.delay.ms=100
group.min.session.timeout.ms=1000
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""


class Proxy:
    """Stands between clients and a port: lets through, delays what is answered, holds all or some requests back, cuts, or is not there at all."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target, self.delay_s, self.cut_inside = port, target, 0.0, False
        self._withheld = frozenset[int]()
        self._open, self._released = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.restore()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def restore(self) -> None:
        """Everything goes through again."""
        self.delay_s, self.cut_inside = 0.0, False
        self._do(self._listen())

    def hold(self) -> None:
        """Connections stand, and nothing comes through them, as if packets were swallowed."""
        self._do(self._hold())

    def withhold(self, *kinds: int) -> None:
        """Requests of these kinds (API keys of Kafka's protocol) come through no more, nor what follows one on its connection."""
        self._do(self._withhold(frozenset(kinds)))

    def cut(self) -> None:
        """Ends the connections that there are."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Ends them, and lets no new ones in."""
        self._do(self._refuse())

    def close(self) -> None:
        self.refuse()
        self._do(self._all_ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _listen(self) -> None:
        self._withheld = frozenset()
        self._open.set()
        self._released.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _hold(self) -> None:
        self._open.clear()

    async def _withhold(self, kinds: frozenset[int]) -> None:
        self._withheld = kinds
        self._released.clear()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._open.set()
        self._released.set()
        await self._cut()

    async def _all_ended(self) -> None:
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            answers, asks = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, asks}
        if self._server is not None:  # else it was refused while it came
            await asyncio.gather(self._ask(reader, asks), self._pass(answers, writer), return_exceptions=True)
        for each in (writer, asks):
            each.transport.abort()
        self._writers -= {writer, asks}

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests, one by one."""
        try:
            while True:
                size = await reader.readexactly(4)
                request = await reader.readexactly(int.from_bytes(size))
                await self._open.wait()
                if int.from_bytes(request[:2]) in self._withheld:
                    await self._released.wait()
                writer.write(size + request)
                await writer.drain()
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers, as they come."""
        try:
            while data := await reader.read(1 << 20):
                await self._open.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.cut_inside and len(data) > 64:
                    self.cut_inside = False
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    break
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


class FaultyBroker:
    """A broker with a proxy before it; ``bootstrap`` leads through the proxy, ``direct`` past it."""

    def __init__(self) -> None:
        own, proxy = free_ports(2)
        self.broker = Broker(heap_mb=384, more_properties=PROXIED.format(own=own, proxy=proxy)).start()
        self.proxy = Proxy(proxy, own)
        self.bootstrap, self.direct = f"127.0.0.1:{proxy}", self.broker.bootstrap

    def remove(self) -> None:
        self.proxy.close()
        self.broker.remove()


@dataclass(frozen=True)
class End:
    """How an engine ended: its exit status and the line that it told."""

    status: int
    line: str


class Running:
    """An engine in a thread, from its start to its end."""

    def __init__(self, query: Path, state: Path) -> None:
        self.query, self.state, self.failure = query, state, None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    failure: BaseException | None

    async def _live(self) -> None:
        try:
            self.engine = Engine([load_query(self.query)], EngineSettings("127.0.0.1:0", self.state))
            (self.runner,) = self.engine.runners.values()
            self._loop = asyncio.get_running_loop()
            life = asyncio.ensure_future(self.engine.run())
            while not (life.done() or self.engine.address):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self._begun.set()
            await life
        except BaseException as err:
            self.failure = err
        finally:
            self._begun.set()

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._begun.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> End:
        """Drains and ends; how it ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.engine.stopping.set)
        return self.end()

    def end(self) -> End:
        """How it ended, waited for."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"it did not end: {self.ready()}"
        status = getattr(self.failure, "exit_status", 1) if self.failure else 0
        return End(status, str(self.failure or ""))

    def ready(self) -> tuple[bool, str]:
        """What ``/readyz`` says: whether, and why not."""
        try:
            with urllib.request.urlopen(f"http://{self.engine.address}/readyz", timeout=PATIENCE_S) as answer:
                return True, "; ".join(self._reasons(answer))
        except urllib.error.HTTPError as err:
            return False, "; ".join(self._reasons(err))
        except OSError as err:
            return False, str(err)

    @staticmethod
    def _reasons(answer: Any) -> list[str]:
        return [reason for reasons in json.load(answer)["reasons"].values() for reason in reasons]

    def until_ready(self) -> None:
        wait_until(self._is_up, "the engine's being ready")

    def _is_up(self) -> bool:
        assert self._thread.is_alive(), f"it ended: {self.failure!r}"
        return self.ready()[0]

    def until_not_ready(self, why: str) -> None:
        """Until ``/readyz`` says no, for a reason that holds these words."""
        last = [""]

        def tells() -> bool:
            assert self._thread.is_alive(), f"it ended: {self.failure!r}"
            is_ready, last[0] = self.ready()
            return not is_ready and why in last[0]

        try:
            wait_until(tells, why)
        except AssertionError:
            raise AssertionError(f"never came: {why}; the last was: {last[0]}") from None

    def until_metric(self, line: str) -> None:
        wait_until(lambda: line in self.ask("/metrics"), line)

    def ask(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.engine.address}{path}", timeout=PATIENCE_S) as answer:
            text: str = answer.read().decode()
            return text
