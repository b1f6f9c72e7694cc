"""An engine in a process of its own: started, awaited until it is ready, stopped so that it drains."""

import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from esp.errors import StartError

ADDRESS = re.compile(r"admin API and metrics at (http://\S+)")
PROBE_S, TAIL_LINES = 0.05, 400


class EngineProcess:
    """``esp run`` over some queries; leaving its context ends the process, whatever happened.

    ``command`` is what is started (a stand-in, for tests). The log is kept in ``lines``, the last of it, and shown nowhere.
    """

    def __init__(
        self, queries: Sequence[Path], brokers: str, state: Path, *, options: Sequence[str] = (), command: Sequence[str] = ()
    ) -> None:
        run = command or (sys.executable, "-m", "esp", "run")
        given = ["--brokers", brokers, "--listen", "127.0.0.1:0", "--state", str(state), *options]
        self.command = [*run, *map(str, queries), *given]
        self.url = ""
        self.lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._process: subprocess.Popen[str] | None = None
        self._log: threading.Thread | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return None if self._process is None else self._process.poll()

    def launch(self) -> "EngineProcess":
        """Starts the process, out of reach of the terminal's Ctrl-C: whoever started it stops it."""
        self._process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        self._log = threading.Thread(target=self._read_log, daemon=True)
        self._log.start()
        return self

    def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip())
            if not self.url and (found := ADDRESS.search(line)):
                self.url = found[1]

    def wait_ready(self, timeout_s: float) -> str:
        """Waits until every query runs; gives the engine's address. StartError with the engine's own words when it does not."""
        deadline = time.monotonic() + timeout_s
        while not (self.url and _answers(f"{self.url}/readyz")):
            if self.status is not None:
                raise StartError(f"the engine ended with status {self.status}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StartError(f"the engine is not ready after {timeout_s:g} s: {self.last_words()}")
            time.sleep(PROBE_S)
        return self.url

    def stop(self, timeout_s: float = 20.0) -> int:
        """Sends SIGTERM, on which the engine drains; gives its exit status (-9 where it had to be killed)."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._ended()

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self._ended()

    def _ended(self) -> int:
        assert self._process is not None
        assert self._process.stderr is not None
        status = self._process.wait()
        if self._log is not None:
            self._log.join()
        self._process.stderr.close()
        return status

    def last_words(self) -> str:
        """The last line of the log."""
        return self.lines[-1] if self.lines else "it said nothing"

    def __enter__(self) -> "EngineProcess":
        return self.launch() if self._process is None else self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
