"""Who begins on the state of a run whose supervisor was killed: it waits for that one's workers, and for nobody else."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from esp.errors import StateError
from esp.runtime.workers.predecessors import alone
from tests.runtime.memory_stream import until

HEIR = "import sys; print('here', flush=True); sys.stdin.read()"


async def _leave_a_worker(state: Path) -> "subprocess.Popen[bytes]":
    """A process that has inherited the descriptor of a supervisor that is no more."""
    async with alone(state, asyncio.Event(), 0.0) as kept:
        return await asyncio.to_thread(_heir, kept)


def _heir(kept: int) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([sys.executable, "-c", HEIR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(kept,))
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_a_run_waits_for_the_workers_of_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    course: list[str] = []

    async def play() -> None:
        worker = await _leave_a_worker(tmp_path)

        async def end_it() -> None:
            await until(lambda: "the workers of the run before are still there" in caplog.text)
            course.append("the worker ends")
            worker.communicate()

        ending = asyncio.create_task(end_it())
        async with alone(tmp_path, asyncio.Event(), 300.0):
            course.append("the next run begins")
        await ending

    asyncio.run(play())
    assert course == ["the worker ends", "the next run begins"]


def test_workers_that_do_not_end_are_an_error_with_the_mend(tmp_path: Path) -> None:
    async def play() -> None:
        worker = await _leave_a_worker(tmp_path)
        try:
            with pytest.raises(StateError, match=r"workers of another run live on this state; stop it, or give this one a state"):
                async with alone(tmp_path, asyncio.Event(), -1.0):
                    pass
        finally:
            await asyncio.to_thread(worker.communicate)

    asyncio.run(play())


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    async def play() -> None:
        worker, stopping = await _leave_a_worker(tmp_path), asyncio.Event()
        stopping.set()
        async with alone(tmp_path, stopping, 300.0):
            await asyncio.to_thread(worker.communicate)

    asyncio.run(play())
