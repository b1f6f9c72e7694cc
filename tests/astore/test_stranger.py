"""What esp writes, read by the reader of ``stranger``, which knows FORMAT.md alone; and what one refuses, the other does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.astore.binary import read, sign, to_bytes, write
from esp.astore.convert import convert
from esp.astore.graph import Graph, Node, Tensor, Value
from esp.astore.model import Astore, Input, Output
from esp.astore.signing import generate_key
from tests.astore.hostile.make import files
from tests.astore.stranger import Reader, Refused
from tests.astore.test_binary import tiny

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("tests/astore/golden/*.astore"), *ROOT.glob("windows/*/*.astore")]
# These break no rule of the file, but what ONNX says of ops, or of the sizes that they make.
MEANING = {"attribute-unknown", "graph-op-unknown", "graph-node-of-many-inputs", "graph-shapes-that-do-not-fit"}
HOSTILE = {name: found.data for name, found in files().items() if name not in MEANING and not name.startswith("bomb")}


def forest() -> Astore:
    """Trees of one split each, with attributes that are tensors and attributes that are packed."""
    trees = 100
    attrs: dict[str, Any] = {
        "tree_roots": tuple(range(trees)), "n_targets": 1, "aggregate_function": 1,
        "nodes_featureids": (0, 1) * (trees // 2), "nodes_modes": Tensor.of(np.zeros(trees, np.uint8)),
        "nodes_splits": Tensor.of(np.linspace(-1, 1, trees, dtype=np.float32)),
        "nodes_truenodeids": tuple(range(0, 2 * trees, 2)), "nodes_trueleafs": (1,) * trees,
        "nodes_falsenodeids": tuple(range(1, 2 * trees, 2)), "nodes_falseleafs": (1,) * trees,
        "leaf_targetids": (0,) * (2 * trees), "leaf_weights": Tensor.of(np.arange(2 * trees, dtype=np.float32) / 7),
    }  # fmt: skip
    node = Node("TreeEnsemble", ("x",), ("y",), attrs)
    graph = Graph((node,), (Value("x", "float32", (None, 2)),), (Value("y", "float32", (None, 1)),), {})
    return Astore("forest", graph, (Input("x", "float32", (2,)),), (Output("y", "float32", (1,)),))


def check_reads_the_same(data: bytes, astore: Astore) -> None:
    found = Reader(data)
    assert found.header["name"] == astore.name
    assert {*found.weights} == {*astore.graph.weights}
    for name, array in astore.graph.weights.items():
        np.testing.assert_array_equal(found.weights[name], array, strict=True)
    for read_attrs, node in zip(found.attrs, astore.graph.nodes, strict=True):
        assert {*read_attrs} == {*node.attrs}
        for name, value in node.attrs.items():
            wanted = value.array if isinstance(value, Tensor) else value
            np.testing.assert_array_equal(read_attrs[name], wanted)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_astore_of_the_repository_reads_the_same(path: Path) -> None:
    astore = read(path)
    check_reads_the_same(path.read_bytes(), astore)
    assert Reader(path.read_bytes()).digest.hex() == astore.digest


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_a_converted_model_reads_the_same(weights: Any) -> None:
    astore = convert(read(ROOT / "windows/digits_camera/digits.astore"), weights).astore
    data = to_bytes(astore)
    check_reads_the_same(data, astore)
    held = {entry["dtype"] for entry in Reader(data).header["tensors"]}
    assert weights in held


def test_attributes_that_are_tensors_or_packed_read_the_same() -> None:
    astore = forest()
    data = to_bytes(astore)
    check_reads_the_same(data, astore)
    (node,) = Reader(data).header["graph"]["nodes"]
    assert node["attrs"]["leaf_weights"]["shape"] == [200]
    assert len(node["attrs"]["nodes_featureids"]["ints"]) == 800


def test_every_dtype_and_an_empty_tensor_read_the_same() -> None:
    dtypes = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
    odd = {f"t {dtype}": np.array([[0, 1], [1, 0]], dtype) for dtype in dtypes} | {"empty": np.zeros((0, 3), np.int8)}
    astore = replace(tiny(), graph=replace(tiny().graph, weights={**tiny().graph.weights, **odd}))
    check_reads_the_same(to_bytes(astore), astore)


def test_a_signed_file_is_signed_by_that_key_and_no_other(tmp_path: Path) -> None:
    write(forest(), path := tmp_path / "m.astore")
    assert Reader(path.read_bytes()).signer is None
    key = generate_key(tmp_path / "key.pem")
    sign(path, tmp_path / "key.pem")
    data = path.read_bytes()
    Reader(data).check_signature(key)
    check_reads_the_same(data, forest())
    with pytest.raises(Refused, match="9: not signed by this key"):
        Reader(data).check_signature(generate_key(tmp_path / "other.pem"))


@pytest.mark.parametrize("name", HOSTILE)
def test_what_esp_refuses_for_a_rule_of_the_format_the_stranger_refuses(name: str) -> None:
    with pytest.raises(Refused, match=r"^(\d|steps)"):
        Reader(HOSTILE[name])


@pytest.mark.parametrize("name", sorted(MEANING))
def test_a_file_that_is_sound_but_for_what_its_ops_mean_is_no_affair_of_the_formats(name: str) -> None:
    assert Reader(files()[name].data).header["name"] == "tiny"
