"""An astore as an ONNX file: fed with events it gives the scorer's scores, it tells what it is, it is written whole."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from esp.astore.adopt import import_onnx
from esp.astore.binary import read
from esp.astore.graph import Graph, Node, Value, run_reference
from esp.astore.model import Astore, Input, Output, Step, check
from esp.astore.onnx import export_onnx, onnx_bytes, read_onnx
from esp.astore.preprocess import prepare
from esp.errors import FileError, GraphError
from esp.runtime.events import VarColumn
from esp.runtime.scorer import Scorer

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("cat", "dog", "owl")
CHANNELS_FIRST = Step("channels_first")


def classifier(item: Input, *shape: int) -> Astore:
    """Three classes of a linear layer over prepared events of ``shape``, channels first or not."""
    rng = np.random.default_rng(3)
    size = int(np.prod(shape))
    weights = {"kernel": (rng.standard_normal((size, 3)) / size).astype(np.float32)}
    nodes = (Node("Flatten", ("x",), ("flat",)), Node("MatMul", ("flat", "kernel"), ("y",)), Node("Softmax", ("y",), ("p",)))
    graph = Graph(nodes, (Value("x", "float32", (None, *shape)),), (Value("p", "float32", (None, 3)),), weights)
    astore = Astore("pets", graph, (item,), (Output("kind", "float32", (3,), "probabilities", LABELS),), {"loss": 0.5})
    check(astore)
    return astore


def events(item: Input, rows: int) -> np.ndarray:
    rng = np.random.default_rng(rows)
    if item.dtype.startswith("float"):
        return (3 * rng.standard_normal((rows, *item.shape))).astype(item.dtype)
    return rng.integers(0, 2 if item.dtype == "bool" else 17, (rows, *item.shape)).astype(item.dtype)


def in_onnxruntime(model: bytes, **columns: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    made: list[np.ndarray] = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"]).run(None, columns)
    return made


def scores(astore: Astore, *columns: Any) -> tuple[np.ndarray, ...]:
    return Scorer.bind(astore, "numpy").score(columns, [None] * len(columns)).outputs


@pytest.mark.parametrize("file", ["digits_camera/digits.astore", "shoulder_imu/shoulder.astore"])
def test_model_of_a_window_gives_its_scores_from_raw_events_as_onnx_and_read_again(file: str, tmp_path: Path) -> None:
    astore = read(ROOT / "windows" / file)
    (path,) = export_onnx(astore, tmp_path / "model.onnx")
    again = import_onnx(path)
    assert [output.labels for output in again.outputs] == [output.labels for output in astore.outputs]
    for rows in (1, 7):
        column = events(astore.inputs[0], rows)
        wanted = scores(astore, column)
        for ours, theirs in zip(wanted, in_onnxruntime(path.read_bytes(), **{astore.inputs[0].name: column}), strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5)
        for before, after in zip(wanted, scores(again, column), strict=True):
            np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)


STEPS: dict[str, tuple[Input, tuple[int, ...]]] = {
    "none": (Input("seen", "float32", (4,)), (4,)),
    "cast": (Input("seen", "float64", (4,)), (4,)),
    "bool": (Input("seen", "bool", (2, 3), (Step("scale", {"scale": 2, "offset": -1}),)), (2, 3)),
    "scalar": (Input("seen", "int64", (), (Step("normalise", {"mean": 3.0, "std": 7}),)), ()),
    "channels": (
        Input("seen", "uint8", (4, 5, 2), (Step("normalise", {"mean": (0.1, 0.3), "std": (0.5, 0.25)}), CHANNELS_FIRST)),
        (2, 4, 5),
    ),
    "series": (Input("seen", "int32", (6, 2), (Step("scale", {"scale": (0.5, 2.0), "offset": 1.0}), CHANNELS_FIRST)), (2, 6)),
    "resize": (Input("seen", "float32", (5, 7, 3), (Step("resize", {"height": 9, "width": 4}), CHANNELS_FIRST)), (3, 9, 4)),
    "kept size": (Input("seen", "uint8", (5, 7, 3), (Step("resize", {"height": 5, "width": 7}), CHANNELS_FIRST)), (3, 5, 7)),
    "letterbox tall": (Input("seen", "uint8", (9, 4, 3), (
        Step("letterbox", {"height": 6, "width": 8, "fill": 114}), Step("reverse_channels"), CHANNELS_FIRST,
    )), (3, 6, 8)),
    "letterbox wide": (Input("seen", "float32", (3, 11, 2), (Step("letterbox", {"height": 7, "width": 5, "fill": (0.5, -2.0)}),)), (7, 5, 2)),
    "reversed series": (Input("seen", "float64", (4, 3), (Step("reverse_channels"),)), (4, 3)),
    "twice": (
        Input("seen", "float32", (12,), (
            Step("scale", {"scale": 2.0, "offset": 1.0}), Step("reshape", {"shape": (2, 2, 3)}),
            Step("scale", {"scale": (1.0, 2.0, 3.0), "offset": (0.0, 0.5, 1.0)}), Step("reshape", {"shape": (3, 4)}),
        )),
        (3, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_each_step_is_in_the_graph_and_gives_what_prepare_gives(case: str) -> None:
    item, shape = STEPS[case]
    astore = classifier(item, *shape)
    model = onnx_bytes(astore)
    for rows in (1, 7):
        column = events(item, rows)
        (wanted,) = run_reference(astore.graph, [prepare(item, column).array])
        np.testing.assert_allclose(in_onnxruntime(model, seen=column)[0], wanted, rtol=0, atol=1e-6)


def test_image_input_takes_decoded_images_of_any_one_size() -> None:
    steps = (
        Step("decode", {"channels": 3}), Step("resize", {"height": 6, "width": 8}), Step("scale", {"scale": 1 / 255, "offset": 0}),
        Step("normalise", {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}), CHANNELS_FIRST,
    )  # fmt: skip
    astore = classifier(Input("photo", "blob", (), steps), 3, 6, 8)
    model = onnx_bytes(astore)
    (taken,) = onnx.load_from_string(model).graph.input
    assert [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim] == ["N", "photo.H", "photo.W", 3]
    assert (taken.type.tensor_type.elem_type, "decoded" in taken.doc_string) == (onnx.TensorProto.UINT8, True)
    rng = np.random.default_rng(2)
    for rows, height, width in ((1, 6, 8), (7, 13, 5), (2, 3, 31)):
        images = rng.integers(0, 256, (rows, height, width, 3)).astype(np.uint8)
        files = []
        for image in images:
            files.append(BytesIO())
            Image.fromarray(image).save(files[-1], "PNG")
        (wanted,) = scores(astore, VarColumn.of([file.getvalue() for file in files]))
        np.testing.assert_allclose(in_onnxruntime(model, photo=images)[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fill", [114, (10.0, 20.0, 30.5)])
def test_image_input_in_a_letterbox_finds_the_place_of_an_image_of_any_size(fill: Any) -> None:
    letterbox = Step("letterbox", {"height": 6, "width": 8, "fill": fill})
    steps = Step("decode", {"channels": 3}), letterbox, Step("reverse_channels"), CHANNELS_FIRST
    astore = classifier(Input("photo", "blob", (), steps), 3, 6, 8)
    model, rng = onnx_bytes(astore), np.random.default_rng(2)
    for height, width in ((6, 8), (13, 5), (3, 31), (1, 400), (300, 1), (7, 9), (12, 16)):
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(image).save(file := BytesIO(), "PNG")
        (wanted,) = scores(astore, VarColumn.of([file.getvalue()]))
        np.testing.assert_allclose(in_onnxruntime(model, photo=image[None])[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("missing", "impute"), [("impute", 2.5), ("impute", (1.0, -1.0)), ("nan", 0.0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_missing_values_are_imputed_or_pass(missing: Any, impute: Any, dtype: str) -> None:
    item = Input("seen", dtype, (3, 2), (Step("scale", {"scale": 0.5, "offset": 1.0}),), missing, impute)
    astore, column = classifier(item, 3, 2), events(item, 5)
    column[1, 2, 0] = column[3, 0, 1] = np.nan
    (wanted,) = scores(astore, column)
    assert np.isnan(wanted).any(axis=1).tolist() == [False, missing == "nan", False, missing == "nan", False]
    np.testing.assert_allclose(in_onnxruntime(onnx_bytes(astore), seen=column)[0], wanted, rtol=0, atol=1e-6)


def test_without_preprocessing_it_takes_prepared_events_under_the_names_of_the_astore() -> None:
    item, shape = STEPS["channels"]
    astore, column = classifier(item, *shape), events(item, 7)
    prepared = prepare(item, column).array
    model = onnx_bytes(astore, preprocessing=False)
    proto = onnx.load_from_string(model)
    assert [node.op_type for node in proto.graph.node] == ["Flatten", "MatMul", "Softmax"]
    assert [value.name for value in proto.graph.output] == ["kind"]
    np.testing.assert_allclose(in_onnxruntime(model, seen=prepared)[0], scores(astore, column)[0], rtol=0, atol=1e-6)


def test_names_that_meet_are_told_apart() -> None:
    """An input called as a weight, outputs called as an input and as an inner tensor, an output that is an input."""
    nodes = (Node("Mul", ("a", "x"), ("y",)), Node("Add", ("y", "b"), ("z",)))
    weights = {"x": np.float32([2, 3]), "b": np.float32([5, 7])}
    values = [Value(name, "float32", (None, 2)) for name in ("z", "a", "y")]
    graph = Graph(nodes, (values[1],), tuple(values), weights)
    outputs = tuple(Output(name, "float32", (2,)) for name in ("y", "x", "b"))
    for preprocessing in (True, False):
        model = onnx_bytes(Astore("names", graph, (Input("x", "float32", (2,)),), outputs), preprocessing=preprocessing)
        x = np.float32([[1, 10]])
        made = in_onnxruntime(model, x=x)
        assert [array.tolist() for array in made] == [[[7, 37]], [[1, 10]], [[2, 30]]]
        proto = onnx.load_from_string(model)
        assert [value.name for value in proto.graph.output] == ["y", "x_2", "b"]
        (told,) = [json.loads(entry.value) for entry in proto.metadata_props if entry.key == "esp.outputs"]
        assert [(output["name"], output["tensor"]) for output in told] == [("y", "y"), ("x", "x_2"), ("b", "b")]


def test_model_says_what_it_is() -> None:
    item, shape = STEPS["channels"]
    proto = onnx.load_from_string(onnx_bytes(classifier(item, *shape)))
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert (proto.producer_name, proto.graph.name, told["esp.name"], told["esp.preprocessing"]) == ("esp", "pets", "pets", "inside")
    assert json.loads(told["esp.card"]) == {"loss": 0.5}
    (source,), (output,) = json.loads(told["esp.inputs"]), json.loads(told["esp.outputs"])
    assert (source["name"], source["dtype"], source["shape"], source["missing"]) == ("seen", "uint8", [4, 5, 2], "refuse")
    assert (output["labels"], output["kind"]) == (["cat", "dog", "owl"], "probabilities")
    assert "missing value" in proto.graph.input[0].doc_string
    assert proto.graph.output[0].doc_string == "probabilities of cat, dog, owl"


def test_metadata_that_is_not_ours_is_passed_over(tmp_path: Path) -> None:
    item, shape = STEPS["none"]
    proto = onnx.load_from_string(onnx_bytes(classifier(item, *shape)))
    for text in ("no json", "7", '[{"tensor": 3, "labels": ["a"]}]', '[{"tensor": "kind", "labels": [1, 2, 3]}]', "[" * 100_000):
        for entry in proto.metadata_props:
            entry.value = text if entry.key == "esp.outputs" else entry.value
        (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
        assert import_onnx(tmp_path / "model.onnx").outputs == (Output("kind", "float32", (3,)),)


def test_same_astore_gives_the_same_bytes() -> None:
    item, shape = STEPS["channels"]
    assert onnx_bytes(classifier(item, *shape)) == onnx_bytes(classifier(item, *shape))


def test_weights_too_large_for_one_message_lie_beside_the_model(tmp_path: Path) -> None:
    item, shape = Input("seen", "float32", (10, 40)), (10, 40)
    astore, column = classifier(item, *shape), events(item, 7)
    path, data = export_onnx(astore, tmp_path / "big.onnx", largest=8000)
    assert sorted(tmp_path.iterdir()) == sorted([path, data])
    assert (path.name, data.stat().st_size) == ("big.onnx", 400 * 3 * 4)
    onnx.checker.check_model(str(path), full_check=True)
    (wanted,) = scores(astore, column)
    (made,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"seen": column})
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(run_reference(read_onnx(path), [column])[0], wanted, rtol=0, atol=1e-6)


def test_every_weight_outside_begins_at_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("a", (500, 3)), ("b", (3, 700)), ("c", ()))}
    nodes = (Node("MatMul", ("x", "a"), ("xa",)), Node("MatMul", ("xa", "b"), ("xab",)), Node("Mul", ("xab", "c"), ("y",)))
    graph = Graph(nodes, (Value("x", "float32", (None, 500)),), (Value("y", "float32", (None, 700)),), weights)
    astore = Astore("two", graph, (Input("x", "float32", (500,)),), (Output("y", "float32", (700,)),))
    path, _ = export_onnx(astore, tmp_path / "two.onnx", largest=20_000)
    places = [
        {entry.key: entry.value for entry in tensor.external_data}.get("offset")
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
    ]
    assert places == ["0", "8192", None]  # 6,000 bytes end on the second page; one number stays within
    x = rng.standard_normal((2, 500)).astype(np.float32)
    np.testing.assert_array_equal(run_reference(read_onnx(path), [x])[0], run_reference(graph, [x])[0])


def test_what_no_message_holds_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    astore = classifier(Input("seen", "float32", (10, 40)), 10, 40)
    with pytest.raises(FileError, match=r"4800 bytes or more do not fit .* write it to a file"):
        onnx_bytes(astore, largest=4000)
    with pytest.raises(FileError, match=r"do not fit .* make the graph smaller"):
        export_onnx(astore, tmp_path / "model.onnx", largest=300)
    with pytest.raises(FileError, match="cannot be written"):
        export_onnx(astore, tmp_path / "nowhere" / "model.onnx")
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        export_onnx(astore, tmp_path / "taken.onnx", largest=8000)
    assert [*tmp_path.iterdir()] == [tmp_path / "taken.onnx"]


def test_opset_that_lacks_an_op_is_refused_and_left_open_it_is_the_first_that_has_it() -> None:
    graph = Graph((Node("Swish", ("x",), ("y",)),), (Value("x", "float32", (None, 2)),), (Value("y", "float32", (None, 2)),), {})
    astore = Astore("swish", graph, (Input("x", "float32", (2,)),), (Output("y", "float32", (2,)),))
    assert onnx.load_from_string(onnx_bytes(astore)).opset_import[0].version == 24
    with pytest.raises(GraphError, match="opset 21 has no Swish; use opset 24 or newer"):
        onnx_bytes(astore, opset=21)
