"""Keras 2 by what it gave itself, Keras 1 by its words and layouts written down here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp.astore.graph import Array, run_reference
from esp.astore.hdf5 import LayerWeights
from esp.astore.keras import graph_of_keras, import_keras
from tests.astore.keras.files import functional, keras_file, layer, node, numbers, sequential

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"
MODELS = sorted(path.stem for path in GOLDEN.glob("*.h5") if ".weights-only" not in path.name and path.with_suffix(".npz").exists())


@pytest.mark.parametrize("name", MODELS)
def test_keras_2_model_gives_what_keras_2_gave(name: str) -> None:
    graph = import_keras(GOLDEN / f"{name}.h5").graph
    with np.load(GOLDEN / f"{name}.npz") as held:
        inputs, wanted = [held[key] for key in sorted(held.files) if key.startswith("x")], held["y"]
    np.testing.assert_allclose(run_reference(graph, inputs)[0], wanted, rtol=1e-5, atol=1e-5)


def test_there_are_keras_2_models() -> None:
    assert len(MODELS) >= 10


def test_keras_1_dense_network() -> None:
    layers = [
        layer("Dense", "one", output_dim=3, input_dim=4, batch_input_shape=[None, 4], bias=True, activation="relu", init="uniform"),
        layer("Dropout", "drop", p=0.5),
        layer("Dense", "two", output_dim=2, bias=True, activation="linear", W_regularizer=None),
    ]
    one, two = [numbers(4, 3), numbers(3)], [numbers(3, 2), numbers(2)]
    graph = graph_of_keras(keras_file({"class_name": "Sequential", "config": layers}, 1, one=one, two=two))
    x = numbers(5, 4, seed=8)
    wanted = np.maximum(x @ one[0] + one[1], 0) @ two[0] + two[1]
    np.testing.assert_allclose(run_reference(graph, [x])[0], wanted, rtol=1e-5, atol=1e-5)
    assert [item.kind for item in graph.layers] == ["InputLayer", "Dense", "Dropout", "Dense"]


def test_keras_1_convolution_with_channels_first_and_theano_is_turned_round() -> None:
    settings = {"nb_filter": 2, "nb_row": 2, "nb_col": 3, "border_mode": "valid", "subsample": [1, 1], "dim_ordering": "th"}
    conv = layer("Convolution2D", "conv", batch_input_shape=[None, 3, 5, 6], bias=True, activation="linear", **settings)
    kernel, bias = numbers(2, 3, 2, 3), numbers(2, seed=4)  # [out, in, rows, columns]
    graph = graph_of_keras(keras_file(sequential(conv), 1, "theano", conv=[kernel, bias]))
    x = numbers(2, 3, 5, 6, seed=5)
    wanted = np.zeros((2, 2, 4, 4))
    for row in range(4):
        for column in range(4):
            window = x[:, :, row : row + 2, column : column + 3]
            wanted[:, :, row, column] = np.einsum("nirc,oirc->no", window, kernel[:, :, ::-1, ::-1]) + bias
    np.testing.assert_allclose(run_reference(graph, [x])[0], wanted, rtol=1e-5, atol=1e-5)


def test_keras_1_lstm_takes_hard_sigmoid_and_weights_gate_by_gate() -> None:
    settings = {"output_dim": 2, "activation": "tanh", "inner_activation": "hard_sigmoid", "return_sequences": False}
    lstm = layer("LSTM", "lstm", batch_input_shape=[None, 4, 3], input_dim=3, consume_less="cpu", dropout_W=0.1, **settings)
    gates = {gate: (numbers(3, 2, seed=at), numbers(2, 2, seed=at + 9), numbers(2, seed=at + 20)) for at, gate in enumerate("icfo")}
    graph = graph_of_keras(keras_file(sequential(lstm), 1, lstm=[array for gate in "icfo" for array in gates[gate]]))
    x = numbers(3, 4, 3, seed=6)
    h, c = np.zeros((3, 2)), np.zeros((3, 2))
    for step in range(4):
        made = {gate: x[:, step] @ w + h @ u + b for gate, (w, u, b) in gates.items()}
        keep, take, show = (np.clip(0.2 * made[gate] + 0.5, 0, 1) for gate in "fio")
        c = keep * c + take * np.tanh(made["c"])
        h = show * np.tanh(c)
    np.testing.assert_allclose(run_reference(graph, [x])[0], h, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("sum", lambda x, y: x + y),
        ("mul", lambda x, y: x * y),
        ("ave", lambda x, y: (x + y) / 2),
        ("max", np.maximum),
        ("concat", lambda x, y: np.concatenate([x, y], axis=-1)),
        ("dot", lambda x, y: (x * y).sum(axis=1, keepdims=True)),
    ],
)
def test_keras_1_merge_is_what_its_mode_says(mode: str, wanted: Callable[[Array, Array], Array]) -> None:
    inputs = [node(layer("InputLayer", name, batch_input_shape=[None, 4], input_dtype="float32")) for name in "xy"]
    merge = node(layer("Merge", "both", mode=mode, concat_axis=-1, dot_axes=-1), [["x", 0, 0], ["y", 0, 0]])
    graph = graph_of_keras(keras_file(functional([*inputs, merge], [["x", 0, 0], ["y", 0, 0]], [["both", 0, 0]]), 1))
    x, y = numbers(3, 4), numbers(3, 4, seed=7)
    np.testing.assert_allclose(run_reference(graph, [x, y])[0], wanted(x, y), rtol=1e-5, atol=1e-6)


def test_nested_model_of_keras_2_counts_its_calls_from_one() -> None:
    inner = functional(
        [node(layer("InputLayer", "in", batch_input_shape=[None, 2])), node(layer("Dense", "dense", units=2), [["in", 0, 0, {}]])],
        [["in", 0, 0]],
        [["dense", 0, 0]],
        "inner",
    )
    called = {**inner, "inbound_nodes": [[["x", 0, 0, {}]], [["inner", 1, 0, {}]]]}
    x = node(layer("InputLayer", "x", batch_input_shape=[None, 2]))
    kernel, bias = numbers(2, 2), numbers(2, seed=4)
    held = {"inner": LayerWeights(("dense/kernel:0", "dense/bias:0"), (kernel, bias))}
    file = replace(keras_file(functional([x, called], [["x", 0, 0]], [["inner", 2, 0]])), layers=held)
    graph = graph_of_keras(file)
    given = numbers(3, 2, seed=5)
    wanted = (given @ kernel + bias) @ kernel + bias
    np.testing.assert_allclose(run_reference(graph, [given])[0], wanted, rtol=1e-5, atol=1e-5)
    assert [name for name in graph.weights if "kernel" in name] == ["inner/dense/kernel"]


def test_arithmetic_of_keras_2_over_tensorflow() -> None:
    x = node(layer("InputLayer", "x", batch_input_shape=[None, 4]))
    twice = node(layer("TFOpLambda", "tf.math.multiply", function="math.multiply"), ["x", 0, 0, {"y": 2.0, "name": None}])
    less = node(layer("TFOpLambda", "less", function="math.subtract"), ["tf.math.multiply", 0, 0, {"y": ["x", 0, 0], "name": None}])
    graph = graph_of_keras(keras_file(functional([x, twice, less], [["x", 0, 0]], [["less", 0, 0]])))
    given = numbers(3, 4)
    np.testing.assert_allclose(run_reference(graph, [given])[0], given, rtol=1e-6)


def test_sequential_of_one_model_takes_its_input_from_within() -> None:
    inner = {**sequential(layer("Dense", "dense", units=2, batch_input_shape=[None, 3]))}
    inner["config"]["name"] = "inner"
    held = {"inner": LayerWeights(("dense/kernel:0", "dense/bias:0"), (numbers(3, 2), numbers(2)))}
    file = replace(keras_file(sequential(inner, layer("ReLU", "out"))), layers=held)
    graph = graph_of_keras(file)
    x = numbers(4, 3, seed=9)
    wanted = np.maximum(x @ numbers(3, 2) + numbers(2), 0)
    np.testing.assert_allclose(run_reference(graph, [x])[0], wanted, rtol=1e-5, atol=1e-6)
