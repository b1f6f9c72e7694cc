"""float16 and int8 weights in a file: what is written, what is read, and that nothing is lost in silence."""

import hashlib
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from esp.astore.binary import from_bytes, read, to_bytes, write
from esp.astore.convert import convert
from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output, Storage
from esp.astore.storage import to_int8, widened
from esp.errors import FileError, GraphError
from tests.astore.golden import make as golden
from tests.astore.hostile.forge import GOLDEN, forge
from tests.astore.test_binary import by_the_format, tiny


def network(w: np.ndarray, b: np.ndarray | None = None) -> Astore:
    """y = x @ w + b."""
    k, n = w.shape
    weights = {"w": w.astype("f4"), "b": np.zeros(n, "f4") if b is None else b.astype("f4")}
    graph = Graph(
        (Node("Gemm", ("x", "w", "b"), ("y",)),), (Value("x", "float32", (None, k)),), (Value("y", "float32", (None, n)),), weights
    )
    return Astore("net", graph, (Input("x", "float32", (k,)),), (Output("y", "float32", (n,)),))


def test_an_int8_weight_lies_as_the_format_says() -> None:
    # 127 / 127 = 1 and 254 / 127 = 2: the scales; 63.4 -> 63, -127 -> -127; 2 * 50 = 100, 101 -> 50.5 -> 50 (half to even)
    w = np.array([[127, 254], [63.4, 100], [-127, 101]])
    header, tensors, _ = by_the_format(to_bytes(convert(network(w), "int8").astore))
    entries = {entry["name"]: entry for entry in header["tensors"]}
    assert [*entries] == ["b", "w", "w/scale"]
    assert (entries["w"]["dtype"], entries["w"]["scale"], entries["w"]["axis"]) == ("int8", "w/scale", 1)
    assert "scale" not in entries["b"]
    assert "axis" not in entries["w/scale"]
    assert tensors["w"].tolist() == [[127, 127], [63, 50], [-127, 50]]
    assert tensors["w/scale"].tolist() == [1.0, 2.0]
    assert from_bytes(to_bytes(convert(network(w), "int8").astore)).graph.weights["w"].tolist() == [
        [127, 254],
        [63, 100],
        [-127, 100],
    ]


def test_a_float16_weight_lies_as_the_format_says() -> None:
    w = np.array([[1.0, 1 / 3], [2.0**-24, -65504.0]])  # 1/3 to 11 bits: 1365 / 4096
    header, tensors, _ = by_the_format(to_bytes(convert(network(w), "float16").astore))
    entry = next(entry for entry in header["tensors"] if entry["name"] == "w")
    assert (entry["dtype"], entry["size"], "scale" in entry) == ("float16", 8, False)
    assert tensors["w"].tolist() == [[1.0, 1365 / 4096], [2.0**-24, -65504.0]]


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_weights_are_float32_again_when_read_and_written_again_as_they_were(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    converted = convert(network(rng.normal(size=(40, 30)), rng.normal(size=30)), form).astore  # type: ignore[arg-type]
    written = write(converted, tmp_path / "m.astore")
    found = read(tmp_path / "m.astore", verify=True)
    assert found.graph.weights.keys() == {"w", "b"}
    for name, array in converted.graph.weights.items():
        np.testing.assert_array_equal(found.graph.weights[name], array, strict=True)
        assert not found.graph.weights[name].flags.writeable
        assert found.graph.weights[name].ctypes.data % 64 == 0
    assert found.storage == {"w": Storage(form, 1 if form == "int8" else None)}  # type: ignore[arg-type]
    before = (tmp_path / "m.astore").read_bytes()
    assert write(found, tmp_path / "n.astore").digest == written.digest
    assert (tmp_path / "n.astore").read_bytes() == before
    assert len(before) < 0.7 * len(to_bytes(network(rng.normal(size=(40, 30)))))


def test_a_weight_that_its_storage_would_change_is_written_as_it_is() -> None:
    astore = network(np.array([[1.0, 1 / 3], [0.7, 0.2]]))
    for storage in (Storage("float16"), Storage("int8", 1), Storage("int8"), Storage("int8", 7)):
        found = from_bytes(to_bytes(replace(astore, storage={"w": storage})))
        np.testing.assert_array_equal(found.graph.weights["w"], astore.graph.weights["w"])
        assert found.storage == {}


def test_storage_of_what_is_no_weight_any_more_is_passed_over() -> None:
    assert to_bytes(replace(tiny(), storage={"v": Storage("float16")})) == to_bytes(tiny())


def test_the_golden_file_made_by_hand_is_read_and_written_as_the_same_bytes() -> None:
    """int8 * scale: 127 * 0.5, -127 * 2, 63 * 0.5, 0, -1 * 0.5, 50 * 2; tests/astore/golden/make.py packs the bytes without esp."""
    data = (GOLDEN / "narrow.astore").read_bytes()
    assert data == golden.narrow()
    astore = from_bytes(data)
    assert astore.graph.weights["w"].tolist() == [[63.5, -254], [31.5, 0], [-0.5, 100]]
    assert astore.graph.weights["h"].tolist() == [[0.5, -2], [65504, 2.0**-24]]
    assert to_bytes(astore) == data


def test_a_name_that_a_weight_has_is_not_taken_for_scales() -> None:
    astore = convert(network(127 * np.eye(3)), "int8").astore
    weights = {**astore.graph.weights, "w/scale": np.array(5, "f4")}
    found = from_bytes(to_bytes(replace(astore, graph=replace(astore.graph, weights=weights))))
    assert found.graph.weights["w/scale"] == 5.0
    np.testing.assert_array_equal(found.graph.weights["w"], 127 * np.eye(3))


def test_a_float16_weight_of_a_graph_is_refused_with_what_to_do() -> None:
    astore = tiny()
    graph = replace(astore.graph, weights={**astore.graph.weights, "h": np.zeros(2, "f2")})
    with pytest.raises(GraphError, match="weight 'h': a weight cannot be float16; make it float32"):
        to_bytes(replace(astore, graph=graph))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.floats(-(2.0**127), 2.0**127, width=32)),
    st.sampled_from([None, 0, 1]),
)
def test_integers_times_scales_are_exact_near_and_their_own_conversion(array: np.ndarray, axis: int | None) -> None:
    found = to_int8(array, axis)
    assert found is not None
    integers, scale = found
    rounded = widened(integers, scale, axis)
    spread = scale if axis is None else np.expand_dims(scale, 1 - axis)
    np.testing.assert_array_equal(rounded.astype("f8"), integers.astype("f8") * spread)  # no rounding in float32
    assert (np.abs(rounded.astype("f8") - array) <= spread.astype("f8") * 0.5).all()
    again = to_int8(rounded, axis)
    assert again is not None
    np.testing.assert_array_equal(again[0], integers)
    np.testing.assert_array_equal(widened(*again, axis), rounded)


