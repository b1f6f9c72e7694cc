"""What graphs of Keras models look like: few transposes, layers by name, shared weights; and the astore made of a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.astore.binary import read, write
from esp.astore.graph import Graph, run_reference
from esp.astore.hdf5 import read_keras
from esp.astore.keras import graph_of_keras, import_keras
from esp.errors import UsageError
from tests.astore.keras.files import functional, keras_file, layer, node, numbers, sequential

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"
PICTURE = layer("InputLayer", "x", batch_input_shape=[None, 8, 8, 3])


def ops(graph: Graph) -> list[str]:
    return [item.op for item in graph.nodes]


def conv(name: str, inputs: int, filters: int) -> tuple[Mapping[str, Any], list[Any]]:
    settings = {"filters": filters, "kernel_size": [3, 3], "padding": "same", "activation": "relu"}
    return layer("Conv2D", name, **settings), [numbers(3, 3, inputs, filters), numbers(filters)]


def test_channels_last_network_is_transposed_once() -> None:
    (one, one_weights), (two, two_weights) = conv("one", 3, 4), conv("two", 4, 5)
    layers = [
        PICTURE, one, layer("MaxPooling2D", "pool", pool_size=[2, 2]), layer("Dropout", "drop", rate=0.1), two, layer("Flatten", "flat"),
        layer("Dense", "out", units=2),
    ]  # fmt: skip
    weights = {"one": one_weights, "two": two_weights, "out": [numbers(80, 2), numbers(2)]}
    graph = graph_of_keras(keras_file(sequential(*layers), **weights))
    assert ops(graph) == ["Transpose", "Conv", "Relu", "MaxPool", "Conv", "Relu", "Reshape", "Gemm"]
    assert graph.inputs[0].shape == (None, 8, 8, 3)


def test_channels_first_network_is_not_transposed() -> None:
    described, weights = conv("one", 3, 4)
    described["config"]["data_format"] = "channels_first"
    x = layer("InputLayer", "x", batch_input_shape=[None, 3, 8, 8])
    graph = graph_of_keras(keras_file(sequential(x, described), one=weights))
    assert ops(graph) == ["Conv", "Relu"]
    assert graph.outputs[0].shape == (None, 4, 8, 8)


def test_picture_as_output_is_channels_last_again() -> None:
    described, weights = conv("one", 3, 4)
    graph = graph_of_keras(keras_file(sequential(PICTURE, described), one=weights))
    assert ops(graph) == ["Transpose", "Conv", "Relu", "Transpose"]
    assert [(value.name, value.shape) for value in graph.outputs] == [("one", (None, 8, 8, 4))]


def test_steps_between_recurrent_layers_are_not_transposed() -> None:
    settings = {"units": 2, "activation": "tanh", "return_sequences": True}
    weights = [[numbers(inputs, 2), numbers(2, 2), numbers(2)] for inputs in (3, 2)]
    x = layer("InputLayer", "x", batch_input_shape=[None, 5, 3])
    layers = [x, layer("SimpleRNN", "a", **settings), layer("SimpleRNN", "b", **{**settings, "return_sequences": False})]
    graph = graph_of_keras(keras_file(sequential(*layers), a=weights[0], b=weights[1]))
    assert ops(graph).count("Transpose") == 1


def test_shared_layer_is_one_layer_with_all_its_nodes_and_one_kernel() -> None:
    inputs = [node(layer("InputLayer", name, batch_input_shape=[None, 4])) for name in "xy"]
    dense = node(layer("Dense", "dense", units=3), [["x", 0, 0, {}]], [["y", 0, 0, {}]])
    add = node(layer("Add", "add"), [["dense", 0, 0, {}], ["dense", 1, 0, {}]])
    config = functional([*inputs, dense, add], [["x", 0, 0], ["y", 0, 0]], [["add", 0, 0]])
    kernel, bias = numbers(4, 3), numbers(3)
    graph = graph_of_keras(keras_file(config, dense=[kernel, bias]))
    assert {item.name: item.nodes for item in graph.layers} == {"x": (), "y": (), "dense": (0, 1), "add": (2,)}
    assert sorted(graph.weights) == ["dense/bias", "dense/kernel"]
    x, y = numbers(2, 4, seed=5), numbers(2, 4, seed=6)
    np.testing.assert_allclose(run_reference(graph, [x, y])[0], (x + y) @ kernel + 2 * bias, rtol=1e-5)


def test_astore_of_a_file_says_where_it_comes_from(tmp_path: Path) -> None:
    astore = import_keras(GOLDEN / "dense.h5", labels=["a", "b", "c"])
    assert astore.name == "dense"
    assert astore.outputs[0].labels == ("a", "b", "c")
    source = astore.card["source"]
    assert (source["file"], source["form"], source["generation"]) == ("dense.h5", "keras", 2)
    write(astore, tmp_path / "dense.astore")
    assert read(tmp_path / "dense.astore").graph.outputs == astore.graph.outputs


def test_weights_alone_are_imported_with_a_config_beside_them(tmp_path: Path) -> None:
    full = import_keras(GOLDEN / "picture.h5")
    config = tmp_path / "picture.json"
    config.write_text(json.dumps(read_keras(GOLDEN / "picture.h5").config), encoding="utf-8")
    apart = import_keras(GOLDEN / "picture.weights-only.h5", config=config)
    x = numbers(2, 8, 9, 3)
    np.testing.assert_array_equal(run_reference(apart.graph, [x])[0], run_reference(full.graph, [x])[0])
    assert apart.card["config"]["file"] == "picture.json"


def test_weights_alone_go_onto_a_graph_that_is_given(tmp_path: Path) -> None:
    full = import_keras(GOLDEN / "dense.h5", "base")
    zeroed = {name: np.zeros_like(array) for name, array in full.graph.weights.items()}
    base = write(type(full)("base", Graph(full.graph.nodes, full.graph.inputs, full.graph.outputs, zeroed, full.graph.layers),
                            full.inputs, full.outputs), tmp_path / "base.astore")  # fmt: skip
    onto = import_keras(GOLDEN / "dense.weights-only.h5", "filled", onto=tmp_path / "base.astore")
    x = numbers(3, 5)
    np.testing.assert_array_equal(run_reference(onto.graph, [x])[0], run_reference(full.graph, [x])[0])
    assert (onto.name, onto.card["onto"]) == ("filled", base.digest)


def test_config_and_graph_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs no config"):
        import_keras(GOLDEN / "dense.h5", config=tmp_path / "a.json", onto=tmp_path / "b.astore")
