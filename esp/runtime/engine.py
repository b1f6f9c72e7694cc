"""The engine: queries side by side behind one port; the life of the process is readable here, start to stop."""

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esp.errors import EspError, QueryError
from esp.runtime.admin import Local
from esp.runtime.allocator import keep_freed_memory
from esp.runtime.backfill import Backfill
from esp.runtime.door import ended_by_signals, serving
from esp.runtime.query import Query
from esp.runtime.runner import QueryRunner

log = logging.getLogger("esp.engine")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine runs: where it listens, where its state lies, token and certificate of the admin API.

    ``models_dir`` is where deployed models lie, where that is not the state's folder: engines of one group may share it.
    """

    listen: str | socket.socket = "127.0.0.1:8088"
    state_dir: Path = Path("esp-state")
    token: str | None = field(default=None, repr=False)
    is_fresh: bool = False
    tls: ssl.SSLContext | None = None
    guards_metrics: bool = False
    models_dir: Path | None = None


class Engine:
    """Runs queries until it is stopped, every bounded source has ended, or one of them fails."""

    def __init__(self, queries: Sequence[Query], settings: EngineSettings, backfill: Backfill | None = None) -> None:
        names = [query.name for query in queries]
        for name in names:
            if names.count(name) > 1:
                raise QueryError(f"two queries have the name '{name}'", mend="give each its own [query] name")
        self.settings, self.stopping = settings, asyncio.Event()
        self.runners = {
            query.name: QueryRunner(
                query, settings.state_dir, is_fresh=settings.is_fresh, backfill=backfill, models_dir=settings.models_dir
            )
            for query in queries
        }
        for runner in self.runners.values():
            runner.on_running = (
                gc.freeze
            )  # to look through all compiled kernels for garbage would stop a stream for a tenth of a second
        self.address = ""

    async def run(self) -> None:
        """Serves and streams; raises what made it fail, once everything else has been drained."""
        keep_freed_memory()
        settings = self.settings
        door = serving(Local(self.runners), settings.listen, settings.token, settings.tls, settings.guards_metrics)
        async with door as self.address:
            with ended_by_signals(self.stopping):
                await self._stream()

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
