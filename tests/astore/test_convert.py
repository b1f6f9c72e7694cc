"""Weights rounded to float16 and int8: which, along which axis, by how much, and what that does to outputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp.astore.binary import file_size, from_bytes, to_bytes, write
from esp.astore.convert import compare, convert, drawn_rows
from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output, Step, Storage
from esp.errors import FileError
from tests.astore.test_storage import network

LABELS = ("a", "b", "c")


def classes(w: np.ndarray, b: np.ndarray) -> Astore:
    """Probabilities of three classes from inputs that are doubled first."""
    k = len(w)
    graph = Graph(
        (Node("Gemm", ("x", "w", "b"), ("z",)), Node("Softmax", ("z",), ("p",), {"axis": -1})),
        (Value("x", "float32", (None, k)),),
        (Value("p", "float32", (None, 3)),),
        {"w": w.astype("f4"), "b": b.astype("f4")},
    )
    item = Input("x", "float32", (k,), (Step("scale", {"scale": 2.0, "offset": 0.0}),))
    return Astore("classes", graph, (item,), (Output("p", "float32", (3,), "probabilities", LABELS),))


def network_of(op: str, weights: dict[str, np.ndarray], *inputs: str, **attrs: object) -> Astore:
    """A graph of one node whose shapes nobody looks at."""
    node = Node(op, ("x", *inputs) if op != "Gather" else inputs, ("y",), attrs)  # type: ignore[arg-type]
    graph = Graph((node,), (Value("x", "float32", (None, 2)),), (Value("y", "float32", (None, 2)),), weights)
    return Astore("one", graph, (), ())


def f4(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape).astype("f4")


@pytest.mark.parametrize(
    ("op", "shape", "attrs", "axis"),
    [
        ("Conv", (8, 3, 3, 3), {}, 0),
        ("ConvTranspose", (3, 8, 3, 3), {}, 1),
        ("Gemm", (4, 5), {}, 1),
        ("Gemm", (5, 4), {"transB": 1}, 0),
        ("MatMul", (2, 4, 5), {}, 2),
        ("LSTM", (1, 32, 4), {"hidden_size": 8}, 1),
        ("GRU", (2, 24, 4), {"hidden_size": 8}, 1),
    ],
)
def test_int8_has_a_scale_for_each_output_channel(op: str, shape: tuple[int, ...], attrs: dict[str, object], axis: int) -> None:
    done = convert(network_of(op, {"w": f4(*shape), "b": f4(3)}, "w", "b", **attrs), "int8")
    assert done.astore.storage["w"] == Storage("int8", axis)
    assert "b" not in done.astore.storage
    change = next(item for item in done.tensors if item.name == "w")
    size = int(np.prod(shape))
    assert (change.form, change.size_before, change.size_after) == ("int8", 4 * size, size + 4 * shape[axis])
    largest = np.abs(f4(*shape)).max(axis=tuple(at for at in range(len(shape)) if at != axis))
    assert 0 < change.largest_error <= largest.max() / 127 * 0.51


def test_a_table_of_embeddings_has_a_scale_a_row() -> None:
    astore = network_of("Gather", {"table": f4(9, 4), "at": np.array([1, 2])}, "table", "at", axis=0)
    assert convert(astore, "int8").astore.storage == {"table": Storage("int8", 0)}


def test_norms_and_biases_stay_float32() -> None:
    norms = {name: f4(8) for name in ("scale", "bias", "mean", "var")}
    done = convert(network_of("BatchNormalization", norms, *norms), "int8")
    assert done.astore.storage == {}
    assert {item.form for item in done.tensors} == {"float32"}
    assert convert(network_of("BatchNormalization", norms, *norms), "float16").astore.storage == {}


def test_float16_holds_what_it_can_and_names_what_it_cannot() -> None:
    w = np.array([[1 / 3, 65504.0], [1e-9, -2]])
    done = convert(network(w), "float16")
    change = next(item for item in done.tensors if item.name == "w")
    assert (change.form, change.size_after, change.kept) == ("float16", 8, "")
    assert change.largest_error == pytest.approx(1 / 3 - 1365 / 4096, rel=1e-3)  # 1/3 to 11 bits
    kept = convert(network(np.array([[1.0, 65520.0], [0, 0]])), "float16")
    change = next(item for item in kept.tensors if item.name == "w")
    assert (change.form, change.size_after, change.kept) == ("float32", 16, "it holds a number beyond 65504")
    assert kept.astore.storage == {}
    assert kept.astore.graph.weights["w"][0, 1] == 65520.0


def test_a_weight_that_is_not_finite_stays_float32() -> None:
    done = convert(network(np.array([[1.0, np.nan], [0, 1]])), "int8")
    assert done.astore.storage == {}
    assert [item.kept != "" for item in done.tensors if item.name == "w"] == [True]


def test_back_to_float32_keeps_the_numbers_and_takes_the_room() -> None:
    rng = np.random.default_rng(2)
    small = convert(network(rng.normal(size=(64, 64))), "int8").astore
    large = convert(small, "float32").astore
    np.testing.assert_array_equal(large.graph.weights["w"], small.graph.weights["w"])
    assert large.storage == {}
    assert file_size(small) == len(to_bytes(small))
    assert file_size(large) - file_size(small) > 64 * 64 * 2.5
    assert from_bytes(to_bytes(large)).storage == {}


def test_a_conversion_is_a_model_of_its_own(tmp_path: Path) -> None:
    astore = write(network(f4(6, 5)), tmp_path / "m.astore")
    small = convert(astore, "int8").astore
    assert small.digest == ""
    assert write(small, tmp_path / "n.astore").digest != astore.digest
    np.testing.assert_array_equal(astore.graph.weights["w"], f4(6, 5))


def test_the_comparison_counts_differences_and_labels() -> None:
    before = classes(np.eye(3), np.zeros(3))
    after = replace(before, graph=replace(before.graph, weights={**before.graph.weights, "b": np.array([0, 3, 0], "f4")}))
    rows = {"x": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 5]], "f4")}  # doubled: 2, 2, 10; the bias of 3 turns the first row to b
    (change,) = compare(before, after, rows, {"p": ["a", "b", "a"]})
    assert (change.name, change.rows) == ("p", 3)
    assert change.agreement == pytest.approx(2 / 3)
    assert (change.accuracy_before, change.accuracy_after) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    old = np.exp([2.0, 0, 0]) / np.exp([2.0, 0, 0]).sum()
    new = np.exp([2.0, 3, 0]) / np.exp([2.0, 3, 0]).sum()
    assert change.largest_difference == pytest.approx(np.abs(old - new).max(), rel=1e-5)


def test_rows_that_the_model_refuses_are_left_out_with_their_labels() -> None:
    astore = classes(np.eye(3), np.zeros(3))
    rows = {"x": np.array([[np.nan, 0, 0], [0, 1, 0]], "f4")}
    (change,) = compare(astore, astore, rows, {"p": ["c", "b"]})
    assert (change.rows, change.accuracy_before, change.largest_difference) == (1, 1.0, 0.0)
    with pytest.raises(FileError, match="no rows that the model takes"):
        compare(astore, astore, {"x": rows["x"][:1]})
    with pytest.raises(FileError, match="the rows have no input 'x'"):
        compare(astore, astore, {})


def test_outputs_that_are_tensors_have_no_labels() -> None:
    astore = network(f4(4, 2))
    (change,) = compare(astore, convert(astore, "int8").astore, drawn_rows(astore, 50))
    assert (change.agreement, change.accuracy_before, change.rows) == (None, None, 50)
    assert 0 < change.largest_difference < 0.2


def test_rows_are_drawn_from_the_statistics_and_are_the_same_for_a_seed() -> None:
    statistics = {"mean": [10.0, -1.0], "std": [2.0, 0.5], "min": [9.0, -9.0], "max": [11.0, 9.0]}
    astore = network(f4(2, 2))
    known = replace(astore, inputs=(Input("x", "float32", (6, 2), statistics=statistics),))
    rows = drawn_rows(known, 4000)["x"]
    assert (rows.shape, rows.dtype) == ((4000, 6, 2), np.float32)
    assert (rows[..., 0].min(), rows[..., 0].max()) == (9.0, 11.0)
    assert rows[..., 1].mean() == pytest.approx(-1.0, abs=0.02)
    assert rows[..., 1].std() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(drawn_rows(known, 4000)["x"], rows)
    assert not np.array_equal(drawn_rows(known, 4000, seed=1)["x"], rows)


def test_whole_numbers_are_drawn_whole_and_images_are_asked_for() -> None:
    item = Input("x", "uint8", (3,), statistics={"mean": [100.0], "std": [90.0], "min": [0.0], "max": [255.0]})
    astore = network(f4(2, 2))
    assert drawn_rows(replace(astore, inputs=(item,)), 10)["x"].dtype == np.uint8
    for odd in (Input("x", "blob", ()), Input("x", "int64", (3,))):
        with pytest.raises(FileError, match="give a data file"):
            drawn_rows(replace(astore, inputs=(odd,)), 10)
