"""The cache of compiled kernels: filled by several processes at once, and where there is no place to write."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from esp.kernels import compile
from esp.runtime.backends.choice import Case, Choice, Chooser

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
    out, err = process.communicate(timeout=380)
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


# Gives up root's right to write everywhere, imports all that a plan runs, and asks for a choice that was kept.
ENGINE = """
import ctypes, logging, os, sys
if os.geteuid() == 0:
    libc, head, rights = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(head, rights)
    rights[0] &= ~2  # CAP_DAC_OVERRIDE, of those in effect
    libc.capset(head, rights)
if os.access(sys.argv[1], os.W_OK, effective_ids=True):
    sys.exit("it can be written")
logging.basicConfig()
import esp.kernels.intake, esp.kernels.plan
from esp.kernels.compile import CACHE_DIR, compilations
from esp.runtime.backends.choice import CHOOSER, Case

print(compilations(), CACHE_DIR, CHOOSER.recall(Case("ab" * 32)), sep="|")
"""


def _filled(root: Path) -> Path:
    """A cache with all kernels and a choice."""
    for name in ("plan", "intake"):
        importlib.import_module(f"esp.kernels.{name}")
    cache = root / "kernels" / compile._host()
    shutil.copytree(compile.CACHE_DIR, cache)
    Chooser(cache / "backends").keep(Case("ab" * 32), Choice("numba", {1: 2.0}))
    return cache


def _locked_engine(folder: Path, root: Path) -> tuple[int, Path, str, str]:
    """An engine's start in which ``root`` cannot be written: compilations, its cache, the choice, and what it logged."""
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    home = _file(folder / "home")
    env = os.environ | {"ESP_CACHE_DIR": str(root), "TMPDIR": str(folder), "HOME": str(home), "XDG_CACHE_HOME": ""}
    done = subprocess.run([sys.executable, "-c", ENGINE, root], env=env, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stderr
    compiled, cache, choice = done.stdout.strip().split("|")
    return int(compiled), Path(cache), choice, done.stderr


def test_a_filled_cache_that_cannot_be_written_is_used_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    _filled(root)
    compiled, cache, choice, log = _locked_engine(tmp_path, root)
    assert (compiled, log) == (0, "")
    assert choice == str(Choice("numba", {1: 2.0}))
    assert not cache.exists()  # the links to it went with the process


def test_what_a_cache_that_cannot_be_written_lacks_is_compiled_aside_and_said_once(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    cache = _filled(root)
    for lost in cache.glob("intake-*"):
        shutil.rmtree(lost)
    before = sorted(root.rglob("*"))
    compiled, _, choice, log = _locked_engine(tmp_path, root)
    assert compiled > 0
    assert choice == str(Choice("numba", {1: 2.0}))
    assert log.count("no cache can be written") == 1
    assert sorted(root.rglob("*")) == before
