"""The cache of compiled kernels: filled by several processes at once, and where there is no place to write."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# A module of few kernels: it uses one, and tells what that gave, how many functions were compiled, and where the cache is.
PROGRAM = """
import numpy as np
from esp.kernels.compile import CACHE_DIR, compilations
from esp.kernels.intake import any_nan

found = [bool(any_nan(np.array(numbers, np.float32))) for numbers in ((1.0, np.nan), (1.0, 2.0))]
print(found, compilations(), CACHE_DIR, sep="|")
"""


def start(folder: Path, **env: str) -> "subprocess.Popen[str]":
    """A process that uses a kernel; what it would leave in a temporary place lies in ``folder``."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ESP_CACHE_DIR", "XDG_CACHE_HOME")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=kept | {"TMPDIR": str(folder)} | env, text=True, **pipes)


def told(process: "subprocess.Popen[str]") -> tuple[int, Path]:
    """How many functions it compiled, and where its cache is; it ended well and scored right."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    found, compiled, cache = out.strip().split("|")
    assert found == "[True, False]"
    return int(compiled), Path(cache)


def test_processes_that_start_at_once_on_an_empty_cache_all_work_and_the_next_compiles_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = [told(process) for process in [start(tmp_path, ESP_CACHE_DIR=str(cache)) for _ in range(3)]]
    assert all(folder.is_relative_to(cache) for _, folder in first)
    assert max(compiled for compiled, _ in first) > 0
    assert told(start(tmp_path, ESP_CACHE_DIR=str(cache)))[0] == 0


def _locked(path: Path) -> Path:
    """A home directory that cannot be written."""
    if os.geteuid() == 0:
        pytest.skip("nothing is locked for root")
    path.mkdir(mode=0o555)
    return path


def _file(path: Path) -> Path:
    """No directory at all: nobody can write there, root neither."""
    path.write_text("")
    return path


@pytest.mark.parametrize("make", [_locked, _file])
def test_a_home_that_cannot_be_written_is_no_failure(make: Callable[[Path], Path], tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    _, cache = told(start(tmp_path, HOME=str(home)))
    assert cache.is_relative_to(tmp_path)
    assert not cache.is_relative_to(home)
