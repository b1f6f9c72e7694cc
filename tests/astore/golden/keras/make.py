"""Makes the Keras 2 fixtures beside it with tf-keras: small models as full files and as weights only, with inputs and outputs.

Run it in an environment of its own (pip install tensorflow-cpu tf-keras): python make.py. Each NAME.h5 is a full file,
NAME.weights-only.h5 the weights of the same model, NAME.npz holds x (x0, x1 of two inputs) and what the model gave for it, y.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from tf_keras import layers

HERE = Path(__file__).parent


def dense() -> Any:
    return keras.Sequential(
        [
            layers.InputLayer((5,), name="x"),
            layers.Dense(7, activation="relu", name="hidden"),
            layers.Dropout(0.3, name="drop"),
            layers.Dense(4, activation="tanh", use_bias=False, name="narrow"),
            layers.Dense(3, activation="softmax", name="out"),
        ],
        name="dense",
    )


def picture() -> Any:
    return keras.Sequential(
        [
            layers.InputLayer((8, 9, 3), name="x"),
            layers.Conv2D(4, (3, 2), padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("relu", name="bend"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Conv2D(5, 3, strides=2, padding="same", activation="elu", name="conv_two"),
            layers.BatchNormalization(scale=False, epsilon=1e-2, name="norm_two"),
            layers.BatchNormalization(center=False, name="norm_three"),
            layers.Flatten(name="flat"),
            layers.Dense(3, activation="softmax", name="out"),
        ],
        name="picture",
    )


def separable() -> Any:
    return keras.Sequential(
        [
            layers.InputLayer((7, 6, 3), name="x"),
            layers.ZeroPadding2D(((1, 0), (2, 1)), name="pad"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu", name="depthwise"),
            layers.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2, name="separable"),
            layers.LeakyReLU(0.1, name="leaky"),
            layers.PReLU(shared_axes=[1, 2], name="prelu"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(2, activation="sigmoid", name="out"),
        ],
        name="separable",
    )


def sequence() -> Any:
    return keras.Sequential(
        [
            layers.InputLayer((12, 3), name="x"),
            layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu", name="conv"),
            layers.MaxPooling1D(2, name="pool"),
            layers.LSTM(5, return_sequences=True, name="lstm"),
            layers.SimpleRNN(4, name="rnn"),
            layers.Dense(2, name="out"),
        ],
        name="sequence",
    )


def bidirectional(reset_after: bool) -> Any:
    name = "gru_after" if reset_after else "gru_before"
    return keras.Sequential(
        [
            layers.InputLayer((6, 3), name="x"),
            layers.Bidirectional(layers.GRU(4, reset_after=reset_after, return_sequences=True, name="gru"), name="both"),
            layers.GRU(3, reset_after=reset_after, recurrent_activation="hard_sigmoid", go_backwards=True, name="back"),
            layers.Dense(2, name="out"),
        ],
        name=name,
    )


def branches() -> Any:
    x = keras.Input((6,), name="x0")
    other = keras.Input((4,), name="x1")
    left = layers.Dense(5, activation="relu", name="left")(x)
    right = layers.Dense(5, activation="relu", name="right")(other)
    shared = layers.Dense(5, activation="tanh", name="shared")
    both = layers.Concatenate(name="join")([layers.Add(name="add")([left, right]), shared(left), shared(right)])
    return keras.Model([x, other], layers.Dense(3, name="out")(both), name="branches")


def upward() -> Any:
    return keras.Sequential(
        [
            layers.InputLayer((4, 5, 3), name="x"),
            layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu", name="up"),
            layers.Conv2DTranspose(2, (2, 3), padding="valid", name="up_two"),
            layers.UpSampling2D(2, interpolation="bilinear", name="bilinear"),
            layers.UpSampling2D((2, 1), name="nearest"),
        ],
        name="upward",
    )


def nested() -> Any:
    x = keras.Input((6, 6, 2), name="inner_x")
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 3, name="conv")(x))
    inner = keras.Model(x, layers.GlobalMaxPooling2D(name="top")(y), name="inner")
    head = keras.Sequential([layers.InputLayer((3,)), layers.Dense(4, activation="relu", name="first")], name="head")
    outer = keras.Input((6, 6, 2), name="x")
    return keras.Model(outer, layers.Dense(2, name="out")(head(inner(outer))), name="nested")


def words() -> Any:
    return keras.Sequential(
        [
            layers.InputLayer((7,), name="x"),
            layers.Embedding(11, 4, name="words"),
            layers.LayerNormalization(name="norm"),
            layers.TimeDistributed(layers.Dense(3, activation="relu"), name="each"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(2, name="out"),
        ],
        name="words",
    )


MODELS: dict[str, Callable[[], Any]] = {
    "dense": dense,
    "picture": picture,
    "separable": separable,
    "sequence": sequence,
    "gru_after": lambda: bidirectional(True),
    "gru_before": lambda: bidirectional(False),
    "branches": branches,
    "upward": upward,
    "nested": nested,
    "words": words,
}


def with_numbers(model: Any, rng: np.random.Generator) -> None:
    """Every weight random and of a size that keeps activations alive; variances above 0."""
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        weight.assign(rng.uniform(0.3, 2, weight.shape) if "variance" in weight.name else value)


def inputs(model: Any, rng: np.random.Generator) -> list[Any]:
    shapes = [(3, *tensor.shape[1:]) for tensor in model.inputs]
    if model.name == "words":
        return [rng.integers(0, 11, shape).astype(np.float32) for shape in shapes]
    return [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]


def make(name: str) -> None:
    keras.backend.clear_session()
    rng = np.random.default_rng(20)
    model = MODELS[name]()
    with_numbers(model, rng)
    x = inputs(model, rng)
    y = model.predict(x if len(x) > 1 else x[0], verbose=0)
    model.save(HERE / f"{name}.h5", include_optimizer=False)
    model.save_weights(HERE / f"{name}.weights-only.h5")
    arrays = {f"x{at}": array for at, array in enumerate(x)} if len(x) > 1 else {"x": x[0]}
    np.savez_compressed(HERE / f"{name}.npz", y=y, **arrays)


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        make(name)
