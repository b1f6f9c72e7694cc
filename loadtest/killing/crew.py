"""The supervised form: one ``esp run --workers N``, whose workers are killed, frozen and started again, and whose supervisor dies too."""

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from esp.client import AdminClient
from esp.errors import EspError
from loadtest.killing.fleet import Worker, WorkerError, frozen, until
from loadtest.killing.kit import SCORED
from loadtest.killing.schedule import Action


class Crew:
    """A supervisor in one place, and its workers, which are known by their process ids."""

    def __init__(self, folder: Path, query: Path, name: str, workers: int, freeze_s: float) -> None:
        self.place = Worker(folder / "supervisor", query, name, ("--workers", str(workers)))
        self.workers, self.freeze_s, self.kills = workers, freeze_s, 0
        self.seen: set[int] = set()  # process ids of all workers that were ever asked for

    def add(self) -> Worker:
        self.place.start()
        return self.place

    def check(self) -> None:
        self.place.check()

    def is_ready(self) -> bool:
        return self.place.is_ready()

    def deploy(self, model: Path, window: str) -> None:
        assert window in SCORED
        until(partial(self.place.takes, model, window), self.check, "the supervisor to take a deployment")

    def suffer(self, action: Action) -> str:
        """Does an action on the workers, or on their supervisor; gives who it was done to."""
        acts = {"kill": self._kill, "stop": self._stop, "freeze": self._freeze, "supervisor": self._supervisor}
        return acts[action.kind](action.pick)

    def _pids(self) -> dict[int, int]:
        """Process ids by worker, of those that live; empty where nobody answers."""
        with suppress(EspError):
            told = AdminClient(self.place.url or "http://127.0.0.1:1").status()["workers"]
            found = {each["number"]: each["pid"] for each in told if each["pid"]}
            self.seen |= set(found.values())
            return found
        return {}

    def _worker(self) -> tuple[int, int]:
        """Number and process id of the worker whose turn it is: one that dies too often in a row ends the run, as it should."""
        self.kills += 1
        number = self.kills % self.workers + 1
        until(lambda: number in self._pids(), self.check, f"worker {number} to live")
        return number, self._pids()[number]

    def _kill(self, pick: int) -> str:
        number, pid = self._worker()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"worker {number}"

    def _freeze(self, pick: int) -> str:
        until(self.place.is_ready, self.check, "all workers to be of the group")
        number, pid = self._worker()
        frozen(partial(_send, pid), self.freeze_s)
        return f"worker {number}"

    def _stop(self, pick: int) -> str:
        self.stop()
        self.place.start()
        return "all, by the supervisor"

    def _supervisor(self, pick: int) -> str:
        """Its workers drain and end by themselves; every other time a new one is there before they have."""
        until(lambda: len(self._pids()) == self.workers, self.check, "all workers to live")
        self.place.kill()
        if pick % 2:
            self.place.start()
            return "the supervisor, and a new one at once"
        self._see_them_end()
        self.place.start()
        return "the supervisor, and a new one when its workers had ended"

    def _see_them_end(self) -> None:
        until(lambda: not any(map(_lives, self.seen)), lambda: None, f"the end of the workers {sorted(self.seen)}")

    def stop(self) -> None:
        """Ends it in good order; WorkerError where a worker outlives it."""
        self._pids()
        self.place.stop()
        if left := sorted(filter(_lives, self.seen)):
            raise WorkerError(f"the supervisor has ended, and its workers {left} have not")

    def kill(self) -> None:
        """Ends all that is left, at once."""
        self._pids()
        self.place.kill()
        for pid in filter(_lives, self.seen):
            _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    """Whether a worker is there; another process that has got its number since is none."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "esp.runtime.workers.child" in process.cmdline()
    return False
