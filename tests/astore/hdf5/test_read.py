"""Reading Keras files of every generation; what must come out is read with h5py alone, or was put in by the test."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.astore.hdf5 import KerasFile, assign, by_layer, read_keras
from esp.astore.hdf5.nesting import object_paths, snake_case
from esp.errors import FileError
from tests.astore.hdf5.files import random, write_legacy
from tests.astore.hdf5.graphs import Builder

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"
DENSE = {"class_name": "Dense", "config": {"name": "out", "units": 2}}


def shapes(file: KerasFile, **given: object) -> dict[tuple[str, ...], list[tuple[int, ...]]]:
    return {names: [array.shape for array in weights.arrays] for names, weights in by_layer(file, **given).items()}  # type: ignore[arg-type]


def test_a_full_file_of_keras_2_gives_config_version_and_arrays() -> None:
    file = read_keras(GOLDEN / "dense.h5")
    assert (file.generation, file.keras_version, file.backend, file.is_by_path) == (2, "2.21.0", "tensorflow", False)
    with h5py.File(GOLDEN / "dense.h5") as raw:
        assert file.config == json.loads(raw.attrs["model_config"])
        np.testing.assert_array_equal(file.layers["hidden"].arrays[0], raw["model_weights/hidden/hidden/kernel:0"][()])
    assert file.layers["hidden"].names == ("hidden/kernel:0", "hidden/bias:0")
    assert [*file.layers] == ["hidden", "narrow", "out"]


def test_a_file_of_weights_only_has_no_config_and_wants_one() -> None:
    file = read_keras(GOLDEN / "dense.weights-only.h5")
    assert file.config is None
    with pytest.raises(FileError, match="holds weights and no config; give the model's config"):
        by_layer(file)
    assert shapes(file, config=read_keras(GOLDEN / "dense.h5").config) == {
        ("hidden",): [(5, 7), (7,)],
        ("narrow",): [(7, 4)],
        ("out",): [(4, 3), (3,)],
    }


def test_the_weights_of_a_model_within_are_told_apart() -> None:
    assert shapes(read_keras(GOLDEN / "nested.h5")) == {
        ("inner", "conv"): [(3, 3, 2, 3), (3,)],
        ("inner", "norm"): [(3,)] * 4,
        ("head", "first"): [(3, 4), (4,)],
        ("out",): [(4, 2), (2,)],
    }


def test_names_of_inner_weights_that_fit_two_layers_are_refused(tmp_path: Path) -> None:
    inner = {"class_name": "Sequential", "config": {"name": "a", "layers": [DENSE]}}
    model = {
        "class_name": "Sequential",
        "config": {"name": "b", "layers": [inner, {**inner, "config": {"name": "c", "layers": [DENSE]}}]},
    }
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [model]}}
    path = write_legacy(tmp_path / "m.h5", {"b": [("out/kernel:0", random(2, 2))]}, "2.3.0", config)
    with pytest.raises(FileError, match="b/out/kernel:0: the layer that it belongs to cannot be told"):
        by_layer(read_keras(path))


def test_a_layer_that_the_config_lacks_is_refused(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": [DENSE]}
    path = write_legacy(tmp_path / "m.h5", {"other": [("k", random(2, 2))]}, "2.0.0", config)
    with pytest.raises(FileError, match="layer 'other': the file has weights for it, the config no such layer"):
        by_layer(read_keras(path))


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_names_split_into_parts_are_joined_in_order(tmp_path: Path, parts: int) -> None:
    layers = {f"l{at}": [(f"l{at}/w{key}", random(at + 1, key + 1)) for key in range(3)] for at in range(12)}
    file = read_keras(write_legacy(tmp_path / "w.h5", layers, "2.4.0", parts=parts))
    assert [*file.layers] == [*layers]
    assert [array.shape for array in file.layers["l11"].arrays] == [(12, 1), (12, 2), (12, 3)]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", ">i8"])
def test_every_width_and_byte_order_is_read(tmp_path: Path, dtype: str) -> None:
    given = np.arange(6).reshape(2, 3).astype(dtype)
    (array,) = read_keras(write_legacy(tmp_path / "w.h5", {"l": [("k", given)]}, "2.0.0")).layers["l"].arrays
    np.testing.assert_array_equal(array, given)
    assert array.dtype == np.dtype(dtype).newbyteorder("=")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_an_lstm_of_keras_1_computes_by_its_twelve_arrays(tmp_path: Path) -> None:
    gates = {gate: (random(3, 4, seed=at), random(4, 4, seed=at + 9), random(4, seed=at)) for at, gate in enumerate("icfo")}
    arrays = [(f"lstm_1_{kind}_{gate}", array) for gate, three in gates.items() for kind, array in zip("WUb", three)]
    file = read_keras(write_legacy(tmp_path / "w.h5", {"lstm_1": arrays}))
    assert file.generation == 1
    b = Builder()
    x = b.layer("turn", "Permute", "Transpose", b.net.add_input("x", (5, 3)), perm=(1, 0, 2))
    x = b.layer("lstm_1", "LSTM", "LSTM", x, [(1, 16, 3), (1, 16, 4), (1, 32)], output=1)
    graph = assign(b.freeze(b.net.add_layer("last", "Reshape", lambda: b.net.add_node("Transpose", [x], perm=(1, 0, 2)))), file)
    data = random(2, 5, 3, seed=1)
    h = c = np.zeros((2, 4), np.float32)
    for step in range(5):
        z = {gate: data[:, step] @ w + h @ u + bias for gate, (w, u, bias) in gates.items()}
        c = sigmoid(z["f"]) * c + sigmoid(z["i"]) * np.tanh(z["c"])
        h = sigmoid(z["o"]) * np.tanh(c)
    np.testing.assert_allclose(run_reference(graph, [data])[0][:, 0], h, atol=1e-6)


def test_a_gru_of_keras_1_computes_by_its_nine_arrays(tmp_path: Path) -> None:
    gates = {gate: (random(3, 4, seed=at), random(4, 4, seed=at + 9), random(4, seed=at)) for at, gate in enumerate("zrh")}
    arrays = [(f"gru_1_{kind}_{gate}", array) for gate, three in gates.items() for kind, array in zip("WUb", three)]
    file = read_keras(write_legacy(tmp_path / "w.h5", {"gru_1": arrays}, "1.2.2"))
    b = Builder()
    x = b.layer("turn", "Permute", "Transpose", b.net.add_input("x", (5, 3)), perm=(1, 0, 2))
    x = b.layer("gru_1", "GRU", "GRU", x, [(1, 12, 3), (1, 12, 4), (1, 24)], output=1)
    graph = assign(b.freeze(b.net.add_layer("last", "Reshape", lambda: b.net.add_node("Transpose", [x], perm=(1, 0, 2)))), file)
    data, h = random(2, 5, 3, seed=1), np.zeros((2, 4), np.float32)
    for step in range(5):
        of_x = {gate: data[:, step] @ w + bias for gate, (w, _, bias) in gates.items()}
        z, r = (sigmoid(of_x[gate] + h @ gates[gate][1]) for gate in "zr")
        h = z * h + (1 - z) * np.tanh(of_x["h"] + (r * h) @ gates["h"][1])
    np.testing.assert_allclose(run_reference(graph, [data])[0][:, 0], h, atol=1e-6)


@pytest.mark.parametrize("order", ["tf", "th"])
def test_a_convolution_of_keras_1_is_known_by_its_shape(tmp_path: Path, order: str) -> None:
    hwio = random(3, 2, 5, 4)
    kernel = hwio if order == "tf" else np.einsum("hwio->oihw", hwio)
    file = read_keras(write_legacy(tmp_path / "w.h5", {"c": [("c_W", kernel), ("c_b", random(4))]}, "1.1.0"))
    b = Builder()
    graph = b.freeze(b.layer("c", "Convolution2D", "Conv", b.net.add_input("x", (5, 3, 2)), [(4, 5, 3, 2), (4,)]))
    data = random(2, 5, 3, 2)
    wanted = np.einsum("nihw,hwio->no", data, hwio) + random(4)
    np.testing.assert_allclose(run_reference(assign(graph, file), [data])[0][:, :, 0, 0], wanted, atol=1e-5)


def test_a_convolution_of_keras_1_that_fits_both_ways_is_refused(tmp_path: Path) -> None:
    file = read_keras(write_legacy(tmp_path / "w.h5", {"c": [("c_W", random(3, 3, 3, 3))]}))
    b = Builder()
    graph = b.freeze(b.layer("c", "Convolution2D", "Conv", b.net.add_input("x", (3, 3, 3)), [(3, 3, 3, 3)]))
    with pytest.raises(FileError, match=r"fits .* in 2 ways; import the full file"):
        assign(graph, file)


@pytest.mark.parametrize(
    ("name", "path"),
    [("Conv2DTranspose", "conv2d_transpose"), ("LSTM", "lstm"), ("GlobalMaxPooling2D", "global_max_pooling2d"), ("GRUCell", "gru_cell"), ("ReLU", "re_lu"), ("PReLU", "p_re_lu"), ("MultiHeadAttention", "multi_head_attention")],
)  # fmt: skip
def test_classes_in_snake_case_are_those_seen_in_files_of_keras_3(name: str, path: str) -> None:
    assert snake_case(name) == path


def test_object_paths_count_each_class_in_each_model() -> None:
    def layer(kind: str, name: str) -> dict[str, object]:
        return {"class_name": kind, "config": {"name": name}}

    inner = {"class_name": "Sequential", "config": {"name": "in", "layers": [layer("InputLayer", "i"), layer("Dense", "d")]}}
    outer = [layer("InputLayer", "x"), layer("Dense", "b"), inner, layer("Dense", "a"), layer("Custom>Dense", "c")]
    config = {"class_name": "Functional", "config": {"layers": outer}}
    assert dict(object_paths(config)) == {
        "layers/input_layer": ("x",),
        "layers/dense": ("b",),
        "layers/sequential": ("in",),
        "layers/sequential/layers/dense": ("in", "d"),
        "layers/dense_1": ("a",),
        "layers/dense_2": ("c",),
    }


def keras_zip(path: Path, weights: Path, config: object, version: str = "3.5.0") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.write(weights, "model.weights.h5")
    return path


def test_a_keras_archive_by_its_layout(tmp_path: Path) -> None:
    """Objects by class and number; numbers in order past 10; the states of random generators left out; forward before backward."""
    dense = [{"class_name": "Dense", "config": {"name": f"d{at}"}} for at in range(12)]
    both = {"class_name": "Bidirectional", "config": {"name": "both", "layer": {"class_name": "GRU", "config": {}}}}
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for at in range(12):
            file[f"layers/dense_{at}/vars/0" if at else "layers/dense/vars/0"] = random(1, at + 1)
        for way, size in (("backward", 2), ("forward", 1)):
            file[f"layers/bidirectional/{way}_layer/cell/vars/0"] = random(size)
            file[f"layers/bidirectional/{way}_layer/cell/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [*dense, both]}}
    file = read_keras(keras_zip(tmp_path / "m.keras", tmp_path / "w.weights.h5", config))
    assert (file.generation, file.keras_version, file.config) == (3, "3.5.0", config)
    assert shapes(file) == {("both",): [(1,), (2,)], **{(f"d{at}",): [(1, at + 1)] for at in range(12)}}
    bare = read_keras(tmp_path / "w.weights.h5")
    assert (bare.generation, bare.config, [*bare.layers][-1]) == (3, None, "layers/dense_11")


def test_weights_by_path_go_onto_a_graph_by_kind_and_count(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for at, (path, size) in enumerate((("dense", (2, 3)), ("dense_1", (3, 2)))):
            file[f"layers/{path}/vars/0"], file[f"layers/{path}/vars/1"] = random(*size, seed=at), random(size[1], seed=at)
    b = Builder()
    graph = b.freeze(b.dense("z", b.dense("a", b.net.add_input("x", (2,)), 3), 2))
    weights = assign(graph, read_keras(tmp_path / "w.weights.h5")).weights
    np.testing.assert_array_equal(weights["a.w0"], random(2, 3, seed=0))
    np.testing.assert_array_equal(weights["z.w0"], random(3, 2, seed=1))
    with pytest.raises(FileError, match="keeps no order of layers"):
        assign(graph, read_keras(tmp_path / "w.weights.h5"), by_order=True)
