"""The shape arithmetic of exported networks: whole little graphs whose sizes are computed from shapes, the batch among them."""

import numpy as np
import onnxruntime
import pytest

from esp.astore.graph import Graph, Node, Value, run_reference
from esp.astore.onnx import to_onnx
from esp.astore.ops.dims import Rows
from esp.astore.ops.row import Tensor
from esp.astore.validation import examine, node_flops, validate
from esp.errors import GraphError


def whole(*numbers):
    return np.array(numbers, np.int64)


def graph(nodes, weights, x=(None, 2, 3, 4), y=(None, 24), dtype="float32"):
    made = tuple(Node(op, tuple(ins.split()), tuple(outs.split()), attrs) for op, ins, outs, attrs in nodes)
    return Graph(made, (Value("x", "float32", x),), (Value("y", dtype, y),), weights)


def assert_it_makes(graph, wanted, seed=3):
    """``wanted(x)`` is what the graph makes at batch 1 and 7, by the references and in onnxruntime."""
    validate(graph)
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        x = np.random.default_rng(seed).standard_normal((rows, *graph.inputs[0].shape[1:])).astype(np.float32)
        for made in (run_reference(graph, [x])[0], session.run(None, {"x": x})[0]):
            np.testing.assert_allclose(made, wanted(x), rtol=1e-5, atol=1e-6)


def test_a_view_that_reads_the_batch_from_the_shape_is_a_reshape_by_row():
    nodes = [
        ("Shape", "x", "shape", {}),
        ("Gather", "shape zero", "n", {"axis": 0}),
        ("Unsqueeze", "n axes", "n1", {}),
        ("Concat", "n1 rest", "target", {"axis": 0}),
        ("Reshape", "x target", "y", {}),
    ]
    made = graph(nodes, {"zero": np.array(0), "axes": whole(0), "rest": whole(-1)})
    assert_it_makes(made, lambda x: x.reshape(len(x), -1))
    assert examine(made).numbers["target"].tolist() == [Rows(1), -1]


def test_a_flatten_written_out_by_slices_of_the_shape():
    nodes = [
        ("Shape", "x", "shape", {}),
        ("Slice", "shape zero one", "n", {}),
        ("Slice", "shape one three", "middle", {}),
        ("ReduceProd", "middle", "flat", {"keepdims": 1}),
        ("Concat", "n flat rest", "target", {"axis": 0}),
        ("Reshape", "x target", "y", {}),
    ]
    made = graph(nodes, {"zero": whole(0), "one": whole(1), "three": whole(3), "rest": whole(4)}, y=(None, 6, 4))
    assert_it_makes(made, lambda x: x.reshape(len(x), 6, 4))


def test_a_class_token_is_expanded_to_the_batch_and_joined():
    token = np.float32([[[1, 2, 3]]])
    nodes = [
        ("Shape", "x", "n", {"end": 1}),
        ("Concat", "n minus", "asked", {"axis": 0}),
        ("Shape", "asked", "rank", {}),
        ("ConstantOfShape", "rank", "ones", {"value": Tensor.of(whole(1))}),
        ("Mul", "ones minus_one", "keep", {}),
        ("Equal", "asked keep", "is_kept", {}),
        ("Where", "is_kept ones asked", "target", {}),
        ("Expand", "token target", "tokens", {}),
        ("Concat", "tokens x", "y", {"axis": 1}),
    ]
    weights = {"minus": whole(-1, -1), "minus_one": np.array(-1), "token": token}
    made = graph(nodes, weights, x=(None, 5, 3), y=(None, 6, 3))
    assert_it_makes(made, lambda x: np.concatenate([np.repeat(token, len(x), 0), x], 1))
    assert validate(made)["tokens"] == (None, 1, 3)


