"""Operators of older sets keep their meaning: held to onnxruntime, which runs the old model as it is."""

import numpy as np
import onnx
import pytest

from esp.astore.graph import run_reference
from esp.astore.onnx import read_onnx
from esp.errors import GraphError
from tests.astore.onnx.oracle import agree, floats, model, node

X = {"x": ["N", 4, 6]}
IMAGE = {"x": ["N", 3, 6, 8]}


@pytest.mark.parametrize(
    ("one", "opset", "inputs"),
    [
        (node("Squeeze", "x", "y", axes=[1]), 11, {"x": ["N", 1, 6]}),
        (node("Unsqueeze", "x", "y", axes=[1, 3]), 11, X),
        (node("ReduceSum", "x", "y", axes=[2], keepdims=0), 11, X),
        (node("ReduceMean", "x", "y", axes=[1, 2]), 13, X),
        (node("ReduceL2", "x", "y", axes=[-1]), 17, X),
        (node("Slice", "x", "y", starts=[1, -3], ends=[3, 1000], axes=[1, 2]), 9, X),
        (node("Pad", "x", "y", pads=[0, 1, 0, 0, 2, 3], value=1.5), 10, X),
        (node("Pad", "x", "y", pads=[0, 1, 0, 0, 2, 3], mode="reflect"), 7, X),
        (node("Clip", "x", "y", min=-0.5, max=0.25), 10, X),
        (node("Clip", "x", "y", max=0.25), 7, X),
        (node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0]), 7, IMAGE),
        (node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 1.5], mode="linear"), 8, IMAGE),
        (node("Softmax", "x", "y"), 11, X),
        (node("Softmax", "x", "y", axis=2), 9, X),
        (node("LogSoftmax", "x", "y", axis=-2), 11, X),
        (node("Hardmax", "x", "y"), 11, X),
        (node("Softmax", "x", "y"), 7, {"x": ["N", 5, 1, 1]}),
        (node("Dropout", "x", "y", ratio=0.3), 9, X),
        (node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), 7, IMAGE),
        (node("Cast", "x", "y", to=onnx.TensorProto.FLOAT), 9, X),
        (node("Gelu", "x", "y", approximate="tanh"), 20, X),
        (node("HardSwish", "x", "y"), 14, X),
    ],
)  # fmt: skip
def test_attributes_that_became_inputs_and_defaults_that_changed(one, opset, inputs) -> None:
    (shape,) = inputs.values()
    agree(model([one], inputs, ["y"], opset=opset), floats(5, *shape[1:]))


def test_split_without_sizes_is_even_and_with_sizes_is_not() -> None:
    even, uneven = node("Split", "x", "a b", axis=1), node("Split", "x", "c d", axis=2, split=[1, 5])
    for opset in (7, 11):
        agree(model([even, uneven], X, ["a", "b", "c", "d"], opset=opset), floats(3, 4, 6))
    agree(model([even], X, ["a", "b"], opset=13), floats(3, 4, 6))


@pytest.mark.parametrize("opset", [7, 9])
def test_topk_takes_k_from_its_attribute(opset: int) -> None:
    values = node("TopK", "x", "y i", k=2, axis=2)
    agree(model([values], X, ["y"], opset=opset), floats(3, 4, 6))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_10_counts_from_the_corner(mode: str) -> None:
    scales = np.float32([1, 1, 1.5, 2])
    agree(model([node("Resize", "x s", "y", mode=mode)], IMAGE, ["y"], {"s": scales}, opset=10), floats(2, 3, 6, 8))


