"""A deployment to several workers: all check the model before one swaps it, and what is recorded is what all come to score with."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from esp.runtime.admin import RefusedError
from esp.runtime.answers import Deployment
from esp.runtime.deployments import Deployments
from esp.runtime.workers.member import Member
from esp.runtime.workers.process import UnreachableError, WorkerProcess

log = logging.getLogger("esp.workers")
CHECK_S, STAND_S, SWAP_S = 300.0, 10.0, 60.0


@dataclass(slots=True)
class _Course:
    """A deployment under way: the processes that were there when it began, and what they hold once all have checked it."""

    processes: Sequence[WorkerProcess]
    target: str
    held: Deployment | None = None


class Deploying:
    """Deploys in two halves. The table of deployments lies in a folder that all workers share.

    First every worker checks and warms the model, then each makes durable what it has worked off, and stands still: so nothing that
    one of them has sent will be scored again by the other model, whoever dies. If one refuses, nothing has changed. Then one worker
    swaps it, which records the deployment; if that fails, nothing has changed either. From then on it stands: a worker that cannot
    swap it is ended, and comes back with what is recorded; so is one that was started meanwhile.
    """

    def __init__(self, members: Sequence[Member], models_dir: Path) -> None:
        self.members, self.models_dir = members, models_dir
        self._courses: dict[tuple[str, str], _Course] = {}
        self._one_at_a_time = asyncio.Lock()

    async def deploy(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        async with self._one_at_a_time:
            try:
                await self._hold(query, window, data, digest)
                await self._stand(query, window)
            except BaseException:
                await self._drop(query, window)
                raise
            return await self._swap_all(query, window)

    # ---- the same step by step, for whoever deploys to others too --------------------------------------------------------

    async def hold(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        async with self._one_at_a_time:
            return await self._hold(query, window, data, digest)

    async def stand(self, query: str, window: str) -> None:
        async with self._one_at_a_time:
            await self._stand(query, window)

    async def swap(self, query: str, window: str) -> Deployment:
        async with self._one_at_a_time:
            return await self._swap_all(query, window)

    async def drop(self, query: str, window: str) -> None:
        async with self._one_at_a_time:
            await self._drop(query, window)

    # ----------------------------------------------------------------------------------------------------------------------

    async def _hold(self, query: str, window: str, data: bytes, digest: str) -> Deployment:
        """The first alone: it may measure which backend is the faster, and the others find what it measured."""
        course = self._courses[query, window] = _Course([member.running() for member in self.members], _target(query, window))
        headers = {"esp-digest": digest} if digest else {}

        async def one(process: WorkerProcess) -> Deployment:
            return Deployment(**json.loads(await process.ask("PUT", course.target, data, headers, timeout_s=CHECK_S)))

        held = await one(course.processes[0])
        await _all(map(one, course.processes[1:]))
        course.held = held
        return held

    async def _stand(self, query: str, window: str) -> None:
        course = self._course(query, window)
        await _all(process.ask("POST", f"{course.target}/standing", timeout_s=STAND_S) for process in course.processes)

    async def _swap_all(self, query: str, window: str) -> Deployment:
        course = self._course(query, window)
        assert course.held is not None
        first, *others = course.processes
        try:
            await self._swap_first(first, course.target, query, window, course.held)
        except BaseException:
            await self._drop(query, window)
            raise
        await asyncio.gather(*(self._swap(process, course.target) for process in others))
        self._end_newer(course.processes)
        del self._courses[query, window]
        return course.held

    async def _drop(self, query: str, window: str) -> None:
        course = self._courses.pop((query, window), None)
        if course is not None:
            await asyncio.gather(*(process.ask("DELETE", course.target) for process in course.processes), return_exceptions=True)

    def _course(self, query: str, window: str) -> "_Course":
        course = self._courses.get((query, window))
        if course is None or course.held is None:
            raise RefusedError(422, f"no model waits for window '{window}' of query '{query}'; deploy it again")
        return course

    async def _swap_first(self, process: WorkerProcess, target: str, query: str, window: str, held: Deployment) -> None:
        try:
            await process.ask("POST", target, timeout_s=SWAP_S)
        except UnreachableError:  # it may have been done: once the worker is gone, the table tells
            process.kill()
            await process.ended.wait()
            if Deployments(self.models_dir / query / "models").recorded(window) != held.new:
                raise

    async def _swap(self, process: WorkerProcess, target: str) -> None:
        try:
            await process.ask("POST", target, timeout_s=SWAP_S)
        except RefusedError as err:
            log.error("%s; it is ended, and comes back with the new model", err)
            process.kill()

    def _end_newer(self, processes: Sequence[WorkerProcess]) -> None:
        """A worker that was started while the others were deployed to may have begun before the deployment was recorded."""
        for member, process in zip(self.members, processes):
            if member.process not in (None, process):
                log.warning("worker %d was started meanwhile; it is ended, and comes back with the new model", member.number)
                member.process.kill()


def _target(query: str, window: str) -> str:
    return f"/v1/queries/{quote(query, safe='')}/windows/{quote(window, safe='')}/held"


async def _all(works: Iterable[Awaitable[object]]) -> None:
    """Waits for all; raises what the first of those that failed did."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
