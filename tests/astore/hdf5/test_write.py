"""What cannot be written as weights of Keras, or not there, is refused in one line."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from esp.astore.graph import Graph, Layer, Node, Value
from esp.astore.hdf5 import read_apart, read_keras, write_keras_weights
from esp.errors import FileError
from tests.astore.hdf5.graphs import Builder, dense, nested

X = Value("x", "float32", (None, 4))


def onnx_graph(*names: str) -> Graph:
    """Products in a row, in layers called as an ONNX file calls its nodes."""
    tensors = ["x", *(f"t{at}" for at in range(len(names)))]
    nodes = tuple(Node("Gemm", (tensors[at], f"w{at}"), (tensors[at + 1],)) for at in range(len(names)))
    weights = {f"w{at}": np.full((4, 4), at, np.float32) for at in range(len(names))}
    layers = tuple(Layer(name, "Gemm", (at,)) for at, name in enumerate(names))
    return Graph(nodes, (X,), (Value(tensors[-1], "float32", (None, 4)),), weights, layers)


def test_names_of_an_onnx_file_become_names_of_groups(tmp_path: Path) -> None:
    write_keras_weights(onnx_graph("/0/Gemm", "0_Gemm", "gpu_0/fc", "/"), tmp_path / "w.h5")
    layers = read_keras(tmp_path / "w.h5").layers
    assert [*layers] == ["0_Gemm", "0_Gemm_2", "gpu_0_fc", "layer"]
    assert [float(weights.arrays[0][0, 0]) for weights in layers.values()] == [0, 1, 2, 3]


def test_graph_without_weights_is_refused_with_its_ops(tmp_path: Path) -> None:
    nodes = (Node("Cast", ("x",), ("y",), {"to": 1}),)
    graph = Graph(nodes, (X,), (Value("y", "float32", (None, 4)),), {}, (Layer("cast", "Cast", (0,)),))
    with pytest.raises(FileError, match="nothing in it is a weight that Keras has: it is made of Cast; use onnx"):
        write_keras_weights(graph, tmp_path / "w.h5")
    assert not [*tmp_path.iterdir()]


def test_op_of_classical_learning_is_refused_by_its_name(tmp_path: Path) -> None:
    graph = onnx_graph("one")
    scaler = Node("Scaler", ("t0",), ("y",), {"offset": (0.0,), "scale": (1.0,)})
    graph = replace(graph, nodes=(*graph.nodes, scaler), outputs=(Value("y", "float32", (None, 4)),))
    with pytest.raises(FileError, match="Scaler: nothing in it is a weight that Keras has"):
        write_keras_weights(graph, tmp_path / "w.h5")


def test_weights_in_no_layer_are_not_left_behind(tmp_path: Path) -> None:
    graph = onnx_graph("one", "two")
    with pytest.raises(FileError, match="node Gemm -> 't1' has weights and is in no layer"):
        write_keras_weights(replace(graph, layers=graph.layers[:1]), tmp_path / "w.h5")


def test_folder_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none/w\.h5: cannot be written: No such file or directory; name a folder"):
        write_keras_weights(dense(), tmp_path / "none" / "w.h5")


def test_layout_of_keras_3_counts_classes_and_numbers_variables(tmp_path: Path) -> None:
    write_keras_weights(dense(), tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5") as file:
        found: list[str] = []
        file["layers"].visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(found) == [
            *("dense/vars/0", "dense/vars/1", "dense_1/vars/0", "dense_2/vars/0", "dense_2/vars/1"),
        ]
        assert file["layers/dense_1/vars"].attrs["name"] == "narrow"


def test_layout_of_keras_3_is_refused_where_classes_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"layer 'inner/conv': it is in a model within the model.*name the file w\.h5"):
        write_keras_weights(nested(), tmp_path / "w.weights.h5")
    with pytest.raises(FileError, match=r"layer 'one': its kind 'Gemm' is no class of Keras; name the file w\.h5"):
        write_keras_weights(onnx_graph("one"), tmp_path / "w.weights.h5")


def test_weights_of_no_layer_of_keras_name_layer_and_class(tmp_path: Path) -> None:
    b = Builder()
    x = b.layer("scale", "Scale", "Mul", b.net.add_input("x", (5,)), [(5,)])
    with pytest.raises(FileError, match=r"Scale layer 'scale': node Mul -> .* has weights that no layer of Keras has"):
        write_keras_weights(b.freeze(b.dense("out", x, 3)), tmp_path / "w.h5")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_folder_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(FileError, match="is a folder, wanted a file"):
        read_apart(tmp_path / name)


def test_cut_archive_is_said_to_be_cut(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(FileError, match=r"begins as a zip \(\.keras\) and is no whole one"):
        read_apart(tmp_path / "model.keras")