def test_what_is_not_finite_has_no_int8() -> None:
    assert to_int8(np.array([1, np.nan], "f4"), None) is None
    assert to_int8(np.array([1, np.inf], "f4"), 0) is None


def test_another_writers_scales_are_read_as_they_are() -> None:
    """A file whose one scale serves two tensors, is no power of anything, and whose integers go to -128."""
    data = to_bytes(network(np.zeros((2, 2)), np.zeros(2)))
    header = msgpack.unpackb(data[64 : 64 + int.from_bytes(data[24:28], "little")])
    parts = {"b": np.array([-128, 3], "i1"), "s": np.array(0.1, "<f4"), "w": np.array([[1, 2], [3, -4]], "i1")}
    tensors, body = [], b""
    for name, array in parts.items():
        body += bytes(-len(body) % 64)
        entry = {"name": name, "dtype": array.dtype.name, "shape": [*array.shape], "offset": len(body), "size": array.nbytes}
        tensors.append(entry | {"sha256": hashlib.sha256(array.tobytes()).digest()} | ({} if name == "s" else {"scale": "s"}))
        body += array.tobytes()
    found = from_bytes(forge(header | {"tensors": tensors}, body))
    np.testing.assert_array_equal(found.graph.weights["b"], np.array([-128, 3], "f4") * np.float32(0.1))
    np.testing.assert_array_equal(found.graph.weights["w"], np.array([[1, 2], [3, -4]], "f4") * np.float32(0.1))
    again = from_bytes(to_bytes(found))
    np.testing.assert_array_equal(again.graph.weights["b"], found.graph.weights["b"])


def test_every_dtype_and_an_empty_tensor_come_back() -> None:
    astore = tiny()
    dtypes = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
    odd = {f"t {dtype}": np.array([[0, 1], [1, 0]], dtype) for dtype in dtypes} | {
        "empty": np.zeros((0, 3), "i8"),
        "one": np.array(7, "i2"),
    }
    found = from_bytes(to_bytes(replace(astore, graph=replace(astore.graph, weights={**astore.graph.weights, **odd}))))
    for name, array in odd.items():
        np.testing.assert_array_equal(found.graph.weights[name], array, strict=True)


def test_a_narrow_weight_of_many_numbers_tells_no_shape() -> None:
    """Reading judges the graph before it widens weights; so a writer refuses what a reader would."""
    nodes = (
        Node("Gather", ("table", "at"), ("size",)),
        Node("Add", ("x", "size"), ("y",)),
    )
    table = np.zeros(300, "f4")
    weights = {"table": table, "at": np.array([3], "i8")}
    values = (Value("x", "float32", (None, 1)),), (Value("y", "float32", (None, 1)),)
    astore = Astore("t", Graph(nodes, *values, weights), (Input("x", "float32", (1,)),), (Output("y", "float32", (1,)),))
    kept = from_bytes(to_bytes(replace(astore, storage={"table": Storage("float16")})))
    np.testing.assert_array_equal(kept.graph.weights["table"], table)


def test_a_file_with_one_byte_of_a_scale_changed_is_found(tmp_path: Path) -> None:
    data = bytearray(to_bytes(convert(network(np.eye(3)), "int8").astore))
    data[-2] ^= 1
    (tmp_path / "m.astore").write_bytes(data)
    with pytest.raises(FileError, match=r"tensor 'w/scale'.*SHA-256"):
        read(tmp_path / "m.astore", verify=True)
