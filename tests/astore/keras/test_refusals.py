"""What cannot be imported is refused by its class, its name and its place, never approximated."""

import contextlib
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from esp.astore.hdf5 import read_keras
from esp.astore.keras import graph_of_keras
from esp.errors import EspError, GraphError
from tests.astore.keras.files import functional, keras_file, layer, node, numbers, sequential

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"
X = layer("InputLayer", "x", batch_input_shape=[None, 6, 4], dtype="float32")
LSTM = {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": False}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "code": (layer("Lambda", "l", function="abc"), "Lambda 'l' cannot be imported: it holds Python code"),
    "a class without a rule": (layer("MaxoutDense", "l", output_dim=3), "MaxoutDense 'l' cannot be imported: there is no rule"),
    "a class of the user's": (
        {**layer("Mine", "l"), "module": "my.layers", "registered_name": "my>Mine"},
        r"Mine is a class of its own \(my>Mine\)",
    ),
    "an unknown activation": (layer("Activation", "l", activation="wavy"), "no rule for the activation 'wavy'"),
    "an activation of the user's": (
        layer("Activation", "l", activation={"class_name": "function", "config": "f", "registered_name": "my>f"}),
        "no rule for the activation",
    ),
    "an unknown setting": (
        layer("Dropout", "l", rate=0.1, invented=3),
        "Dropout has invented = 3: there is no rule for this setting",
    ),
    "half precision": (
        layer("Flatten", "l", dtype="mixed_float16"),
        "Flatten has the dtype policy mixed_float16: it computes as mixed_float16",
    ),
    "half precision by policy": (
        layer("Flatten", "l", dtype={"class_name": "DTypePolicy", "config": {"name": "bfloat16"}}),
        "Flatten has the dtype policy bfloat16: it computes",
    ),
    "state between calls": (layer("LSTM", "l", stateful=True, **LSTM), "stateful = True: every event is scored by itself"),
    "an unknown gate": (layer("LSTM", "l", **{**LSTM, "activation": "mish"}), "activation = 'mish'.*a gate has no rule"),
    "a wrong kernel": (layer("Dense", "l", units=9), "its weights should be kernel, bias, the file has none"),
    "padding that is none": (layer("Conv1D", "l", filters=2, kernel_size=3, padding="reflect"), "padding = 'reflect'"),
    "both ways of nothing": (
        layer("Bidirectional", "l", merge_mode="concat", layer=layer("ConvLSTM2D", "c")),
        "no rule for both ways of ConvLSTM2D",
    ),
    "batch statistics": (layer("BatchNormalization", "l", mode=2), "mode = 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_says_what_and_where(name: str) -> None:
    described, message = REFUSED[name]
    with pytest.raises(GraphError, match=message) as caught:
        graph_of_keras(keras_file(sequential(X, described)))
    assert caught.value.where.startswith("model.h5: config.layers[1]")


def test_picture_that_keeps_its_aspect_ratio_is_refused() -> None:
    x = layer("InputLayer", "x", batch_input_shape=[None, 6, 4, 3])
    described = layer("Resizing", "l", height=2, width=2, crop_to_aspect_ratio=True)
    with pytest.raises(GraphError, match="Resizing has crop_to_aspect_ratio = True: there is no rule for this setting"):
        graph_of_keras(keras_file(sequential(x, described)))


def test_mask_that_a_layer_would_use_is_refused() -> None:
    masking = layer("Masking", "mask", mask_value=0.0)
    recurrent = layer("SimpleRNN", "l", units=2, activation="tanh")
    file = keras_file(sequential(X, masking, recurrent), l=[numbers(4, 2), numbers(2, 2), numbers(2)])
    with pytest.raises(
        GraphError, match=r"SimpleRNN 'l' cannot be imported: it would use the mask.*; train it without Masking and mask_zero"
    ):
        graph_of_keras(file)


def test_config_apart_is_the_file_that_a_refusal_names() -> None:
    with pytest.raises(GraphError, match=r"^model\.json: config\.layers\[1\] 'l': Lambda") as caught:
        graph_of_keras(keras_file(None), sequential(X, layer("Lambda", "l", function="abc")), config_path=Path("model.json"))
    assert "model.h5" not in str(caught.value)


def test_mask_goes_through_what_lets_it_through() -> None:
    words = layer("Embedding", "words", input_dim=5, output_dim=4, mask_zero=True)
    x = layer("InputLayer", "x", batch_input_shape=[None, 6])
    chain = sequential(x, words, layer("Dropout", "drop", rate=0.1), layer("GlobalAveragePooling1D", "mean"))
    with pytest.raises(GraphError, match="'mean' cannot be imported: it would use the mask"):
        graph_of_keras(keras_file(chain, words=[numbers(5, 4)]))


def test_layer_that_is_called_in_training_mode_is_refused() -> None:
    layers = [node(X), node(layer("Dropout", "drop", rate=0.5), [["x", 0, 0, {"training": True}]])]
    with pytest.raises(GraphError, match="Dropout 'drop' cannot be imported: it is called with training = True"):
        graph_of_keras(keras_file(functional(layers, [["x", 0, 0]], [["drop", 0, 0]])))


def test_sizes_that_are_open_are_asked_for_and_can_be_given() -> None:
    x = layer("InputLayer", "x", batch_input_shape=[None, None, 4])
    file = keras_file(sequential(x, layer("Flatten", "flat")))
    with pytest.raises(GraphError, match=r"input 'x' has open sizes: \[None, 4\].*x=1,"):
        graph_of_keras(file)
    assert graph_of_keras(file, shapes={"x": (1, 3, 4)}).outputs[0].shape == (None, 12)
    with pytest.raises(GraphError, match=r"which \[3, 5\] does not fill in"):
        graph_of_keras(file, shapes={"x": (1, 3, 5)})


def test_model_without_its_config_is_refused() -> None:
    with pytest.raises(EspError, match="holds weights and no config"):
        graph_of_keras(keras_file(None))


def test_subclassed_model_is_refused() -> None:
    with pytest.raises(GraphError, match="class 'MyModel' is no model whose layers"):
        graph_of_keras(keras_file({"class_name": "MyModel", "config": {}}))


def test_calls_in_a_circle_are_refused() -> None:
    first, second = (node(layer("ReLU", name), [[other, 0, 0, {}]]) for name, other in (("a", "b"), ("b", "a")))
    with pytest.raises(GraphError, match="waits for tensors that no layer makes"):
        graph_of_keras(keras_file(functional([node(X), first, second], [["x", 0, 0]], [["b", 0, 0]])))


@pytest.mark.parametrize("broken", [{}, {"layers": 3}, {"layers": [{"class_name": "Dense"}]}, {"layers": [7]}, {"layers": []}])
def test_config_that_is_not_laid_out_as_keras_does_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(EspError):
        graph_of_keras(keras_file({"class_name": "Sequential", "config": broken}))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in nested lists and maps."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [found for key in keys for found in ((value, key), *_places(value[key]))]


@pytest.mark.parametrize("name", ["picture", "sequence", "gru_after", "branches", "nested", "words", "upward"])
def test_any_config_is_imported_or_refused_in_one_line(name: str) -> None:
    file = read_keras(GOLDEN / f"{name}.h5")
    text = json.dumps(file.config)
    rng = random.Random(name)
    others = (
        None,
        -1,
        0,
        3,
        2**40,
        0.5,
        "",
        "same",
        [],
        [1],
        [[2, 3]],
        {},
        {"class_name": "Dense", "config": {}},
        True,
        float("nan"),
    )
    for _ in range(60):
        config = json.loads(text)
        container, key = rng.choice(_places(config))
        container[key] = copy.deepcopy(rng.choice(others))
        with contextlib.suppress(EspError):
            graph_of_keras(file, config)