def test_resize_11_leaves_out_what_is_empty() -> None:
    weights = {"roi": np.float32([]), "none": np.float32([]), "sizes": np.int64([1, 3, 9, 4]), "scales": np.float32([1, 1, 2, 2])}
    by_scales = node("Resize", "x roi scales", "y", mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    agree(model([by_scales], IMAGE, ["y"], weights, opset=11), floats(2, 3, 6, 8))
    by_sizes = node("Resize", "x roi none sizes", "y", mode="linear", coordinate_transformation_mode="align_corners")
    agree(model([by_sizes], {"x": [1, 3, 6, 8]}, ["y"], weights, opset=11), floats(3, 3, 6, 8))


def test_batch_normalisation_of_old_drops_what_training_needs() -> None:
    weights = {"s": floats(3), "b": floats(3, seed=1), "m": floats(3, seed=2), "v": np.abs(floats(3, seed=3)) + 1}
    for opset, attrs in ((7, {"spatial": 1}), (9, {}), (14, {}), (15, {"training_mode": 0})):
        agree(
            model([node("BatchNormalization", "x s b m v", "y", **attrs)], IMAGE, ["y"], weights, opset),
            floats(2, 3, 6, 8),
            rtol=1e-4,
        )
    with pytest.raises(GraphError, match="spatial = 0"):
        read_onnx(model([node("BatchNormalization", "x s b m v", "y", spatial=0)], IMAGE, ["y"], weights, opset=7))


def test_scatter_is_scatter_elements() -> None:
    weights = {"i": np.int64([[[1, 3]]]), "u": np.float32([[[7, 8]]])}
    old = model([node("Scatter", "x i u", "y", axis=2)], {"x": [1, 4, 6]}, ["y"], weights, opset=9)
    agree(old, floats(1, 4, 6), batch=False)


def test_roi_align_10_counts_from_the_pixels_corner() -> None:
    inputs = {"x": [2, 3, 6, 8], "rois": [2, 4]}
    weights = {"at": np.int64([0, 1])}
    old = model(
        [node("RoiAlign", "x rois at", "y", output_height=2, output_width=2, sampling_ratio=2)], inputs, ["y"], weights, opset=10
    )
    agree(old, floats(2, 3, 6, 8), np.float32([[0, 0, 5, 4], [1, 2, 7, 5]]), batch=False)


def test_group_normalisation_18_has_a_scale_for_each_group() -> None:
    x, scale, bias = floats(2, 6, 4), np.float32([2, 3]), np.float32([0.5, -1])
    old = model(
        [node("GroupNormalization", "x s b", "y", num_groups=2)], {"x": ["N", 6, 4]}, ["y"], {"s": scale, "b": bias}, opset=18
    )
    grouped = x.reshape(2, 2, 12).astype(np.float64)
    normal = (grouped - grouped.mean(axis=2, keepdims=True)) / np.sqrt(grouped.var(axis=2, keepdims=True) + 1e-5)
    wanted = (normal * scale[:, None] + bias[:, None]).reshape(2, 6, 4)
    np.testing.assert_allclose(run_reference(read_onnx(old), [x])[0], wanted, rtol=1e-4, atol=1e-5)


def test_space_to_depth_of_columns_first_orders_blocks_after_the_channel() -> None:
    x = floats(2, 3, 4, 6)
    new = model([node("SpaceToDepth", "x", "y", blocksize=2, mode="CRD")], {"x": ["N", 3, 4, 6]}, ["y"], opset=28)
    back = model([node("DepthToSpace", "y", "x", blocksize=2, mode="CRD")], {"y": ["N", 12, 2, 3]}, ["x"])
    (y,) = run_reference(read_onnx(new), [x])
    np.testing.assert_array_equal(run_reference(read_onnx(back), [y])[0], x)


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layout_with_the_batch_first_is_the_other_one_turned(op: str, gates: int) -> None:
    weights = {"w": floats(2, gates * 5, 3), "r": floats(2, gates * 5, 5, seed=1)}
    attrs = {"hidden_size": 5, "direction": "bidirectional"}
    inputs = {"x": ["N", 4, 3], "h": ["N", 2, 5]}
    first = model([node(op, "x w r _ _ h", "all last", layout=1, **attrs)], inputs, ["all", "last"], weights, opset=14)
    turned = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]), node("Transpose", "h", "ht", perm=[1, 0, 2]),
        node(op, "xt w r _ _ ht", "yt lt", **attrs),
        node("Transpose", "yt", "all", perm=[2, 0, 1, 3]), node("Transpose", "lt", "last", perm=[1, 0, 2]),
    ]  # fmt: skip
    second = model(turned, inputs, ["all", "last"], weights, opset=14)
    arrays = floats(3, 4, 3, seed=4), floats(3, 2, 5, seed=5)
    found = run_reference(read_onnx(first), arrays)
    for got, wanted in zip(found, run_reference(agree(second, *arrays, atol=1e-5), arrays), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_dropout_that_trains_is_refused() -> None:
    weights = {"ratio": np.float32(0.5), "on": np.bool_(True)}
    with pytest.raises(GraphError, match=r"Dropout.*training_mode is set"):
        read_onnx(model([node("Dropout", "x ratio on", "y")], X, ["y"], weights, opset=13))


@pytest.mark.parametrize(
    ("attrs", "wanted"),
    [
        ({"value": onnx.numpy_helper.from_array(np.float32([1, 2]))}, np.float32([1, 2])),
        ({"value_float": 2.5}, np.float32(2.5)),
        ({"value_floats": [1.0, 2.0]}, np.float32([1, 2])),
    ],
)
def test_constants_of_every_form_become_weights(attrs, wanted) -> None:
    nodes = [node("Constant", "", "c", **attrs), node("Mul", "x c", "y")]
    graph = read_onnx(model(nodes, {"x": ["N", 2]}, ["y"]))
    assert [one.op for one in graph.nodes] == ["Mul"]
    np.testing.assert_array_equal(graph.weights["c"], wanted)
    assert graph.weights["c"].dtype == wanted.dtype


def test_a_constant_of_text_is_refused() -> None:
    with pytest.raises(GraphError, match=r"Constant -> 'c'.*of text"):
        read_onnx(model([node("Constant", "", "c", value_string="a"), node("Mul", "x c", "y")], X, ["y"]))


def test_opset_6_broadcasts_along_the_axis_that_it_names() -> None:
    x, row = floats(2, 3, 4), np.float32([1, 2, 3])
    old = model([node("Mul", "x row", "y", broadcast=1, axis=1)], {"x": ["N", 3, 4]}, ["y"], {"row": row}, opset=6)
    np.testing.assert_array_equal(run_reference(read_onnx(old), [x])[0], x * row[:, None])
    slope = model([node("PRelu", "x row", "y")], {"x": ["N", 3, 4]}, ["y"], {"row": row}, opset=6)
    np.testing.assert_array_equal(run_reference(read_onnx(slope), [x])[0], np.where(x < 0, x * row[:, None], x))


def test_opset_6_trains_unless_it_is_told_not_to() -> None:
    with pytest.raises(GraphError, match="is_test is not set"):
        read_onnx(model([node("Dropout", "x", "y")], X, ["y"], opset=6))
    graph = read_onnx(model([node("Dropout", "x", "y", is_test=1)], X, ["y"], opset=6))
    np.testing.assert_array_equal(run_reference(graph, [floats(2, 4, 6)])[0], floats(2, 4, 6))
