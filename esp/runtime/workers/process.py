"""A worker's process as its supervisor sees it: started, asked over its socket, told to stop, awaited."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from esp.runtime.admin import RefusedError
from esp.runtime.workers.settings import WorkerSettings

ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended: an exit status (1 for a signal), and the line that says why."""

    status: int
    line: str


class WorkerProcess:
    """One life of a worker. It ends by itself when the pipe to it breaks, so none outlives its supervisor."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings, self.ended = settings, asyncio.Event()

    async def start(self) -> None:
        """A session of its own keeps the terminal's Ctrl-C from it, which is the supervisor's to hear."""
        command = (sys.executable, "-m", "esp.runtime.workers.child")
        pipe, inherited = asyncio.subprocess.PIPE, () if self.settings.kept is None else (self.settings.kept,)
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, start_new_session=True, pass_fds=inherited
        )
        await self._tell(self.settings.to_line())

    @property
    def pid(self) -> int:
        return self.process.pid

    async def stop(self) -> None:
        """Tells it to drain."""
        await self._tell(b"stop\n")

    async def _tell(self, line: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has ended, and ``wait`` tells why
            self.process.stdin.write(line)
            await self.process.stdin.drain()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def wait(self) -> End:
        assert self.process.stdout is not None
        said = await self.process.stdout.read()
        status = await self.process.wait()
        self.ended.set()
        with contextlib.suppress(OSError):
            self.settings.socket.unlink(missing_ok=True)
        if status < 0:
            return End(1, f"killed by {signal.Signals(-status).name}")
        try:
            return End(status, str(json.loads(said.splitlines()[-1])["error"]))
        except (IndexError, ValueError, KeyError, TypeError):
            return End(status, f"it ended with status {status}")

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = ASK_S
    ) -> bytes:
        """What it answers; RefusedError where it refuses, or cannot be reached (409: it starts, or has ended)."""
        place = f"worker {self.settings.number}"
        try:
            async with asyncio.timeout(timeout_s):
                status, answer = await self._exchange(method, target, body, headers or {})
        except (OSError, ValueError, IndexError) as err:
            reason = "did not answer in time" if isinstance(err, TimeoutError) else "is not running; try again when /readyz says so"
            raise UnreachableError(409, f"{place} {reason}") from err
        if status >= 400 and target != "/readyz":
            raise RefusedError(status, f"{place}: {_reason(answer)}")
        return answer

    async def ask_json(self, method: str, target: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self.ask(method, target, **options))
        return answer

    async def _exchange(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self.settings.socket)
        try:
            lines = {
                "Host": "localhost", "Authorization": f"Bearer {self.settings.token}", "Connection": "close",
                "Content-Length": str(len(body)), **headers,
            }  # fmt: skip
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
            writer.write(body)
            await writer.drain()
            head_bytes, _, answer = (await reader.read()).partition(b"\r\n\r\n")
            return int(head_bytes.split(b" ", 2)[1]), answer
        finally:
            writer.close()


class UnreachableError(RefusedError):
    """Nobody can say whether the request was done."""


def _reason(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return "it refused"
