"""The engine: queries side by side behind one port; the life of the process is readable here, start to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esp.errors import EspError, QueryError
from esp.runtime.backfill import Backfill
from esp.runtime.query import Query
from esp.runtime.runner import QueryRunner
from esp.runtime.server import AdminServer, bind, build_app, is_open

log = logging.getLogger("esp.engine")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine runs: where it listens, where its state lies, token and certificate of the admin API."""

    listen: str = "127.0.0.1:8088"
    state_dir: Path = Path("esp-state")
    token: str | None = field(default=None, repr=False)
    is_fresh: bool = False
    tls: ssl.SSLContext | None = None
    guards_metrics: bool = False


class Engine:
    """Runs queries until it is stopped, every bounded source has ended, or one of them fails."""

    def __init__(self, queries: Sequence[Query], settings: EngineSettings, backfill: Backfill | None = None) -> None:
        names = [query.name for query in queries]
        for name in names:
            if names.count(name) > 1:
                raise QueryError(f"two queries have the name '{name}'", mend="give each its own [query] name")
        self.settings, self.stopping = settings, asyncio.Event()
        self.runners = {
            query.name: QueryRunner(query, settings.state_dir, is_fresh=settings.is_fresh, backfill=backfill) for query in queries
        }
        self.address = ""

    async def run(self) -> None:
        """Serves and streams; raises what made it fail, once everything else has been drained."""
        socket = bind(self.settings.listen)
        host, port = socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        settings = self.settings
        server = AdminServer(build_app(self.runners, settings.token, guards_metrics=settings.guards_metrics), settings.tls)
        serving = asyncio.create_task(server.serve([socket]))
        log.info("admin API and metrics at %s://%s", "https" if settings.tls else "http", self.address)
        if is_open(settings.listen):
            self._warn_of_strangers()
        with self._signals():
            try:
                await self._stream()
            finally:
                server.should_exit = True
                await serving

    def _warn_of_strangers(self) -> None:
        if not self.settings.token:
            log.warning("whoever reaches %s may pause queries and deploy models; set a token (--token-file)", self.address)
        elif not self.settings.tls:
            log.warning("the token goes to %s in the clear; give a certificate (--cert-file)", self.address)

    async def _stream(self) -> None:
        failures = await asyncio.gather(*(self._one(runner) for runner in self.runners.values()))
        for failure in failures:
            if failure is not None:
                raise failure

    async def _one(self, runner: QueryRunner) -> Exception | None:
        """One query's life; its failure stops the others, which drain first."""
        try:
            await runner.run(self.stopping)
        except Exception as err:
            is_ours = isinstance(err, EspError)
            if not self.stopping.is_set() and (len(self.runners) > 1 or not is_ours):  # of one alone the command tells
                log.error("query %s failed: %s", runner.query.name, err, exc_info=not is_ours)
            self.stopping.set()
            return err
        return None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains, the second ends the process at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread: whoever embeds us stops us
                loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                with contextlib.suppress(RuntimeError, ValueError):
                    loop.remove_signal_handler(number)

    def _on_signal(self, name: str) -> None:
        if self.stopping.is_set():
            log.warning("%s again: ended at once, without a last checkpoint", name)
            os._exit(1)
        log.info("%s: draining; a second signal ends at once", name)
        self.stopping.set()
