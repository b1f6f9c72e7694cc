"""A worker in its own process, before it has come to listen."""

import subprocess
import sys
from pathlib import Path

from esp.runtime.workers.settings import WorkerSettings


def test_a_worker_that_finds_its_supervisor_gone_ends_with_a_line_and_begins_nothing(tmp_path: Path) -> None:
    socket, state = tmp_path / "taken away" / "1", tmp_path / "state"
    line = WorkerSettings(1, 2, (), state, state, socket, "esp-abc", "secret").to_line()
    command = [sys.executable, "-m", "esp.runtime.workers.child"]
    done = subprocess.run(command, input=line, capture_output=True, check=False, timeout=360)
    told = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert len(told) == 1
    assert told[0].endswith("the supervisor is gone: nothing is begun")
    assert not state.exists()