def test_the_zero_state_of_a_recurrent_net_has_the_size_of_the_batch():
    rng = np.random.default_rng(0)
    w, r = (rng.standard_normal((1, 4, size)).astype(np.float32) for size in (3, 4))
    nodes = [
        ("Shape", "x", "shape", {}),
        ("Gather", "shape zero", "n", {}),
        ("Concat", "one n four", "state_shape", {"axis": 0}),
        ("ConstantOfShape", "state_shape", "state", {}),
        ("Transpose", "x", "steps", {"perm": (1, 0, 2)}),
    ]
    weights = {"zero": whole(0), "one": whole(1), "four": whole(4), "w": w, "r": r, "axis0": whole(0)}
    made = graph(nodes, weights, x=(None, 2, 3), y=(None, 4))
    rnn = Node("RNN", ("steps", "w", "r", "", "", "state"), ("all", "last"), {"hidden_size": 4})
    squeeze = Node("Squeeze", ("last", "axis0"), ("y",))
    made = Graph((*made.nodes, rnn, squeeze), made.inputs, made.outputs, made.weights)
    assert validate(made)["state"] == (1, None, 4)

    def wanted(x):
        state = np.zeros((len(x), 4), np.float32)
        for step in (0, 1):
            state = np.tanh(x[:, step] @ w[0].T + state @ r[0].T)
        return state

    assert_it_makes(made, wanted)


def test_a_network_is_resized_to_the_size_of_another_part():
    nodes = [
        ("MaxPool", "x", "small", {"kernel_shape": (2, 2), "strides": (2, 2)}),
        ("Shape", "x", "large", {"start": 2}),
        ("Shape", "small", "rows", {"end": 2}),
        ("Concat", "rows large", "target", {"axis": 0}),
    ]
    made = graph(nodes, {}, x=(None, 2, 4, 4), y=(None, 2, 4, 4))
    attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    last = Node("Resize", ("small", "", "", "target"), ("y",), attrs)
    made = Graph((*made.nodes, last), made.inputs, made.outputs, {})
    assert_it_makes(made, lambda x: x.reshape(len(x), 2, 2, 2, 2, 2).max((3, 5)).repeat(2, 2).repeat(2, 3))


def test_the_numbers_of_the_rows_are_a_range_of_the_batch():
    nodes = [
        ("Size", "x", "size", {}),
        ("Div", "size six", "n", {}),
        ("Range", "zero n one", "y", {}),
    ]
    made = graph(nodes, {"six": np.array(6), "zero": np.array(0), "one": np.array(1)}, x=(None, 6), y=(None,), dtype="int64")
    assert_it_makes(made, lambda x: np.arange(len(x)))


def test_a_shape_is_split_stacked_and_turned_ahead_of_the_data():
    nodes = [
        ("Shape", "x", "shape", {}),
        ("Split", "shape parts", "n planes", {}),
        ("Unsqueeze", "planes zero", "row", {}),
        ("Tile", "row twice", "rows", {}),
        ("Transpose", "rows", "columns", {}),
        ("Reshape", "columns flat", "all", {}),
        ("Slice", "all zero two", "first", {}),
        ("Expand", "n one", "n_again", {}),
        ("Concat", "n_again first minus", "target", {"axis": 0}),
        ("Identity", "target", "same", {}),
        ("Reshape", "x same", "y", {}),
    ]
    weights = {
        "parts": whole(1, 2),
        "zero": whole(0),
        "one": whole(1),
        "two": whole(2),
        "twice": whole(2, 1),
        "flat": whole(-1),
        "minus": whole(-1),
    }
    made = graph(nodes, weights, x=(None, 2, 6), y=(None, 2, 2, 3))
    assert_it_makes(made, lambda x: x.reshape(len(x), 2, 2, 3))
    assert examine(made).numbers["same"].tolist() == [Rows(1), 2, 2, -1]


def test_a_word_is_looked_up_in_a_table():
    table = np.float32([[0, 0], [1, 2], [3, 4]])
    nodes = [("Cast", "x", "words", {"to": 7}), ("Gather", "table words", "y", {})]
    made = graph(nodes, {"table": table}, x=(None, 3), y=(None, 3, 2))
    validate(made)
    assert run_reference(made, [np.float32([[2, 0, -1]])])[0].tolist() == [[[3, 4], [0, 0], [3, 4]]]


def test_numbers_that_cannot_be_computed_ahead_are_refused_with_the_node():
    made = graph([("Gather", "table far", "z", {}), ("Add", "x z", "y", {})], {"table": np.ones(3, np.float32), "far": whole(7)})
    with pytest.raises(GraphError, match=r"node 0 \(Gather -> 'z'\): its numbers cannot be computed"):
        validate(made)


