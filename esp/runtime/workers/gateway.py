"""What the one port answers for several workers: what is asked for a query goes to all of them, and comes back as one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import esp
from esp.runtime.admin import RefusedError
from esp.runtime.answers import (
    Action,
    Deployment,
    Model,
    QueryState,
    QueryStatus,
    Readiness,
    State,
    Status,
    WindowStatus,
    WorkerStatus,
)  # fmt: skip
from esp.runtime.workers.deploying import Deploying
from esp.runtime.workers.member import Member
from esp.runtime.workers.process import WorkerProcess

log = logging.getLogger("esp.workers")
T = TypeVar("T")
WORST_FIRST: tuple[State, ...] = ("not running", "restoring", "disconnected", "not saving", "paused", "running")
COUNTS = ("in", "out", "late", "dead")


class Gateway:
    """An Admin over the workers. ``paused`` holds the queries that a worker which is started again begins paused."""

    def __init__(self, queries: Sequence[str], members: Sequence[Member], deploying: Deploying, paused: set[str]) -> None:
        self.queries, self.members, self.deploying, self.paused = queries, members, deploying, paused

    async def metrics(self) -> bytes:
        """Workers that do not answer are there with what they said last."""
        await self._gather(lambda process: process.ask("GET", "/metrics"), lambda member, text: member.scraped(text))
        return self.members[0].scrapes.page(self._own())

    def _own(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily("esp_worker_ready", "Whether a worker runs and reaches its peers", labels=["worker"])
        starts = CounterMetricFamily(
            "esp_worker_restarts", "Times that a worker that had ended was started again", labels=["worker"]
        )
        for member in self.members:
            ready.add_metric([str(member.number)], float(member.is_ready))
            starts.add_metric([str(member.number)], member.restarts)
        memory = GaugeMetricFamily("process_resident_memory_bytes", "Resident memory of the engine", labels=["worker"])
        memory.add_metric(["supervisor"], psutil.Process().memory_info().rss)
        return ready, starts, memory

    async def readiness(self) -> Readiness:
        """Ready when all workers are; the reasons name those that are not."""
        found: dict[int, dict[str, Any]] = {}
        await self._gather(
            lambda process: process.ask_json("GET", "/readyz"), lambda member, told: found.update({member.number: told})
        )
        states: dict[str, State] = {}
        reasons: dict[str, list[str]] = {}
        for query in self.queries:
            each = {member.number: _state_of(found.get(member.number), query) for member in self.members}
            states[query] = worst(each.values())
            if lines := [line for member in self.members for line in _reasons(member.number, found.get(member.number), query)]:
                reasons[query] = lines
        is_ready = len(found) == len(self.members) and all(told["ready"] for told in found.values())
        return Readiness(ready=is_ready, queries=states, reasons=reasons)

    async def status(self) -> Status:
        found: dict[int, dict[str, Any]] = {}
        await self._gather(
            lambda process: process.ask_json("GET", "/v1/status"), lambda member, told: found.update({member.number: told})
        )
        told = [query for number in sorted(found) for query in found[number]["queries"]]
        queries = [_summed(name, [each for each in told if each["name"] == name], len(self.members)) for name in self.queries]
        return Status(version=esp.__version__, queries=queries, workers=[_worker(member) for member in self.members])

    async def require(self, query: str) -> None:
        if query not in self.queries:
            raise RefusedError(404, f"there is no query '{query}' here; there are {', '.join(self.queries)}")
        for member in self.members:
            member.running()

    async def act(self, query: str, action: Action) -> QueryState:
        """Asks all workers; where one cannot do it the others have done it, and asking again is right."""
        await self.require(query)
        if action == "resume":
            self.paused.discard(query)
        else:
            self.paused.add(query)
        target = f"/v1/queries/{quote(query, safe='')}/{action}"
        works = (member.running().ask_json("POST", target, timeout_s=ACT_S) for member in self.members)
        answers = await asyncio.gather(*works, return_exceptions=True)
        done = [answer for answer in answers if not isinstance(answer, BaseException)]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return QueryState(query=query, state=worst(answer["state"] for answer in done))

    async def deploy(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        await self.require(query)
        return await self.deploying.deploy(query, window, data, digest)

    async def hold(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        await self.require(query)
        return await self.deploying.hold(query, window, data, digest)

    async def stand(self, query: str, window: str) -> None:
        await self.require(query)
        await self.deploying.stand(query, window)

    async def swap(self, query: str, window: str) -> Deployment:
        return await self.deploying.swap(query, window)

    async def drop(self, query: str, window: str) -> None:
        await self.deploying.drop(query, window)

    async def _gather(self, ask: Callable[[WorkerProcess], Awaitable[T]], take: Callable[[Member, T], object]) -> None:
        """Asks every worker that can be asked, and takes each answer unless its worker has ended meanwhile."""

        async def one(member: Member) -> None:
            try:
                process = member.running()
                answer = await ask(process)
            except RefusedError as err:
                log.debug("%s", err)
                return
            if member.process is process:
                take(member, answer)

        await asyncio.gather(*map(one, self.members))


ACT_S = 110.0  # a drain may take as long as what is under way


def worst(states: Iterable[State]) -> State:
    """The state that an administrator should see; one that nobody knows counts as not running."""
    return min(states, key=lambda state: WORST_FIRST.index(state) if state in WORST_FIRST else 0, default="not running")


def _state_of(told: Mapping[str, Any] | None, query: str) -> State:
    state: State = told["queries"].get(query, "not running") if told else "not running"
    return state


def _reasons(number: int, told: Mapping[str, Any] | None, query: str) -> list[str]:
    if told is None:
        return [f"worker {number}: it does not answer, or is being started"]
    said = told.get("reasons", {}).get(query, [])
    if not said and not told["ready"] and (state := told["queries"].get(query)) != "running":
        said = [f"the query is {state}"]
    return [f"worker {number}: {line}" for line in said]


def _summed(name: str, told: Sequence[Mapping[str, Any]], workers: int) -> QueryStatus:
    """Counts, lag and state of all; of the latencies the worst, for quantiles have no sum."""
    states = [each["state"] for each in told] + ["not running"] * (workers - len(told))
    lag: dict[str, int] = {}
    for each in told:
        for source, events in each["lag_events"].items():
            lag[source] = lag.get(source, 0) + events
    windows = [_window(rows) for rows in zip(*(each["windows"] for each in told))]
    shares = told[0]["latency_seconds"] if told else {}
    return QueryStatus(
        name=name,
        state=worst(states),
        windows=windows,
        latency_seconds={share: _longest([each["latency_seconds"][share] for each in told]) for share in shares},
        lag_events=lag,
        state_bytes=sum(each["state_bytes"] for each in told),
        checkpoints=sum(each["checkpoints"] for each in told),
    )


def _longest(seconds: Sequence[float | None]) -> float | None:
    """None is longer than is measured."""
    measured = [each for each in seconds if each is not None]
    return max(measured) if len(measured) == len(seconds) else None


def _window(rows: Sequence[Mapping[str, Any]]) -> WindowStatus:
    first = rows[0]
    model = next((row["model"] for row in rows if row["model"]), None)
    counts = {f"events_{count}": sum(row[count] for row in rows) for count in COUNTS}
    return WindowStatus(
        name=first["name"], kind=first["kind"], source=first["from"], model=None if model is None else Model(**model), **counts
    )


def _worker(member: Member) -> WorkerStatus:
    pid = member.process.pid if member.process else None
    return WorkerStatus(number=member.number, ready=member.is_ready, pid=pid, restarts=member.restarts, last_end=member.last_end)
