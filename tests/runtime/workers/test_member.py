"""A worker over its lives: when it is started again, and when that is given up. The processes are small programs of Python."""

import asyncio
import logging
import sys
from pathlib import Path

import pytest

from esp.runtime.admin import RefusedError
from esp.runtime.workers import member as module
from esp.runtime.workers import process as process_module
from esp.runtime.workers.member import Member
from esp.runtime.workers.process import End, WorkerProcess
from esp.runtime.workers.scrapes import Scrapes
from esp.runtime.workers.settings import WorkerSettings
from tests.runtime.memory_stream import until

pytestmark = pytest.mark.timeout(240)


def settings(tmp_path: Path, number: int = 1, is_fresh: bool = False) -> WorkerSettings:
    return WorkerSettings(
        number, 2, (tmp_path / "q.toml",), tmp_path, tmp_path, tmp_path / "socket", "esp-test", "a-token", is_fresh=is_fresh
    )


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of Python that stands in for a worker, and is what an interpreter of its own runs."""
    path = tmp_path / "worker.py"
    start = asyncio.create_subprocess_exec

    async def instead(*command: str, **options: object) -> asyncio.subprocess.Process:
        assert command == (sys.executable, "-m", "esp.runtime.workers.child")
        return await start(sys.executable, "-S", str(path), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(process_module.asyncio, "create_subprocess_exec", instead)
    monkeypatch.setattr(module, "FIRST_BACKOFF_S", 0.001)
    return path


def live(tmp_path: Path, has_been_ready: bool = False) -> tuple[Member, End]:
    async def run() -> tuple[Member, End]:
        member = Member(1, lambda number, is_new: settings(tmp_path, number, is_new), Scrapes())
        if has_been_ready:
            member.has_been_ready.set()
        return member, await member.live(asyncio.Event())

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "has_been_ready", "restarts"),
    [(2, False, 0), (2, True, 0), (3, False, 0), (3, True, 4), (1, False, 4), (0, True, 4)],
)
def test_what_cannot_get_better_ends_at_once_and_what_ends_again_and_again_is_given_up(
    tmp_path: Path, program: Path, status: int, has_been_ready: bool, restarts: int
) -> None:
    program.write_text(f"""import sys; sys.stdin.readline(); print('{{"error": "so it is"}}'); sys.exit({status})""")
    member, end = live(tmp_path, has_been_ready)
    assert member.restarts == restarts
    assert end.status == (status or 1)
    assert end.line == ("so it is" if not restarts else "worker 1 has ended 5 times in a row: so it is")


def test_a_signal_and_a_silent_end_are_told_as_such(tmp_path: Path, program: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "esp.workers")
    program.write_text("import os; os.kill(os.getpid(), 9)")
    assert live(tmp_path)[1] == End(1, "worker 1 has ended 5 times in a row: killed by SIGKILL")
    assert "worker 1 has ended with status 1: killed by SIGKILL; it is started again in" in caplog.text
    program.write_text("import sys; sys.exit(7)")
    assert live(tmp_path)[1] == End(7, "worker 1 has ended 5 times in a row: it ended with status 7")


def test_a_stop_reaches_a_worker_as_a_word_and_its_end_is_the_end(tmp_path: Path, program: Path) -> None:
    program.write_text("import sys; sys.stdin.readline(); sys.exit(0 if sys.stdin.readline() == 'stop\\n' else 1)")

    async def run() -> End:
        stopping = asyncio.Event()
        member = Member(1, lambda number, is_new: settings(tmp_path, number, is_new), Scrapes())
        living = asyncio.create_task(member.live(stopping))
        await until(lambda: member.process is not None)
        stopping.set()
        return await living

    assert asyncio.run(run()).status == 0


def test_a_worker_that_cannot_be_asked_is_refused_with_its_number(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(RefusedError, match="worker 1 is being started; try again when /readyz says so"):
            Member(1, lambda number, is_new: settings(tmp_path), Scrapes()).running()
        with pytest.raises(RefusedError, match="worker 1 is not running") as caught:
            await WorkerProcess(settings(tmp_path)).ask("GET", "/metrics")
        assert caught.value.status == 409

    asyncio.run(run())
