"""Every kind of layer against Keras 3 itself, over the three ways in which it writes files."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.astore.keras import import_keras
from tests.astore.keras.cases import CASES
from tests.astore.keras.make import FORMS

ROOT = Path(__file__).parents[3]
NAMES = {name: at for at, name in enumerate(CASES)}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what Keras made of every case."""
    if find_spec("keras") is None or find_spec("jax") is None:
        pytest.skip("keras and jax are not installed")
    folder = tmp_path_factory.mktemp("keras")
    command = [sys.executable, "-m", "tests.astore.keras.make", str(folder)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", CASES)
def test_graph_gives_what_keras_gives(name: str, made: Path) -> None:
    at = NAMES[name]
    config = made / f"{at}.json"
    graph = import_keras(made / f"{at}{FORMS[at % len(FORMS)]}", config=config if config.exists() else None).graph
    with np.load(made / f"{at}.npz") as held:
        inputs = [held[key] for key in held.files if key.startswith("x")]
        wanted = [held[key] for key in held.files if key.startswith("y")]
    outputs = run_reference(graph, inputs)
    assert len(outputs) == len(wanted)
    for found, expected in zip(outputs, wanted):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
