"""Keras 3 itself, from PyPI: its files onto graphs built by hand give its numbers, and it loads the files that we write."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from esp.astore.graph import Graph, run_reference
from esp.astore.hdf5 import assign, by_layer, read_keras, write_keras_weights
from esp.errors import FileError
from tests.astore.hdf5.graphs import GRAPHS, Builder, dense

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("picture", "nested", "recurrent")
LEFT_OUT = {"picture": ("norm_two/gamma", "norm_three/beta")}


def keras3(verb: str, folder: Path) -> None:
    script = Path(__file__).with_name("keras3.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), verb, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras3")
    keras3("make", folder)
    return folder


def graph_of(name: str) -> Graph:
    if name != "recurrent":
        return GRAPHS[name]()
    b = Builder()
    x = b.layer("turn", "Permute", "Transpose", b.net.add_input("x", (6, 3)), perm=(1, 0, 2))
    both = [(2, 12, 3), (2, 12, 4), (2, 24)]
    x = b.layer("both", "Bidirectional", "GRU", x, both, direction="bidirectional", linear_before_reset=1)
    x = b.joined(x, 8)
    x = b.layer("back", "GRU", "GRU", x, [(1, 9, 8), (1, 9, 3), (1, 18)], direction="reverse", linear_before_reset=1, output=1)
    return b.freeze(b.dense("out", b.last(x), 2))


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run_reference(graph, [x if x.shape[1:] == graph.inputs[0].shape[1:] else np.moveaxis(x, -1, 1)])[0]


@pytest.mark.parametrize("name", NAMES)
def test_legacy_files_of_keras_3_go_onto_a_graph(folder: Path, name: str) -> None:
    file, case = read_keras(folder / f"{name}.h5"), np.load(folder / f"{name}.make.npz")
    assert file.generation == 3
    np.testing.assert_allclose(outputs(assign(graph_of(name), file), case["x"]), case["y"], atol=1e-5)


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
@pytest.mark.parametrize("name", ["nested", "recurrent"])
def test_native_files_of_keras_3_go_onto_a_graph_by_the_names_in_them(folder: Path, name: str, ending: str) -> None:
    case = np.load(folder / f"{name}.make.npz")
    graph = assign(graph_of(name), read_keras(folder / f"{name}.{ending}"))
    np.testing.assert_allclose(outputs(graph, case["x"]), case["y"], atol=1e-5)


def test_three_arrays_without_names_are_not_guessed_at(folder: Path) -> None:
    with pytest.raises(FileError, match="layer 'norm_two': has three arrays, and nothing tells gamma from beta"):
        assign(graph_of("picture"), read_keras(folder / "picture.weights.h5"))


@pytest.mark.parametrize("name", NAMES)
def test_all_formats_hold_the_same_weights_by_the_names_of_the_config(folder: Path, name: str) -> None:
    legacy = by_layer(read_keras(folder / f"{name}.h5"))
    archive = read_keras(folder / f"{name}.keras")
    for other in (by_layer(archive), by_layer(read_keras(folder / f"{name}.weights.h5"), archive.config)):
        assert {*other} == {*legacy}
        for key, weights in legacy.items():
            for one, two in zip(weights.arrays, other[key].arrays, strict=True):
                np.testing.assert_array_equal(one, two)


def test_keras_3_loads_the_weights_that_we_write(folder: Path) -> None:
    for name in NAMES:
        graph = assign(graph_of(name), read_keras(folder / f"{name}.h5"))
        write_keras_weights(graph, folder / f"{name}.ours.h5", LEFT_OUT.get(name, ()))
    keras3("load", folder)
    for name in NAMES:
        made, loaded = (np.load(folder / f"{name}.{verb}.npz")["y"] for verb in ("make", "load"))
        np.testing.assert_allclose(loaded, made, atol=1e-6)


@pytest.mark.parametrize("name", GRAPHS)
def test_what_we_write_we_read_again(tmp_path: Path, name: str) -> None:
    graph, rng = GRAPHS[name](), np.random.default_rng(4)
    weights = {
        key: rng.normal(0, 1, array.shape).astype(array.dtype) if array.dtype.kind == "f" else array
        for key, array in graph.weights.items()
    }
    graph = Graph(graph.nodes, graph.inputs, graph.outputs, weights, graph.layers)
    write_keras_weights(graph, tmp_path / "w.h5")
    again = assign(GRAPHS[name](), read_keras(tmp_path / "w.h5"))
    x = rng.normal(0, 1, (2, *graph.inputs[0].shape[1:])).astype(np.float32)  # type: ignore[arg-type]
    np.testing.assert_allclose(run_reference(again, [x])[0], run_reference(graph, [x])[0], atol=1e-5)


def test_many_names_are_written_in_parts(tmp_path: Path) -> None:
    b = Builder()
    x = b.net.add_input("x", (1,))
    for at in range(700):
        x = b.dense(f"{'long_name_' * 12}{at}", x, 1, bias=False)
    write_keras_weights(b.freeze(x), tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert "layer_names" not in file.attrs
        names = [name for at in range(2) for name in file.attrs[f"layer_names{at}"]]
        assert (len(names), names[699][-4:]) == (700, b"_699")
    assert len(read_keras(tmp_path / "w.h5").layers) == 700


def test_what_does_something_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="'norm_two/gamma' cannot be left out: it does something"):
        write_keras_weights(GRAPHS["picture"](), tmp_path / "w.h5", ["norm_two/gamma"])  # zeros, not ones
    with pytest.raises(FileError, match="no layer has 'none/beta' to leave out"):
        write_keras_weights(dense(), tmp_path / "w.h5", ["none/beta"])
    assert not (tmp_path / "w.h5").exists()
