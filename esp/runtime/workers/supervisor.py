"""The supervisor: it starts the workers of a run, keeps them alive behind one port, and ends with the worst of their ends."""

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from esp.errors import EspError, QueryError
from esp.runtime.door import ended_by_signals, serving
from esp.runtime.engine import EngineSettings
from esp.runtime.query import Query
from esp.runtime.waiting import until
from esp.runtime.workers.child import LONGEST_DRAIN_S
from esp.runtime.workers.deploying import Deploying
from esp.runtime.workers.gateway import Gateway
from esp.runtime.workers.member import Member
from esp.runtime.workers.predecessors import alone
from esp.runtime.workers.process import End
from esp.runtime.workers.scrapes import Scrapes
from esp.runtime.workers.settings import WorkerSettings, check_shared, instance_of

log = logging.getLogger("esp.workers")
PREDECESSORS_S = LONGEST_DRAIN_S + 10.0  # for workers whose supervisor was killed


class WorkersError(EspError):
    """The run ended as one of its workers did."""

    def __init__(self, end: End) -> None:
        super().__init__(end.line)
        self.exit_status = end.status


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run with several workers is made of; the queries have passed their check in this process."""

    workers: int
    queries: Sequence[Query]
    settings: EngineSettings
    overrides: Mapping[str, Any] = field(default_factory=dict)
    trusted: Sequence[bytes] = ()
    log: Literal["text", "json"] = "text"
    log_level: str = "info"


class Supervisor:
    """Runs workers until it is stopped, or one of them cannot be kept alive. Raises QueryError for queries that cannot be shared."""

    def __init__(self, plan: Plan) -> None:
        check_shared(plan.queries)
        names = [query.name for query in plan.queries]
        if len(set(names)) < len(names):
            raise QueryError("two queries have the same name", mend="give each its own [query] name")
        self.plan, self.names, self.stopping = plan, names, asyncio.Event()
        self.paused: set[str] = set()
        self.kept: int | None = None
        self.token = secrets.token_hex(32)
        state_dir = plan.settings.state_dir
        self.instance, self.models_dir = instance_of(state_dir), state_dir
        scrapes = Scrapes()
        self.members = [Member(number, self._worker, scrapes) for number in range(1, plan.workers + 1)]

    async def run(self) -> None:
        """Serves and watches; raises WorkersError where a worker did not end well, once all others have drained."""
        settings = self.plan.settings
        gateway = Gateway(self.names, self.members, Deploying(self.members, self.models_dir), self.paused)
        door = serving(gateway, settings.listen, settings.token, settings.tls, settings.guards_metrics)
        with self._sockets():
            async with door:
                with ended_by_signals(self.stopping, self._kill):
                    async with alone(self.models_dir, self.stopping, PREDECESSORS_S) as self.kept:
                        ends = await self._live()
        worst = max(ends, key=lambda end: end.status)
        if worst.status:
            raise WorkersError(worst)
        log.info("all workers have drained")

    @contextlib.contextmanager
    def _sockets(self) -> Iterator[None]:
        """A folder that nobody else may look into, with a name short enough for a socket."""
        self.folder = Path(tempfile.mkdtemp(prefix="esp-"))
        try:
            yield
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _live(self) -> list[End]:
        """The first worker alone until it is ready: it compiles and measures what the others then find in the cache."""
        first, *others = self.members
        lives = [asyncio.create_task(self._one(first))]
        being_ready = asyncio.create_task(first.has_been_ready.wait())
        await until(self.stopping, [asyncio.create_task(_either(being_ready, lives[0]))])
        if not self.stopping.is_set():
            log.info("worker 1 is ready; starting %d more", len(others))
            lives += [asyncio.create_task(self._one(member)) for member in others]
        being_ready.cancel()
        return await asyncio.gather(*lives)

    async def _one(self, member: Member) -> End:
        """One worker's lives; where they end before a stop, all end."""
        end = await member.live(self.stopping)
        if not self.stopping.is_set():
            log.error("worker %d has ended with status %d; draining the others", member.number, end.status)
            self.stopping.set()
        return end

    def _kill(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _worker(self, number: int, is_new: bool) -> WorkerSettings:
        plan = self.plan
        return WorkerSettings(
            number, plan.workers, tuple(query.path for query in plan.queries), plan.settings.state_dir / f"worker-{number}",
            self.models_dir, self.folder / f"{number}", self.instance, self.token, plan.overrides,
            tuple(key.hex() for key in plan.trusted), plan.settings.is_fresh and is_new, tuple(sorted(self.paused)), plan.log, plan.log_level,
            self.kept,
        )  # fmt: skip


async def _either(*tasks: "asyncio.Task[Any]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
