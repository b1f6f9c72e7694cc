"""Weights of every kind of layer from Keras 3 into an astore's graph, out into a file and into the same Keras model again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from esp.astore.graph import Graph
from esp.astore.hdf5 import read_keras, write_keras_weights
from esp.astore.keras import config_in, graph_of_keras
from esp.errors import FileError
from tests.astore.keras.cases import CASES
from tests.astore.keras.load import ENDINGS
from tests.astore.keras.make import FORMS

NAMES = {name: at for at, name in enumerate(CASES)}
NOTHING = "nothing in it is a weight that Keras has"
WITHIN = "it is in a model within the model, whose class is not known here"


def graph_of(folder: Path, at: int) -> Graph:
    config = folder / f"{at}.json"
    return graph_of_keras(read_keras(folder / f"{at}{FORMS[at % len(FORMS)]}"), config_in(config) if config.exists() else None)


@pytest.fixture(scope="session")
def loaded(made: Path, run_keras: Callable[[str, Path], None]) -> dict[str, str]:
    """What we refused to write, by file; the others have been loaded by Keras."""
    refused = {}
    for at in NAMES.values():
        graph = graph_of(made, at)
        for ending in ENDINGS:
            try:
                write_keras_weights(graph, made / f"{at}.{ending}")
            except FileError as err:
                refused[f"{at}.{ending}"] = str(err)
    run_keras("load", made)
    return refused


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", CASES)
def test_keras_loads_what_was_imported_from_it(name: str, ending: str, made: Path, loaded: dict[str, str]) -> None:
    key = f"{NAMES[name]}.{ending}"
    if key in loaded:
        at = NAMES[name]
        kept = read_keras(made / f"{at}{FORMS[at % len(FORMS)]}").layers.values()
        has_weights = any(array.dtype.kind == "f" for weights in kept for array in weights.arrays)
        assert (WITHIN if has_weights else NOTHING) in loaded[key]
        return
    with np.load(made / f"{NAMES[name]}.npz") as held, np.load(made / f"{key}.npz") as found:
        assert "refused" not in found.files, found["refused"]
        for wanted in (output for output in held.files if output.startswith("y")):
            np.testing.assert_allclose(found[wanted], held[wanted], rtol=1e-4, atol=1e-5)
