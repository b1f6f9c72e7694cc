"""What exporters of today make of ordinary networks: chains over shapes, states of zeros, class tokens; held to onnxruntime."""

import numpy as np
import onnx
import pytest

from esp.astore.graph import run_reference
from esp.astore.onnx import read_onnx
from esp.errors import GraphError
from tests.astore.onnx.oracle import agree, floats, model, node, runtime

BATCHES = ["N", 1]  # open, and fixed as an exporter without dynamic axes leaves it


def ops(graph) -> list[str]:
    return [one.op for one in graph.nodes]


@pytest.mark.parametrize("batch", BATCHES)
def test_view_of_size_0_and_the_rest_needs_no_nodes_over_shapes(batch) -> None:
    weights = {"zero": np.int64(0), "axes": np.int64([0]), "rest": np.int64([-1]), "w": floats(24, 5), "b": floats(5)}
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape zero", "n", axis=0), node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target", axis=0), node("Reshape", "x target", "flat"), node("Gemm", "flat w b", "y"),
    ]  # fmt: skip
    graph = agree(model(nodes, {"x": [batch, 4, 6]}, ["y"], weights), floats(3, 4, 6))
    assert ops(graph) == ["Reshape", "Gemm"]


@pytest.mark.parametrize("target", [[1, -1], [1, 24], [1, 4, 3, 2], [-1, 24], [0, 24], [1, 1, 24], [4, 6], [2, 12]])
def test_reshape_to_the_fixed_batch_keeps_the_rows_apart(target: list[int]) -> None:
    nodes = [node("Reshape", "x target", "r"), node("Relu", "r", "r2"), node("Reshape", "r2 last", "y")]
    agree(model(nodes, {"x": [1, 4, 6]}, ["y"], {"target": np.int64(target), "last": np.int64([1, 24])}), floats(3, 4, 6))


def test_reshape_of_a_fixed_batch_of_four_is_of_any() -> None:
    proto = model([node("Reshape", "x target", "y")], {"x": [4, 3, 2]}, ["y"], {"target": np.int64([4, 6])})
    (value,) = read_onnx(proto).outputs
    assert value.shape == (None, 6)
    heads = model([node("Reshape", "x target", "r"), node("Reshape", "r back", "y")], {"x": [4, 3, 2]}, ["y"],
                  {"target": np.int64([12, 2]), "back": np.int64([4, 6])})  # fmt: skip
    assert read_onnx(heads).outputs[0].shape == (None, 6)


@pytest.mark.parametrize("batch", BATCHES)
def test_interpolation_by_a_scale_of_the_shape(batch) -> None:
    weights = {"two": np.float32(2), "start": np.int64([0]), "middle": np.int64([2]), "end": np.int64([4]), "axes": np.int64([0])}
    nodes = [
        node("Shape", "x", "shape"), node("Slice", "shape middle end axes", "hw"), node("Cast", "hw", "hwf", to=1),
        node("Mul", "hwf two", "wide"), node("Floor", "wide", "whole"), node("Cast", "whole", "size", to=7),
        node("Slice", "shape start middle axes", "nc"), node("Concat", "nc size", "sizes", axis=0),
        node("Resize", "x _ _ sizes", "y", mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    ]  # fmt: skip
    graph = agree(model(nodes, {"x": [batch, 2, 3, 4]}, ["y"], weights, opset=13), floats(3, 2, 3, 4))
    assert ops(graph) == ["Resize"]


def class_token(batch):
    """A class token is repeated for each row and put before the patches, as PyTorch's expand becomes."""
    weights = {
        "token": floats(1, 1, 6), "zero": np.int64(0), "axes": np.int64([0]), "ones": np.int64([-1, -1]),
        "minus": np.int64(-1), "three": np.int64([3]), "places": floats(1, 5, 6, seed=1),
    }  # fmt: skip
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape zero", "n", axis=0), node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 ones", "wanted", axis=0),
        node("ConstantOfShape", "three", "filled", value=onnx.helper.make_tensor("v", onnx.TensorProto.INT64, [1], [1])),
        node("Mul", "filled minus", "minuses"), node("Equal", "wanted minuses", "open"),
        node("Where", "open filled wanted", "target"), node("Expand", "token target", "tokens"),
        node("Concat", "tokens x", "all", axis=1), node("Add", "all places", "y"),
    ]  # fmt: skip
    return model(nodes, {"x": [batch, 4, 6]}, ["y"], weights, opset=17)


