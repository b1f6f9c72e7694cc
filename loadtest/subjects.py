"""What is measured: the engine, or the pass-through, as a child process, with its CPU seconds and memory sampled while it works."""

import re
import signal
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
START_S, STOP_S, SAMPLE_S = 180.0, 30.0, 0.1
MB = 1e6


class SubjectError(Exception):
    """The process under test did not start, or died; the message ends with what it said last."""


@dataclass(slots=True)
class Samples:
    """CPU seconds and resident bytes of a process at moments of the wall clock."""

    at_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)

    def cpu_between(self, from_s: float, to_s: float) -> float:
        """CPU seconds spent between two moments, by a straight line between the samples around each."""
        start, end = np.interp([from_s, to_s], self.at_s, self.cpu_s)
        return float(end - start)

    def resident_mb(self, at_s: float) -> float:
        """Memory at the last sample up to a moment."""
        at = int(np.searchsorted(self.at_s, at_s, side="right"))
        return self.resident_bytes[max(at - 1, 0)] / MB


class Sampler:
    """Samples a process ten times a second from a thread until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.samples, self._process, self._stop = Samples(), psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.take()
        while not self._stop.wait(SAMPLE_S):
            self.take()

    def take(self) -> None:
        try:
            with self._process.oneshot():
                times, resident = self._process.cpu_times(), self._process.memory_info().rss
        except psutil.NoSuchProcess:
            return
        self.samples.at_s.append(time.time())
        self.samples.cpu_s.append(times.user + times.system)
        self.samples.resident_bytes.append(resident)

    def stop(self) -> Samples:
        """Takes a last sample."""
        self._stop.set()
        self._thread.join()
        self.take()
        return self.samples


class Subject:
    """A child process that works from one topic to another; a context that ends it."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name, self.command = name, command
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Subject":
        with self.log.open("wb") as out:
            # a session of its own, so that Ctrl-C reaches it only through us
            self._process = subprocess.Popen(self.command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Raises SubjectError when the process has died."""
        if self._process is None or self._process.poll() is not None:
            raise SubjectError(f"{self.name} has ended before its time: {self.text().strip()[-1500:]}")

    def is_ready(self) -> bool:
        return "ready" in self.text()

    def metrics(self) -> str:
        """What it says of itself in Prometheus' words; nothing by itself."""
        return ""

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise SubjectError(f"{self.name} is not ready after {START_S:g} s: {self.text().strip()[-1500:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Lets the process drain and end; one that does not is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Engine(Subject):
    """``esp run``, found by the address in its log."""

    @property
    def address(self) -> str | None:
        found = re.search(r"admin API and metrics at (http://[\w.:\[\]-]+)", self.text())
        return found[1] if found else None

    def is_ready(self) -> bool:
        if self.address is None:
            return False
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=30) as answer:
            return str(answer.read().decode())
