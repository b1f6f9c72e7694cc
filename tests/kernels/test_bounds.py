"""No decoder reads a byte outside of the record that it is given, whatever that holds."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["msgpack", "json", "csv"])
def test_records_between_pages_that_cannot_be_read(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.kernels.guarded", name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, good = map(int, done.stdout.split())
    assert count > 2000
    assert 100 < good < count - 100


def test_the_guard_is_one() -> None:
    """A read past the end of what was placed ends the process."""
    program = "import ctypes; from tests.kernels.guarded import Guarded; place = Guarded().place(b'xyz', True); ctypes.string_at(place.ctypes.data, 4)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode < 0
