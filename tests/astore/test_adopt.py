"""Imported graphs as astores: what feeds them, labels, the card; forests and classifiers as scikit-learn's exporter writes them."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from esp.astore.adopt import adopt, import_onnx, read_labels
from esp.astore.binary import read, write
from esp.astore.graph import Graph, run_reference
from esp.astore.model import Step
from esp.astore.onnx import read_onnx
from esp.errors import EspError, FileError, GraphError
from tests.astore.onnx.oracle import floats, model, node, runtime

ML = [("ai.onnx.ml", 1)]


def image_network() -> Graph:
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "f"), node("Softmax", "f", "y")]
    return read_onnx(model(nodes, {"x": [1, 3, 8, 6]}, ["y"], {"w": floats(4, 3, 3, 3)}))


def test_inputs_and_outputs_are_as_the_graph_has_them() -> None:
    astore = adopt(image_network(), "net")
    (item,), (output,) = astore.inputs, astore.outputs
    assert (item.name, item.dtype, item.shape, item.steps, item.missing) == ("x", "float32", (3, 8, 6), (), "refuse")
    assert (output.name, output.dtype, output.shape, output.kind, output.labels) == ("y", "float32", (4,), "tensor", ())


def test_spec_says_how_an_image_is_prepared_and_what_the_classes_are() -> None:
    steps = [
        {"op": "decode", "channels": 3}, {"op": "resize", "height": 8, "width": 6},
        {"op": "normalise", "mean": [120, 115, 100], "std": 60}, {"op": "channels_first"},
    ]  # fmt: skip
    spec = {"inputs": {"x": {"dtype": "blob", "steps": steps}}, "outputs": {"y": {"labels": ["a", "b", "c", "d"]}}}
    astore = adopt(image_network(), "net", spec=spec)
    (item,) = astore.inputs
    assert (item.dtype, item.shape) == ("blob", ())
    assert item.steps[1] == Step("resize", {"height": 8, "width": 6})
    assert (astore.outputs[0].kind, astore.outputs[0].labels) == ("probabilities", ("a", "b", "c", "d"))


def test_labels_go_to_the_one_output_that_they_fit() -> None:
    assert adopt(image_network(), "net", labels=["a", "b", "c", "d"]).outputs[0].labels == ("a", "b", "c", "d")
    with pytest.raises(FileError, match=r"labels: 3 labels fit 0 of the outputs 'y' \[4\]"):
        adopt(image_network(), "net", labels=["a", "b", "c"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"inputs": {"x1": {}}}, "spec: inputs: unknown input 'x1'; did you mean 'x'?"),
        ({"outputs": {"z": {}}}, "spec: outputs: unknown output 'z'"),
        ({"inputs": {"x": {"dtyp": "uint8"}}}, "spec: inputs.x: unknown key 'dtyp'; did you mean 'dtype'?"),
        ({"inputs": {"x": {"steps": [{"op": "rotate"}]}}}, r"spec: inputs.x.steps\[0\].op: "),
        ({"inputs": {"x": {"missing": "guess"}}}, "spec: inputs.x.missing: "),
        ({"inputs": {"x": {"shape": [8, 6, 3]}}}, r"inputs\[0\] 'x': prepared it is \[8, 6, 3\], but the graph takes \[3, 8, 6\]"),
        ({"outputs": {"y": {"labels": ["a"]}}}, r"outputs\[0\] 'y': 1 labels for 4 classes"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused_with_its_place(spec, message: str) -> None:
    with pytest.raises(EspError, match=message):
        adopt(image_network(), "net", spec=spec)


def test_card_says_which_file_the_model_came_from(tmp_path: Path) -> None:
    proto = model([node("Relu", "x", "y")], {"x": ["N", 3]}, ["y"], opset=13)
    proto.producer_name = "maker"
    path = tmp_path / "some.onnx"
    path.write_bytes(proto.SerializeToString())
    astore = import_onnx(path)
    wanted = {
        "file": "some.onnx", "form": "onnx", "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "producer": "maker", "ir_version": 8, "opset ai.onnx": 13,
    }  # fmt: skip
    assert (astore.name, astore.card) == ("some", {"source": wanted})
    write(astore, tmp_path / "some.astore")
    assert read(tmp_path / "some.astore").card == astore.card


def forest(labels: dict, text: bool):
    """Two trees over two features that vote for three classes, as skl2onnx writes them: label, ZipMap of the probabilities."""
    attrs = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1], "nodes_nodeids": [0, 1, 2, 0, 1, 2], "nodes_featureids": [0, 0, 0, 1, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0, -1.0, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0], "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "class_treeids": [0, 0, 1, 1], "class_nodeids": [1, 2, 1, 2], "class_ids": [0, 1, 1, 2],
        "class_weights": [0.5, 0.5, 0.5, 0.5], "post_transform": "NONE",
    }  # fmt: skip
    nodes = [
        node("TreeEnsembleClassifier", "X", "label probabilities", domain="ai.onnx.ml", **attrs, **labels),
        node("Identity", "label", "output_label"),
        node("ZipMap", "probabilities", "output_probability", domain="ai.onnx.ml", **labels),
    ]
    proto = model(nodes, {"X": [None, 2]}, ["output_label", "probabilities"], opset=17, opsets=ML)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING if text else onnx.TensorProto.INT64
    return proto


def with_zip_map(proto):
    """What the exporter gives: the maps of labels and probabilities instead of the numbers."""
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    made.graph.output[1].Clear()
    made.graph.output[1].name = "output_probability"
    return made


def test_forest_of_text_labels_gives_probabilities_over_them(tmp_path: Path) -> None:
    proto = forest({"classlabels_strings": ["low", "middle", "high"]}, text=True)
    (tmp_path / "forest.onnx").write_bytes(with_zip_map(proto).SerializeToString())
    astore = import_onnx(tmp_path / "forest.onnx")
    (output,) = astore.outputs  # the label itself is text: it is in the labels
    assert (output.name, output.kind, output.labels) == ("output_probability", "probabilities", ("low", "middle", "high"))
    x = floats(20, 2)
    (got,) = run_reference(astore.graph, [x])
    names, wanted = runtime(proto, x)
    np.testing.assert_array_equal(got, wanted)
    assert [output.labels[at] for at in got.argmax(axis=1)] == list(names)


def test_forest_of_whole_labels_gives_label_and_probabilities(tmp_path: Path) -> None:
    proto = forest({"classlabels_int64s": [3, 5, 9]}, text=False)
    (tmp_path / "forest.onnx").write_bytes(with_zip_map(proto).SerializeToString())
    astore = import_onnx(tmp_path / "forest.onnx")
    assert [(one.name, one.dtype, one.labels) for one in astore.outputs] == [
        ("output_label", "int64", ()), ("output_probability", "float32", ("3", "5", "9")),
    ]  # fmt: skip
    x = floats(20, 2)
    for got, wanted in zip(run_reference(astore.graph, [x]), runtime(proto, x), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_labels_that_are_given_go_before_those_of_the_file(tmp_path: Path) -> None:
    proto = forest({"classlabels_strings": ["low", "middle", "high"]}, text=True)
    (tmp_path / "forest.onnx").write_bytes(with_zip_map(proto).SerializeToString())
    astore = import_onnx(tmp_path / "forest.onnx", labels=["a", "b", "c"])
    assert astore.outputs[0].labels == ("a", "b", "c")


@pytest.mark.parametrize("text", [True, False])
def test_a_label_picked_from_a_list_by_the_best_class(tmp_path: Path, text: bool) -> None:
    """As skl2onnx writes a neural network's label: ArgMax, ArrayFeatureExtractor, Cast, Reshape."""
    cast = [] if text else [node("Cast", "picked", "picked_", to=onnx.TensorProto.INT64)]
    nodes = [
        node("MatMul", "x w", "logits"), node("Softmax", "logits", "chances"), node("ArgMax", "chances", "best", axis=1),
        node("ArrayFeatureExtractor", "classes best", "picked", domain="ai.onnx.ml"), *cast,
        node("Reshape", "picked" if text else "picked_", "one"),
    ]  # fmt: skip
    nodes[-1].input.append("flat")
    nodes[-1].output[0] = "label"
    proto = model(nodes, {"x": [None, 4]}, ["label", "chances"], {"w": floats(4, 3), "flat": np.int64([-1])}, opset=17, opsets=ML)
    classes = helper.make_tensor(
        "classes", onnx.TensorProto.STRING if text else onnx.TensorProto.INT32, [3], [b"a", b"b", b"c"] if text else [7, 8, 9]
    )
    proto.graph.initializer.append(classes)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING if text else onnx.TensorProto.INT64
    x = floats(6, 4)
    wanted = runtime(proto, x)
    graph = read_onnx(proto)
    assert [value.name for value in graph.outputs] == (["chances"] if text else ["label", "chances"])
    for got, right in zip(run_reference(graph, [x]), wanted[1:] if text else wanted, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5)


def test_labels_are_read_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("tench\ngold fish\n\n")
    assert read_labels(tmp_path / "labels.txt") == ("tench", "gold fish")
    with pytest.raises(FileError, match="the labels cannot be read"):
        read_labels(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ant\n\nbee\n", "labels.txt: line 2: the line is empty"),
        ("\nant\n", "line 1: "),
        ("", "there are no labels"),
        ("\n \n", "no labels"),
    ],
)
def test_a_blank_line_among_labels_and_a_file_without_any_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(FileError, match=message):
        read_labels(tmp_path / "labels.txt")


def test_a_label_that_is_there_twice_is_named() -> None:
    with pytest.raises(GraphError, match=r"outputs\[0\] 'y': label 'bee' is there twice"):
        adopt(image_network(), "net", labels=["ant", "bee", "cat", "bee"])


def test_a_zip_map_of_other_labels_than_numbers_is_refused() -> None:
    proto = forest({"classlabels_int64s": [3, 5, 9]}, text=False)
    proto.graph.node[2].attribute[0].ints.append(11)
    with pytest.raises(GraphError, match=r"ZipMap -> 'output_probability'.*4 labels for \[3\] numbers"):
        read_onnx(with_zip_map(proto))