@pytest.mark.parametrize("batch", BATCHES)
def test_class_token_of_a_vision_transformer(batch) -> None:
    agree(class_token(batch), floats(3, 4, 6))


def test_class_token_expanded_by_the_exporter_is_repeated_for_each_row() -> None:
    nodes = [node("Concat", "token x", "all", axis=1), node("Add", "all places", "y")]
    proto = model(nodes, {"x": [1, 4, 6]}, ["y"], {"token": floats(1, 1, 6), "places": floats(1, 5, 6)})
    agree(proto, floats(3, 4, 6))


@pytest.mark.parametrize("batch", BATCHES)
def test_lstm_with_states_of_zeros_of_the_batch(batch) -> None:
    weights = {
        "w": floats(1, 20, 3), "r": floats(1, 20, 5, seed=1), "b": floats(1, 40, seed=2), "zero": np.int64(0), "axes": np.int64([0]),
        "one": np.int64([1]), "units": np.int64([5]), "dir": np.int64([1]),
    }  # fmt: skip
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape zero", "n", axis=0), node("Unsqueeze", "n axes", "n1"),
        node("Concat", "one n1 units", "state", axis=0), node("ConstantOfShape", "state", "h0"),
        node("Transpose", "x", "xt", perm=[1, 0, 2]), node("LSTM", "xt w r b _ h0 h0", "all last", hidden_size=5),
        node("Squeeze", "all dir", "steps"), node("Transpose", "steps", "y", perm=[1, 0, 2]),
    ]  # fmt: skip
    agree(model(nodes, {"x": [batch, 4, 3]}, ["y"], weights, opset=14), floats(3, 4, 3), atol=1e-5)


def test_recurrent_states_and_lengths_of_a_fixed_batch_are_repeated() -> None:
    weights = {"w": floats(1, 5, 3), "r": floats(1, 5, 5, seed=1), "h": floats(1, 1, 5, seed=2), "lengths": np.int32([3])}
    nodes = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]), node("RNN", "xt w r _ lengths h", "_ last", hidden_size=5),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]  # fmt: skip
    agree(model(nodes, {"x": [1, 4, 3]}, ["y"], weights, opset=14), floats(3, 4, 3), atol=1e-5)


@pytest.mark.parametrize("batch", BATCHES)
def test_self_attention_of_heads(batch) -> None:
    weights = {
        "w": floats(8, 24), "b": floats(24, seed=1), "split": np.int64([1 if batch == 1 else 0, 4, 3, 2, 4]), "zero": np.int64(0),
        "one": np.int64(1), "two": np.int64(2), "root": np.float32(2), "join": np.int64([1 if batch == 1 else 0, 4, 8]),
    }  # fmt: skip
    nodes = [
        node("MatMul", "x w", "qkv0"), node("Add", "qkv0 b", "qkv1"), node("Reshape", "qkv1 split", "qkv2"),
        node("Transpose", "qkv2", "qkv", perm=[2, 0, 3, 1, 4]),
        *(node("Gather", f"qkv {at}", name, axis=0) for at, name in (("zero", "q"), ("one", "k"), ("two", "v"))),
        node("Transpose", "k", "kt", perm=[0, 1, 3, 2]), node("MatMul", "q kt", "s0"), node("Div", "s0 root", "s1"),
        node("Softmax", "s1", "s", axis=-1), node("MatMul", "s v", "o"), node("Transpose", "o", "o2", perm=[0, 2, 1, 3]),
        node("Reshape", "o2 join", "y"),
    ]  # fmt: skip
    agree(model(nodes, {"x": [batch, 4, 8]}, ["y"], weights, opset=17), floats(3, 4, 8), atol=1e-5)


