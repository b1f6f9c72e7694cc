"""One worker over all its lives: started, started again with back-off when it has ended, given up when that leads to nothing."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from time import monotonic

from esp.runtime.admin import RefusedError
from esp.runtime.waiting import until
from esp.runtime.workers.process import End, WorkerProcess
from esp.runtime.workers.scrapes import Scrapes
from esp.runtime.workers.settings import WorkerSettings

log = logging.getLogger("esp.workers")
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 30.0
MOST_ENDS = 5  # of a worker that is never up for STEADY_S between
STEADY_S = 60.0
LOOK_S = 0.2
WRONG, NOT_STARTED = 2, 3


class Member:
    """A worker of the run; ``settings`` tells what its next life begins with."""

    def __init__(self, number: int, settings: Callable[[int, bool], WorkerSettings], scrapes: Scrapes) -> None:
        self.number, self.settings, self.scrapes = number, settings, scrapes
        self.process: WorkerProcess | None = None
        self.restarts, self.last_end = 0, ""
        self.is_ready, self.has_been_ready = False, asyncio.Event()

    def running(self) -> WorkerProcess:
        """Its process; RefusedError between two lives."""
        if self.process is None:
            raise RefusedError(409, f"worker {self.number} is being started; try again when /readyz says so")
        return self.process

    def scraped(self, text: bytes) -> None:
        self.scrapes.take(self.number, text)

    async def live(self, stopping: asyncio.Event) -> End:
        """Keeps the worker alive until a stop is asked for; gives its last end, early where starting it again would not help."""
        ends = 0
        while not stopping.is_set():
            start_s = monotonic()
            was_new = not self.has_been_ready.is_set()
            end = await self._one_life(stopping)
            if stopping.is_set():
                return end
            ends = 1 if monotonic() - start_s > STEADY_S else ends + 1
            self.last_end = end.line
            if end.status == WRONG or (end.status == NOT_STARTED and was_new):
                return end
            if ends >= MOST_ENDS:
                return End(max(end.status, 1), f"worker {self.number} has ended {ends} times in a row: {end.line}")
            await self._back_off(end, ends, stopping)
        return End(0, "")

    async def _one_life(self, stopping: asyncio.Event) -> End:
        process = WorkerProcess(self.settings(self.number, not self.has_been_ready.is_set()))
        await process.start()
        self.process = process
        helpers = [asyncio.create_task(self._watch(process)), asyncio.create_task(_stop_in_time(process, stopping))]
        try:
            return await process.wait()
        finally:
            self.process, self.is_ready = None, False
            self.scrapes.end(self.number)
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _watch(self, process: WorkerProcess) -> None:
        """Whether it is ready, as its own /readyz says."""
        while True:
            with contextlib.suppress(RefusedError):
                told = await process.ask_json("GET", "/readyz")
                self.is_ready = bool(told["ready"])
                if self.is_ready:
                    self.has_been_ready.set()
            await asyncio.sleep(LOOK_S if not self.has_been_ready.is_set() else 5 * LOOK_S)

    async def _back_off(self, end: End, ends: int, stopping: asyncio.Event) -> None:
        wait_s = min(FIRST_BACKOFF_S * 2 ** (ends - 1), LAST_BACKOFF_S) * random.uniform(0.5, 1.0)
        log.error(
            "worker %d has ended with status %d: %s; it is started again in %.1f s", self.number, end.status, end.line, wait_s
        )
        await until(stopping, [asyncio.ensure_future(asyncio.sleep(wait_s))])
        self.restarts += 1


async def _stop_in_time(process: WorkerProcess, stopping: asyncio.Event) -> None:
    await stopping.wait()
    await process.stop()
