"""The folder of what Keras itself makes of every case."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def in_keras(module: str, folder: Path) -> None:
    """Runs a module of these tests in a process of its own, which may import Keras."""
    command = [sys.executable, "-m", f"tests.astore.keras.{module}", str(folder)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def run_keras() -> Callable[[str, Path], None]:
    return in_keras


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what Keras made of every case."""
    if find_spec("keras") is None or find_spec("jax") is None:
        pytest.skip("keras and jax are not installed")
    folder = tmp_path_factory.mktemp("keras")
    in_keras("make", folder)
    return folder
