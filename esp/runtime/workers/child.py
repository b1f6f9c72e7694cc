"""A worker: an engine that is told by its standard input what to run and when to end, and says on its standard output why it ended."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator

from esp.errors import EspError
from esp.runtime.engine import Engine, EngineSettings
from esp.runtime.logs import set_up_logs
from esp.runtime.query import load_query
from esp.runtime.workers.settings import WorkerSettings, fitted

log = logging.getLogger("esp.workers")
LONGEST_DRAIN_S = 30.0  # of a worker whose supervisor is gone


def main() -> None:
    """Runs until told to stop; the exit status is that of ``esp run``."""
    lines = _lines(sys.stdin.fileno())
    settings = WorkerSettings.from_line(next(lines))
    set_up_logs(settings.log, settings.log_level, worker=settings.number)
    orders = _Orders(lines, settings)
    try:
        asyncio.run(_run(settings, orders))
    except EspError as err:
        print(json.dumps({"error": str(err)}), flush=True)
        sys.exit(err.exit_status)
    finally:
        orders.tidy()


async def _run(settings: WorkerSettings, orders: "_Orders") -> None:
    trusted = [bytes.fromhex(key) for key in settings.trusted]
    queries = [fitted(load_query(path, settings.overrides, trusted), settings) for path in settings.queries]
    with _listening(settings) as sock:
        engine_settings = EngineSettings(
            sock, settings.state_dir, settings.token, settings.is_fresh, guards_metrics=True, models_dir=settings.models_dir
        )
        engine = Engine(queries, engine_settings)
        for name, runner in engine.runners.items():
            runner.is_paused = name in settings.paused
            runner.forgets_changelog &= settings.number == 1  # what the first has made since must stay
        orders.follow(engine)
        await engine.run()


def _listening(settings: WorkerSettings) -> socket.socket:
    settings.socket.unlink(missing_ok=True)  # of the worker that was here before
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(settings.socket))
    except FileNotFoundError:  # the folder goes with the last worker that its supervisor has left, and this one was being started
        sock.close()
        log.warning("the supervisor is gone: nothing is begun")
        sys.exit(1)
    sock.listen(128)
    return sock


class _Orders:
    """What the supervisor says: ``stop``, and by the end of the pipe that it is gone."""

    def __init__(self, lines: Iterator[bytes], settings: WorkerSettings) -> None:
        self.lines, self.settings, self.is_orphan = lines, settings, False

    def follow(self, engine: Engine) -> None:
        """From now on drains at the word, and when the supervisor is gone: then it may not take for ever, for nobody else would end it."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._wait, args=(engine, loop), name="esp-supervisor", daemon=True).start()

    def _wait(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        for _ in self.lines:
            _drain(engine, loop)
        self.is_orphan = True
        log.warning("the supervisor is gone: draining")
        timer = threading.Timer(LONGEST_DRAIN_S, os._exit, [1])
        timer.daemon = True
        timer.start()
        _drain(engine, loop)

    def tidy(self) -> None:
        """Takes away what the supervisor cannot any more."""
        if self.is_orphan:
            self.settings.socket.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.settings.socket.parent.rmdir()  # the last one can


def _drain(engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and so does the process
        loop.call_soon_threadsafe(engine.stopping.set)


def _lines(file: int) -> Iterator[bytes]:
    """The lines of a pipe, read past Python's own buffer, whose lock a thread that waits would hold at the exit."""
    held = b""
    while data := os.read(file, 65_536):
        *whole, held = (held + data).split(b"\n")
        yield from whole


if __name__ == "__main__":
    main()
