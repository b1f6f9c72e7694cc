"""Makes the files of all cases in the folder given, in a process of its own: python -m tests.astore.keras.make FOLDER [case...]."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tests.astore.keras.cases import CASES

ROWS = 3
FORMS = (".keras", ".h5", ".weights.h5")


def with_numbers(model: Any, rng: np.random.Generator) -> None:
    """Every weight random, variances above 0."""
    for weight in model.weights:
        if not str(weight.dtype).startswith("float"):
            continue
        is_variance = "variance" in weight.path
        weight.assign(rng.uniform(0.3, 2, weight.shape) if is_variance else rng.normal(0, 0.5, weight.shape))


def inputs_of(model: Any, rng: np.random.Generator) -> list[Any]:
    arrays = []
    for tensor in model.inputs:
        shape = (ROWS, *tensor.shape[1:])
        is_index = str(tensor.dtype).startswith(("int", "uint")) or any("embedding" in layer.name for layer in model.layers)
        array = rng.integers(0, 11, shape) if is_index else rng.normal(0, 1, shape)
        arrays.append(array.astype(str(tensor.dtype)))
    return arrays


def make(name: str, at: int, folder: Path, keras: Any) -> None:
    """Saves one case in each of its forms, with what goes in and comes out."""
    rng = np.random.default_rng(at)
    model = CASES[name](keras, keras.layers)
    with_numbers(model, rng)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    inputs = inputs_of(model, rng)
    is_named = not isinstance(model, keras.Sequential) and isinstance(model.input, dict)
    given = {tensor.name: array for tensor, array in zip(model.inputs, inputs)} if is_named else inputs
    outputs = model(given if is_named or len(inputs) > 1 else inputs[0], training=False)
    flat = [np.asarray(array) for array in keras.tree.flatten(outputs)]
    path = folder / f"{at}{FORMS[at % len(FORMS)]}"
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        (folder / f"{at}.json").write_text(model.to_json(), encoding="utf-8")
    else:
        model.save(path)
    arrays = {f"x{index}": array for index, array in enumerate(inputs)}
    np.savez(folder / f"{at}.npz", **arrays, **{f"y{index}": array for index, array in enumerate(flat)})


def main(folder: Path, names: list[str]) -> None:
    os.environ["KERAS_BACKEND"] = "numpy"  # its convolutions and pools are those of jax
    warnings.simplefilter("ignore")
    import keras

    for at, name in enumerate(CASES):
        if not names or name in names:
            make(name, at, folder, keras)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