def steps_first_attention(batch, allowzero: bool):
    """PyTorch's MultiheadAttention: steps before the batch, both merged for the last product; heads and batch on one axis too."""
    one = 0 if batch == "N" else batch
    zero = {"allowzero": 1} if allowzero and one else {}
    heads = "heads" if one == 0 else "fixed"
    weights = {
        "w": floats(8, 24), "b": floats(24, seed=1), "split": np.int64([0 if one == 0 else 5, one, 3, 8]), "axes": np.int64([0]),
        "back": np.int64([-2]), "zero": np.int64(0), "one": np.int64(1), "two": np.int64(2), "root": np.float32(2), "five": np.int64([5]),
        "four": np.int64([4]), "width": np.int64([2]), "wo": floats(8, 8, seed=2), "bo": floats(8, seed=3), "batch_at": np.int64(1),
        "fixed": np.int64([5, 4 * (one or 1), 2]), "matrix": np.int64([5 * (one or 1), 8]), "eight": np.int64([8]),
        "whole": np.int64([5, one or 1, 8]),
    }  # fmt: skip
    nodes = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]), node("MatMul", "xt w", "qkv0"), node("Add", "qkv0 b", "qkv1"),
        node("Reshape", "qkv1 split", "qkv2", **zero), node("Unsqueeze", "qkv2 axes", "qkv3"),
        node("Transpose", "qkv3", "qkv4", perm=[3, 1, 2, 0, 4]), node("Squeeze", "qkv4 back", "qkv"),
        node("Shape", "xt", "shape"), node("Gather", "shape batch_at", "n", axis=0), node("Unsqueeze", "n axes", "n1"),
        node("Mul", "n1 four", "all_heads"), node("Concat", "five all_heads width", "heads", axis=0),
        node("Mul", "n1 five", "rows"), node("Concat", "rows eight", "open_matrix", axis=0),
        node("Concat", "five n1 eight", "open_whole", axis=0),
    ]  # fmt: skip
    for at, name in (("zero", "q"), ("one", "k"), ("two", "v")):
        nodes += [node("Gather", f"qkv {at}", f"{name}0", axis=0), node("Reshape", f"{name}0 {heads}", f"{name}1", **zero),
                  node("Transpose", f"{name}1", name, perm=[1, 0, 2])]  # fmt: skip
    nodes += [
        node("Transpose", "k", "kt", perm=[0, 2, 1]), node("MatMul", "q kt", "s0"), node("Div", "s0 root", "s1"),
        node("Softmax", "s1", "s", axis=-1), node("MatMul", "s v", "o"), node("Transpose", "o", "o2", perm=[1, 0, 2]),
        node("Reshape", f"o2 {'matrix' if one else 'open_matrix'}", "o3", **zero), node("Gemm", "o3 wo bo", "o4"),
        node("Reshape", f"o4 {'whole' if one else 'open_whole'}", "o5", **zero), node("Transpose", "o5", "y", perm=[1, 0, 2]),
    ]  # fmt: skip
    return model(nodes, {"x": [batch, 5, 8]}, ["y"], weights, opset=17)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("allowzero", [False, True])
@pytest.mark.parametrize("batch", BATCHES)
def test_attention_that_merges_steps_and_batch_for_its_last_product(batch, allowzero: bool, rows: int) -> None:
    agree(steps_first_attention(batch, allowzero), floats(rows, 5, 8), atol=1e-5)


def test_attention_of_a_fixed_batch_of_three() -> None:
    agree(steps_first_attention(3, True), floats(3, 5, 8), atol=1e-5)


@pytest.mark.parametrize("target", [[1, 24], [1, -1], [1, 2, 12], [-1, 24]])
def test_allowzero_changes_nothing_where_the_target_holds_no_zero(target: list[int]) -> None:
    nodes = [node("Reshape", "x target", "r", allowzero=1), node("Relu", "r", "y")]
    graph = agree(model(nodes, {"x": [1, 4, 6]}, ["y"], {"target": np.int64(target)}), floats(3, 4, 6))
    assert graph.outputs[0].shape[0] is None


