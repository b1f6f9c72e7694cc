"""Every kind of layer against Keras 3 itself, over the three ways in which it writes files."""

from pathlib import Path

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.astore.hdf5 import read_keras
from esp.astore.keras import config_in, graph_of_keras
from tests.astore.keras.cases import CASES
from tests.astore.keras.make import FORMS

NAMES = {name: at for at, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_graph_gives_what_keras_gives(name: str, made: Path) -> None:
    at = NAMES[name]
    config = made / f"{at}.json"
    graph = graph_of_keras(read_keras(made / f"{at}{FORMS[at % len(FORMS)]}"), config_in(config) if config.exists() else None)
    with np.load(made / f"{at}.npz") as held:
        inputs = [held[key] for key in held.files if key.startswith("x")]
        wanted = [held[key] for key in held.files if key.startswith("y")]
    outputs = run_reference(graph, inputs)
    assert len(outputs) == len(wanted)
    for found, expected in zip(outputs, wanted):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
