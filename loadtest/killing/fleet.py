"""The workers: ``esp run`` in up to so many places, each with a query folder and a state folder of its own, killed and started again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from esp.client import AdminClient
from esp.errors import EspError
from loadtest.killing.kit import SCORED
from loadtest.subjects import ROOT

PATIENCE_S = 120.0
BROKER_S = 100.0  # for a broker that is on its way up again
ASK_S = 0.05
READY = "admin API and metrics at"


class WorkerError(Exception):
    """A worker ended by itself, or did not end when told to."""


class Worker:
    """A place for one process; its logs and its state outlive it."""

    def __init__(self, folder: Path, query: Path, name: str) -> None:
        self.folder, self.log, self.name = folder, folder / "log", name
        shutil.copytree(query, folder / "query")
        self.process: subprocess.Popen[bytes] | None = None
        self.begin = 0

    def start(self) -> None:
        options = ["--state", str(self.folder / "state"), "--listen", "127.0.0.1:0", "--wait-for-broker", f"{BROKER_S:g}"]
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

    def is_ready(self) -> bool:
        found = re.search(r"https?://[\d.]+:\d+", self.text)
        try:
            with urllib.request.urlopen(f"{found[0]}/readyz" if found else "", timeout=5):
                return True
        except (OSError, ValueError):
            return False

    def takes(self, model: Path, window: str) -> bool:
        """Deploys a model; False while the engine is not ready, or its broker is away."""
        found = re.search(r"https?://[\d.]+:\d+", self.text)
        if not found or not self.is_ready():
            return False
        try:
            AdminClient(found[0]).deploy(model, f"{self.name}/{window}")
        except EspError as err:
            if "is gone" in err.what:
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
    """The workers of one group. Models that are deployed to those that run also replace the files of the others."""

    def __init__(self, folder: Path, query: Path, name: str, places: int) -> None:
        self.places = [Worker(folder / f"worker-{number}", query, name) for number in range(places)]

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

    def stop(self) -> None:
        """Ends all in good order, one after the other."""
        for worker in self.places:
            worker.stop()

    def kill(self) -> None:
        for worker in self.places:
            worker.kill()


def until(is_so: Callable[[], bool], check: Callable[[], None], what: str) -> None:
    """Waits for a world of other processes, looking whether they are still there; WorkerError when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        check()
        if time.monotonic() > deadline:
            raise WorkerError(f"waited {PATIENCE_S:g} s for {what}")
        time.sleep(ASK_S)
