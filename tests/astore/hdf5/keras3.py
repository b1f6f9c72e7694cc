"""Keras 3 as a process of its own (its imports warn, and warnings are errors in tests).

``make FOLDER`` saves two models in every format of Keras 3 with what they give; ``load FOLDER`` loads the weights-only files of
ours in it, one for each model, into models with other weights and says what those give then.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

MODELS = ("picture", "nested", "recurrent")


def picture() -> Any:
    return keras.Sequential(
        [
            layers.Input((8, 9, 3)),
            layers.Conv2D(4, (3, 2), padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("relu", name="bend"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Conv2D(5, 3, strides=2, padding="same", activation="elu", name="conv_two"),
            layers.BatchNormalization(scale=False, epsilon=1e-2, name="norm_two"),
            layers.BatchNormalization(center=False, name="norm_three"),
            layers.Flatten(name="flat"),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )


def nested() -> Any:
    x = keras.Input((6, 6, 2))
    inner = keras.Model(
        x, layers.GlobalMaxPooling2D()(layers.BatchNormalization(name="norm")(layers.Conv2D(3, 3, name="conv")(x))), name="inner"
    )
    head = keras.Sequential([layers.Input((3,)), layers.Dense(4, activation="relu", name="first")], name="head")
    outer = keras.Input((6, 6, 2))
    return keras.Model(outer, layers.Dense(2, name="out")(head(inner(outer))))


def recurrent() -> Any:
    gru = layers.Bidirectional(layers.GRU(4, return_sequences=True), name="both")
    return keras.Sequential(
        [
            layers.Input((6, 3)),
            gru,
            layers.Permute((1, 2)),
            layers.GRU(3, go_backwards=True, name="back"),
            layers.Dense(2, name="out"),
        ]
    )


def built(name: str, seed: int) -> Any:
    keras.backend.clear_session()
    model, rng = globals()[name](), np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.3, 2, weight.shape) if "variance" in weight.path else rng.normal(0, 0.5, weight.shape))
    return model


def main(verb: str, folder: Path) -> None:
    for name in MODELS:
        model = built(name, 1 if verb == "make" else 2)
        x = np.random.default_rng(3).normal(0, 1, (3, *model.input_shape[1:])).astype(np.float32)
        if verb == "make":
            for ending in ("keras", "h5", "weights.h5"):
                (model.save_weights if ending == "weights.h5" else model.save)(folder / f"{name}.{ending}")
        else:
            model.load_weights(folder / f"{name}.ours.h5")
        np.savez(folder / f"{name}.{verb}.npz", x=x, y=np.asarray(model(x, training=False)))


main(sys.argv[1], Path(sys.argv[2]))
