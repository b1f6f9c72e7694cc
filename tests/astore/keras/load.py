"""Loads the weights that we wrote into the cases' models, in a process of its own: python -m tests.astore.keras.load FOLDER.

For each case AT with a file AT.ours.h5 or AT.ours.weights.h5 it writes AT.ours.h5.npz ...: what the model, made anew and its
weights set to 0.5, gives with the file's, or what Keras says against it.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tests.astore.keras.cases import CASES

ENDINGS = ("ours.h5", "ours.weights.h5")


def outputs(model: Any, path: Path, inputs: list[Any], keras: Any) -> dict[str, Any]:
    for weight in model.weights:
        if str(weight.dtype).startswith("float"):
            weight.assign(np.full(weight.shape, 0.5))
    try:
        model.load_weights(path)
    except (ValueError, KeyError) as err:
        return {"refused": np.array(str(err)[:300])}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    is_named = not isinstance(model, keras.Sequential) and isinstance(model.input, dict)
    given = {tensor.name: array for tensor, array in zip(model.inputs, inputs)} if is_named else inputs
    made = model(given if is_named or len(inputs) > 1 else inputs[0], training=False)
    return {f"y{at}": np.asarray(array) for at, array in enumerate(keras.tree.flatten(made))}


def main(folder: Path) -> None:
    os.environ["KERAS_BACKEND"] = "numpy"
    warnings.simplefilter("ignore")
    import keras

    for at, name in enumerate(CASES):
        paths = [folder / f"{at}.{ending}" for ending in ENDINGS if (folder / f"{at}.{ending}").exists()]
        if paths:
            with np.load(folder / f"{at}.npz") as held:
                inputs = [held[key] for key in held.files if key.startswith("x")]
            model = CASES[name](keras, keras.layers)
            for path in paths:
                np.savez(f"{path}.npz", **outputs(model, path, inputs, keras))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
