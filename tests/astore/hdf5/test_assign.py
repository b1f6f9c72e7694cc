"""Weights of Keras and DLPy files put onto graphs built by hand; the numbers are those that tf-keras gave for the same files."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from esp.astore.graph import Graph, run_reference
from esp.astore.hdf5 import assign, read_keras
from esp.errors import FileError, GraphError
from tests.astore.hdf5.graphs import GRAPHS, Builder, dense, nested, picture

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"


def channels_first(x: np.ndarray, graph: Graph) -> np.ndarray:
    return x if x.shape[1:] == graph.inputs[0].shape[1:] else np.moveaxis(x, -1, 1)


def agrees(graph: Graph, name: str) -> None:
    case = np.load(GOLDEN / f"{name}.npz")
    (y,) = run_reference(graph, [channels_first(case["x"], graph)])
    np.testing.assert_allclose(y, case["y"], atol=1e-5)


@pytest.mark.parametrize("ending", ["h5", "weights-only.h5"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_with_the_weights_of_a_keras_2_file_gives_what_keras_gave(name: str, ending: str) -> None:
    agrees(assign(GRAPHS[name](), read_keras(GOLDEN / f"{name}.{ending}")), name)


def test_layers_of_other_names_are_refused_and_taken_by_order_where_that_is_asked() -> None:
    graph, file = dense(("a", "b", "c")), read_keras(GOLDEN / "dense.h5")
    with pytest.raises(FileError, match=r"layers do not match: .*'a'.*'hidden'.*load by order"):
        assign(graph, file)
    agrees(assign(graph, file, by_order=True), "dense")


def test_by_order_wants_as_many_layers() -> None:
    with pytest.raises(FileError, match="weights of 6 layers, the graph wants those of 3"):
        assign(dense(), read_keras(GOLDEN / "picture.h5"), by_order=True)


def test_another_shape_is_refused_with_the_layer() -> None:
    b = Builder()
    x = b.dense("narrow", b.dense("hidden", b.net.add_input("x", (5,)), 8), 4, bias=False)
    with pytest.raises(FileError, match=r"layer 'hidden': Gemm wants \[5, 8\], the file gives \[5, 7\]"):
        assign(b.freeze(b.dense("out", x, 3)), read_keras(GOLDEN / "dense.h5"))


@pytest.mark.parametrize(
    ("has_bias", "said"),
    [((True, True), "'narrow': the file has no bias"), ((False, False), "more for it than the graph takes: 'hidden/bias:0'")],
)
def test_a_bias_too_many_or_too_few_is_refused(has_bias: tuple[bool, bool], said: str) -> None:
    b = Builder()
    x = b.dense("narrow", b.dense("hidden", b.net.add_input("x", (5,)), 7, bias=has_bias[0]), 4, bias=has_bias[1])
    with pytest.raises(FileError, match=said):
        assign(b.freeze(b.dense("out", x, 3)), read_keras(GOLDEN / "dense.h5"))


def test_a_gru_of_the_other_reset_is_refused() -> None:
    with pytest.raises(FileError, match=r"layer 'both': wants arrays of shapes .*reset_after as it was"):
        assign(GRAPHS["gru_before"](), read_keras(GOLDEN / "gru_after.h5"))


def test_weights_that_no_layer_of_keras_has_are_refused() -> None:
    b = Builder()
    x = b.layer("scale", "Scale", "Mul", b.net.add_input("x", (5,)), [(5,)])
    with pytest.raises(FileError, match="has weights that no layer of Keras has"):
        assign(b.freeze(b.dense("out", x, 3)), read_keras(GOLDEN / "dense.h5"))


def test_rows_after_a_flatten_of_unknown_order_must_be_said(tmp_path: Path) -> None:
    b = Builder()
    x = b.layer("flat", "Flatten", "Flatten", b.net.add_input("x", (2, 3)), axis=1)
    graph = b.freeze(b.dense("out", x, 1, bias=False))
    kernel = np.arange(6, dtype=np.float32)[:, None]
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"], file.attrs["keras_version"] = ["out"], "2.3.1"
        file.create_group("out").attrs["weight_names"] = ["out/kernel:0"]
        file["out/out/kernel:0"] = kernel
    given = read_keras(tmp_path / "w.h5")
    with pytest.raises(FileError, match="nothing tells which axis holds its channels; say the order"):
        assign(graph, given)
    rows = {rows: assign(graph, given, rows=rows).weights["out.w0"][:, 0].tolist() for rows in ("as_in_graph", "channels_last")}
    # channels last the rows are (step 0: channels 0 1), (step 1: ...): channel 0 has rows 0 2 4
    assert rows == {"as_in_graph": [0, 1, 2, 3, 4, 5], "channels_last": [0, 2, 4, 1, 3, 5]}


def dlpy_file(path: Path) -> None:
    """The picture fixture as DLPy writes it: OIHW, dense [out, in] in channels-first rows, gamma and beta always, variance + epsilon."""
    epsilon = {"norm": 1e-3, "norm_two": 1e-2, "norm_three": 1e-3}
    with h5py.File(GOLDEN / "picture.h5") as keras, h5py.File(path, "w") as file:
        weights = keras["model_weights"]
        names = ["conv", "norm", "conv_two", "norm_two", "norm_three", "out"]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            arrays = {key.rpartition("/")[2]: weights[name][key][()] for key in weights[name].attrs["weight_names"]}
            if name.startswith("norm"):
                size = arrays["moving_mean:0"].shape
                arrays = {"gamma:0": np.ones(size, "f4"), "beta:0": np.zeros(size, "f4"), **arrays}
                arrays["moving_variance:0"] = arrays["moving_variance:0"] + np.float32(epsilon[name])
            elif name.startswith("conv"):
                arrays["kernel:0"] = np.einsum("hwio->oihw", arrays["kernel:0"])
            else:
                arrays["kernel:0"] = np.einsum("hwco->ochw", arrays["kernel:0"].reshape(2, 2, 5, 3)).reshape(3, 20)
            file.create_group(name).attrs["weight_names"] = [f"{name}/{key}".encode() for key in arrays]
            for key, array in arrays.items():
                file[f"{name}/{name}/{key}"] = array


def test_a_file_of_dlpy_gives_the_same(tmp_path: Path) -> None:
    dlpy_file(tmp_path / "model.h5")
    graph = assign(picture(), read_keras(tmp_path / "model.h5", flavour="dlpy"))
    agrees(graph, "picture")


def test_dlpy_is_never_guessed(tmp_path: Path) -> None:
    dlpy_file(tmp_path / "model.h5")
    with pytest.raises(FileError, match="layer 'out': Gemm wants"):
        assign(picture(), read_keras(tmp_path / "model.h5"))


def test_dlpy_has_no_recurrent_layers() -> None:
    with pytest.raises(FileError, match="DLPy's files hold no weights of GRU"):
        assign(GRAPHS["gru_after"](), read_keras(GOLDEN / "gru_after.h5", flavour="dlpy"))


def test_a_graph_that_is_not_well_formed_is_refused_first() -> None:
    graph = nested()
    with pytest.raises(GraphError):
        assign(Graph(graph.nodes[1:], graph.inputs, graph.outputs, graph.weights, graph.layers), read_keras(GOLDEN / "nested.h5"))