RECURRENT = {"w": floats(1, 5, 3), "r": floats(1, 5, 5, seed=1)}


def recurrent(h: np.ndarray, expanded: bool = False):
    """An RNN whose state is a constant, or expanded to the batch of x."""
    nodes = [node("Transpose", "x", "xt", perm=[1, 0, 2])]
    if expanded:
        nodes += [
            node("Shape", "xt", "n", start=1, end=2),
            node("Concat", "dir n units", "target", axis=0),
            node("Expand", "h target", "h0"),
        ]
    nodes += [
        node("RNN", f"xt w r _ _ {'h0' if expanded else 'h'}", "_ last", hidden_size=5),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    weights = {**RECURRENT, "h": h, "dir": np.int64([1]), "units": np.int64([5])}
    return model(nodes, {"x": [4, 6, 3]}, ["y"], weights, opset=17)


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("row", [np.zeros(5, np.float32), floats(5, seed=2)])
def test_states_of_a_fixed_batch_of_four_that_are_one_state_are_of_any_row(row: np.ndarray, expanded: bool) -> None:
    graph = agree(recurrent(np.tile(row, (1, 4, 1)), expanded), floats(4, 6, 3), atol=1e-5)
    x = floats(7, 6, 3)
    wanted = runtime(recurrent(np.tile(row, (1, 4, 1)), expanded), x[3:7])[0]
    np.testing.assert_allclose(run_reference(graph, [x])[0][3:7], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("expanded", [False, True])
def test_states_of_a_fixed_batch_of_four_that_differ_are_refused_with_the_mend(expanded: bool) -> None:
    message = r"node \d+ .*: a tensor of shape \[1, 4, 5\] holds 4 rows of its own.*; export it with a dynamic batch, or batch 1"
    with pytest.raises(GraphError, match=message):
        read_onnx(recurrent(floats(1, 4, 5), expanded))


def test_lengths_and_sums_of_a_fixed_batch_of_four_are_refused_with_the_mend() -> None:
    lengths = recurrent(np.zeros((1, 4, 5), np.float32))
    lengths.graph.node[1].input[4] = "lengths"
    lengths.graph.initializer.append(onnx.numpy_helper.from_array(np.int32([1, 2, 3, 4]), "lengths"))
    added = model([node("Add", "x w", "y")], {"x": [4, 3]}, ["y"], {"w": floats(4, 3)})
    for proto, shape in ((lengths, r"\[4\]"), (added, r"\[4, 3\]")):
        with pytest.raises(
            GraphError, match=rf"a tensor of shape {shape} holds 4 rows .*export it with a dynamic batch, or batch 1"
        ):
            read_onnx(proto)


def test_what_is_wrong_at_any_batch_is_not_laid_to_the_fixed_one() -> None:
    nodes = [node("Transpose", "x", "xt"), node("Gemm", "xt w", "y")]
    with pytest.raises(GraphError, match="would mix the rows"):
        read_onnx(model(nodes, {"x": [4, 3]}, ["y"], {"w": floats(4, 3)}))


def test_channel_shuffle_of_a_fixed_batch() -> None:
    nodes = [node("Reshape", "x apart", "a"), node("Transpose", "a", "t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t flat", "y")]
    weights = {"apart": np.int64([1, 2, 3, 2, 2]), "flat": np.int64([1, 6, 2, 2])}
    agree(model(nodes, {"x": [1, 6, 2, 2]}, ["y"], weights), floats(3, 6, 2, 2))


def test_what_mixes_the_rows_of_a_batch_is_refused_with_the_node_named() -> None:
    mean = node("ReduceMean", "x", "y", axes=[0], name="over_rows")
    with pytest.raises(GraphError, match=r"node 0 'over_rows' .ReduceMean.*would mix the rows"):
        read_onnx(model([mean], {"x": [1, 4]}, ["y"], opset=13))
