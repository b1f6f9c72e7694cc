"""The workers: ``esp run`` in up to so many places, each with a query folder and a state folder of its own, killed and started again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from esp.client import AdminClient
from esp.errors import EspError
from loadtest.killing.kit import SCORED
from loadtest.killing.schedule import Action
from loadtest.subjects import ROOT

PATIENCE_S = 120.0
BROKER_S = 100.0  # for a broker that is on its way up again
ASK_S = 0.05
PASSING = ("is gone", "/readyz says", "in time", "no engine answers")  # what ends a deployment that is worth another try
READY = "admin API and metrics at"


class WorkerError(Exception):
    """A worker ended by itself, or did not end when told to."""


class Worker:
    """A place for one process; its logs and its state outlive it."""

    def __init__(self, folder: Path, query: Path, name: str, options: Sequence[str] = ()) -> None:
        self.folder, self.log, self.name, self.options = folder, folder / "log", name, options
        shutil.copytree(query, folder / "query")
        self.process: subprocess.Popen[bytes] | None = None
        self.begin = 0

    def start(self) -> None:
        options = [
            "--state",
            str(self.folder / "state"),
            "--listen",
            "127.0.0.1:0",
            "--wait-for-broker",
            f"{BROKER_S:g}",
            *self.options,
        ]
        command = [sys.executable, "-m", "esp", "run", str(self.folder / "query"), *options]
        with self.log.open("ab") as out:
            self.begin = out.tell()
            # a session of its own, so that Ctrl-C reaches it only through us
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)

    @property
    def is_up(self) -> bool:
        return self.process is not None

    @property
    def text(self) -> str:
        """What the process that runs has said."""
        return self.log.read_bytes()[self.begin :].decode(errors="replace") if self.log.exists() else ""

    def check(self) -> None:
        if self.process is not None and (status := self.process.poll()) is not None:
            self.process = None
            raise WorkerError(f"{self.folder.name} ended by itself with status {status}: {self.text.strip()[-1500:]}")

    @property
    def url(self) -> str:
        """Where it listens; empty while it does not yet."""
        found = re.search(r"https?://[\d.]+:\d+", self.text)
        return found[0] if found else ""

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz" if self.url else "", timeout=5):
                return True
        except (OSError, ValueError):
            return False

    def takes(self, model: Path, window: str) -> bool:
        """Deploys a model; False while the engine is not ready, its broker is away, or a worker of its is between two lives."""
        if not self.is_ready():
            return False
        try:
            AdminClient(self.url).deploy(model, f"{self.name}/{window}")
        except EspError as err:
            if any(passing in err.what for passing in PASSING):
                return False
            raise
        return True

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Ends it in good order; WorkerError where the status is not 0."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise WorkerError(f"{self.folder.name} was told to end and did not: {self.text.strip()[-1500:]}") from None
        is_infant = status == -signal.SIGTERM and READY not in self.text  # it had not come to listen to signals
        if status and not is_infant:
            raise WorkerError(f"{self.folder.name} was told to end, and did with status {status}: {self.text.strip()[-1500:]}")


class Fleet:
    """The workers of one group, started apart. Models that are deployed to those that run also replace the files of the others."""

    def __init__(self, folder: Path, query: Path, name: str, places: int, freeze_s: float = 0.0) -> None:
        self.places = [Worker(folder / f"worker-{number}", query, name) for number in range(places)]
        self.freeze_s = freeze_s

    @property
    def up(self) -> list[Worker]:
        return [worker for worker in self.places if worker.is_up]

    def add(self) -> Worker:
        worker = next(worker for worker in self.places if not worker.is_up)
        worker.start()
        return worker

    def check(self) -> None:
        for worker in self.places:
            worker.check()

    def is_ready(self) -> bool:
        return all(worker.is_ready() for worker in self.up)

    def deploy(self, model: Path, window: str) -> None:
        assert window in SCORED
        for worker in self.up:  # a partition that moved on while some have the new model would go back to the old one
            until(worker.is_ready, self.check, f"{worker.folder.name} to be of the group")
        for worker in self.up:
            until(partial(worker.takes, model, window), self.check, f"{worker.folder.name} to take a deployment")
        for worker in self.places:
            if not worker.is_up:
                shutil.copyfile(model, worker.folder / "query" / f"{window}.astore.new")
                os.replace(worker.folder / "query" / f"{window}.astore.new", worker.folder / "query" / f"{window}.astore")

    def suffer(self, action: Action) -> str:
        """Does an action on workers; gives who it was done to."""
        acts = {"kill": self._kill, "stop": self._stop, "freeze": self._freeze, "join": self._join, "leave": self._leave}
        return acts[action.kind](action.pick)

    def _one(self, pick: int) -> Worker:
        return self.up[pick % len(self.up)]

    def _kill(self, pick: int) -> str:
        worker = self._one(pick)
        worker.kill()
        worker.start()
        return worker.folder.name

    def _stop(self, pick: int) -> str:
        worker = self._one(pick)
        worker.stop()
        worker.start()
        return worker.folder.name

    def _freeze(self, pick: int) -> str:
        worker = self._one(pick)
        until(worker.is_ready, self.check, f"{worker.folder.name} to be of the group")
        frozen(worker.send, self.freeze_s)
        return worker.folder.name

    def _join(self, pick: int) -> str:
        if len(self.up) == len(self.places):
            return self._kill(pick) + ", killed: all are there"
        worker = self.add()
        until(worker.is_ready, self.check, f"{worker.folder.name} to join")
        return f"{worker.folder.name} as one of {len(self.up)}"

    def _leave(self, pick: int) -> str:
        if len(self.up) == 1:
            return self._stop(pick) + ", stopped: it is the last"
        worker = self._one(pick)
        worker.stop()
        return f"{worker.folder.name}, {len(self.up)} stay"

    def stop(self) -> None:
        """Ends all in good order, one after the other."""
        for worker in self.places:
            worker.stop()

    def kill(self) -> None:
        for worker in self.places:
            worker.kill()


def frozen(send: Callable[[signal.Signals], object], seconds: float) -> None:
    """Lets a process stand still for so long."""
    send(signal.SIGSTOP)
    thawing = threading.Timer(seconds, send, [signal.SIGCONT])
    thawing.start()
    thawing.join()


def until(is_so: Callable[[], bool], check: Callable[[], None], what: str) -> None:
    """Waits for a world of other processes, looking whether they are still there; WorkerError when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        check()
        if time.monotonic() > deadline:
            raise WorkerError(f"waited {PATIENCE_S:g} s for {what}")
        time.sleep(ASK_S)