def test_more_names_than_outputs_are_refused():
    made = graph([("Split", "x", "y z v", {"axis": 1, "num_outputs": 2})], {}, y=(None, 1, 3, 4))
    with pytest.raises(GraphError, match="makes 2 outputs, not 3"):
        validate(made)


def test_long_work_is_not_done_ahead_of_the_data():
    weights = {name: np.ones(4096, np.float32) for name in "abc"}
    made = graph([("Einsum", "a b c", "z", {"equation": "i,j,k->"}), ("Add", "x z", "y", {})], weights, y=(None, 2, 3, 4))
    assert "z" not in examine(made).numbers


def test_a_size_by_scale_is_computed_in_float32():
    scales = np.float32([1, 1, 1, 1.4])  # a little less than 1.4: 5 * 1.4 is 7 in float32 alone
    resized = Node("Resize", ("x", "", "scales"), ("y",))
    made = Graph(
        (resized,), (Value("x", "float32", (None, 1, 1, 5)),), (Value("y", "float32", (None, 1, 1, 7)),), {"scales": scales}
    )
    assert_it_makes(made, lambda x: x[..., [0, 1, 1, 2, 3, 3, 4]])


def test_flops_of_what_computes():
    made = graph(
        [("Einsum", "x w", "y", {"equation": "nij,jk->nik"})], {"w": np.ones((3, 5), np.float32)}, (None, 4, 3), (None, 4, 5)
    )
    assert node_flops(made) == [2 * 4 * 3 * 5]
    bigger = Node("Resize", ("x", "", "scales"), ("y",), {"mode": "linear"})
    scales = {"scales": np.float32([1, 1, 2, 2])}
    made = Graph((bigger,), (Value("x", "float32", (None, 3, 4, 4)),), (Value("y", "float32", (None, 3, 8, 8)),), scales)
    assert node_flops(made) == [2 * 4 * 3 * 8 * 8]


@pytest.mark.parametrize("counted", [False, True])
def test_steps_merged_with_the_batch_behind_them_come_apart_again(counted):
    """A linear layer over [steps, N, features], as PyTorch's attention is exported: one product over steps * N rows."""
    rng = np.random.default_rng(1)
    w, b = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    nodes = [
        ("Flatten", "x", "flat", {}),
        ("Reshape", "flat rows", "r", {}),
        ("Transpose", "r", "steps", {"perm": (1, 0, 2)}),
        ("Reshape", f"steps {'count' if counted else 'merge'}", "merged", {}),
        ("Gemm", "merged w b", "h", {}),
        ("Relu", "h", "a", {}),
        ("Reshape", "a apart", "back", {}),
        ("Transpose", "back", "front", {"perm": (1, 0, 2)}),
        ("Flatten", "front", "y", {}),
    ]
    if counted:  # the merged size computed from the shape, 6 * N
        nodes[3:3] = [
            ("Shape", "x", "shape", {}), ("Gather", "shape zero", "n", {"axis": 0}), ("Mul", "n six", "n6", {}),
            ("Unsqueeze", "n6 zero1", "n61", {}), ("Concat", "n61 four", "count", {"axis": 0}),
        ]  # fmt: skip
    weights = {
        "rows": whole(0, 6, 4), "merge": whole(-1, 4), "apart": whole(6, -1, 5), "w": w, "b": b, "zero": np.array(0), "six": np.array(6),
        "zero1": whole(0), "four": whole(4),
    }  # fmt: skip
    made = graph(nodes, weights, y=(None, 30))
    assert validate(made)["h"] == (Rows(6, outer=6), 5)
    assert_it_makes(made, lambda x: np.maximum(x.reshape(len(x), 6, 4) @ w + b, 0).reshape(len(x), -1))


def test_sizes_on_either_side_of_the_batch_do_not_meet():
    nodes = [
        ("Reshape", "x rows", "inner", {}),
        ("Transpose", "x", "t", {"perm": (1, 0, 2, 3)}),
        ("Reshape", "t rows", "outer", {}),
        ("Add", "inner outer", "sum", {}),
        ("Reshape", "sum back", "y", {}),
    ]
    with pytest.raises(GraphError, match=r"\[2N, 12\] and \[2\*N, 12\] do not broadcast"):
        validate(graph(nodes, {"rows": whole(-1, 12), "back": whole(-1, 24)}))
