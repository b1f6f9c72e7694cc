"""No read outside the buffer, whatever is damaged: a fuzz run between pages without access, in a process that such a read would end."""

import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.skipif(not hasattr(signal, "SIGSEGV") or sys.platform == "win32", reason="no pages to guard")]


def run(*args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.kernels.guarded_batches", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=380)


def test_damaged_batches_are_read_or_refused_without_a_read_outside_the_buffer() -> None:
    done = run("20000")
    assert done.returncode == 0, done.stderr[-2000:]
    read_to_end, refused = map(int, done.stdout.split())
    assert read_to_end > 500
    assert refused > 5000
