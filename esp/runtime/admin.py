"""What the one port asks of an engine: of the queries in this process here, of those in several processes in ``workers``."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import esp
from esp.runtime.answers import Action, Deployment, Model, QueryState, QueryStatus, Readiness, State, Status, WindowStatus
from esp.runtime.metrics import exposition
from esp.runtime.runner import QueryRunner

Runners = Mapping[str, QueryRunner]


class RefusedError(Exception):
    """A request that is refused with a status of HTTP and a line that says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Admin(Protocol):
    """Watches and changes queries. Whatever is asked for a query raises RefusedError 404 where there is none, 409 where it does not run."""

    async def metrics(self) -> bytes: ...

    async def readiness(self) -> Readiness: ...

    async def status(self) -> Status: ...

    async def require(self, query: str) -> None:
        """Raises RefusedError where nothing can be asked for that query."""
        ...

    async def act(self, query: str, action: Action) -> QueryState: ...

    async def deploy(self, query: str, window: str, data: bytes, digest: str) -> Deployment: ...

    # ---- a deployment in two halves, for whoever deploys to several engines ----------------------------------------------

    async def hold(self, query: str, window: str, data: bytes, digest: str) -> Deployment: ...

    async def stand(self, query: str, window: str) -> None: ...

    async def swap(self, query: str, window: str) -> Deployment: ...

    async def drop(self, query: str, window: str) -> None: ...


class Local:
    """The queries of this process."""

    def __init__(self, runners: Runners) -> None:
        self.runners = runners

    async def metrics(self) -> bytes:
        return exposition(self.runners)

    async def readiness(self) -> Readiness:
        return Readiness(
            ready=bool(self.runners) and all(_is_ready(runner) for runner in self.runners.values()),
            queries={name: state_of(runner) for name, runner in self.runners.items()},
            reasons={name: runner.reasons for name, runner in self.runners.items() if runner.reasons},
        )

    async def status(self) -> Status:
        return Status(version=esp.__version__, queries=[describe(runner) for runner in self.runners.values()])

    async def require(self, query: str) -> None:
        self.running(query)

    def running(self, query: str) -> QueryRunner:
        if query not in self.runners:
            raise RefusedError(404, f"there is no query '{query}' here; there are {', '.join(self.runners)}")
        if not self.runners[query].is_running:
            raise RefusedError(409, f"query '{query}' is not running; try again when /readyz says so")
        return self.runners[query]

    async def act(self, query: str, action: Action) -> QueryState:
        runner = self.running(query)
        actions: dict[Action, Callable[[], Awaitable[None]]] = {
            "pause": runner.pause,
            "resume": runner.resume,
            "drain": runner.drain,
        }
        await actions[action]()
        return QueryState(query=query, state=state_of(runner))

    async def deploy(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        return Deployment(**await self.running(query).deploy(window, data, digest))

    async def hold(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        return Deployment(**await self.running(query).hold(window, data, digest))

    async def stand(self, query: str, window: str) -> None:
        await self.running(query).stand(window)

    async def swap(self, query: str, window: str) -> Deployment:
        return Deployment(**await self.running(query).swap(window))

    async def drop(self, query: str, window: str) -> None:
        await self.running(query).models.drop(window)


def _is_ready(runner: QueryRunner) -> bool:
    return runner.is_ready and runner.is_connected and not runner.meter.is_restoring


def state_of(runner: QueryRunner) -> State:
    if runner.meter.is_restoring:
        return "restoring"
    if not runner.is_running:
        return "not running"  # it starts, drains or has ended
    if not runner.is_connected:
        return "disconnected"
    if runner.durability.failure is not None:
        return "not saving"
    return "paused" if runner.is_paused else "running"


def describe(runner: QueryRunner) -> QueryStatus:
    """What ``/v1/status`` says of one query."""
    meter = runner.meter
    return QueryStatus(
        name=runner.query.name,
        state=state_of(runner),
        windows=[_window(runner, name) for name in runner.query.windows],
        latency_seconds={
            "p50": _measured(meter.latency.quantile(0.5)),
            "p90": _measured(meter.latency.quantile(0.9)),
            "p99": _measured(meter.latency.quantile(0.99)),
        },
        lag_events={source: sum(partitions.values()) for source, partitions in meter.lag.items()},
        state_bytes=meter.state_size_bytes,
        checkpoints=runner.checkpoints,
    )


def _measured(seconds: float) -> float | None:
    """JSON knows no infinity."""
    return seconds if math.isfinite(seconds) else None


def _window(runner: QueryRunner, name: str) -> WindowStatus:
    counts, scorer = runner.meter.windows[name], runner.scorers.get(name)
    return WindowStatus(
        name=name,
        kind=counts.kind,
        source=runner.query.windows[name].settings.source or None,
        events_in=counts.events_in,
        events_out=counts.events_out,
        events_late=counts.events_late,
        events_dead=counts.events_dead,
        model=None
        if scorer is None
        else Model(name=scorer.astore.name, digest=scorer.digest, backend=scorer.backend, way=scorer.way),
    )
