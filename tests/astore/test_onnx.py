"""A graph becomes an ONNX model that onnx accepts and onnxruntime runs, for any number of rows."""

import numpy as np
import onnx
import onnxruntime
import pytest

from esp.astore.graph import Graph, Node, Value, run_reference
from esp.astore.onnx import OPSET, to_onnx
from esp.errors import GraphError


def network():
    """A small image network: convolution, normalisation, pooling, two branches joined, dense, probabilities."""
    rng = np.random.default_rng(5)

    def floats(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    weights = {
        "kernel": floats(4, 1, 3, 3), "scale": floats(4), "shift": floats(4), "mean": floats(4),
        "variance": np.ones(4, np.float32), "dense": floats(3, 32), "bias": floats(3), "flat": np.array([0, -1], np.int64),
    }  # fmt: skip
    nodes = (
        Node("Conv", ("image", "kernel"), ("conv",), {"auto_pad": "SAME_UPPER", "strides": (2, 2), "dilations": (2, 2)}),
        Node("BatchNormalization", ("conv", "scale", "shift", "mean", "variance"), ("norm",), {"epsilon": 1e-3}),
        Node("LeakyRelu", ("norm",), ("bent",), {"alpha": 0}),
        Node("MaxPool", ("bent",), ("most",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("AveragePool", ("bent",), ("mean_of",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("Concat", ("most", "mean_of"), ("both",), {"axis": 1}),
        Node("Reshape", ("both", "flat"), ("row",)),
        Node("Gemm", ("row", "dense", "bias"), ("logits",), {"transB": 1}),
        Node("Softmax", ("logits",), ("probabilities",)),
    )
    outputs = (Value("probabilities", "float32", (None, 3)), Value("logits", "float32", (None, 3)))
    return Graph(nodes, (Value("image", "float32", (None, 1, 8, 8)),), outputs, weights)


def test_model_passes_the_checker_with_its_shapes():
    model = to_onnx(network())
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]


def test_batch_is_the_symbolic_axis_of_inputs_and_outputs():
    proto = to_onnx(network()).graph
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (*proto.input, *proto.output)
    ]
    assert shapes == [["N", 1, 8, 8], ["N", 3], ["N", 3]]


@pytest.mark.parametrize("rows", [1, 7])
def test_onnxruntime_gives_what_the_references_give(rows):
    graph = network()
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(rows).standard_normal((rows, 1, 8, 8)).astype(np.float32)
    for got, wanted in zip(run_reference(graph, [image]), session.run(None, {"image": image}), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_attributes_have_the_types_of_the_table_and_pads_are_explicit():
    nodes = to_onnx(network()).graph.node
    attrs = {attr.name: onnx.helper.get_attribute_value(attr) for attr in nodes[0].attribute}
    assert attrs == {"strides": [2, 2], "dilations": [2, 2], "pads": [1, 1, 2, 2]}  # (4 - 1) * 2 + 5 - 8 = 3 on each axis
    (alpha,) = nodes[2].attribute
    assert (alpha.type, alpha.f) == (onnx.AttributeProto.FLOAT, 0.0)


def test_weights_keep_dtype_shape_and_numbers():
    weights = {
        "half": np.float16([1, 2]).reshape(2, 1),
        "scalar": np.asarray(np.float32(3)),
        "strided": np.arange(6, dtype=np.float32)[::2],
    }
    nodes = (Node("Mul", ("x", "scalar"), ("a",)), Node("Mul", ("a", "strided"), ("y",)))
    graph = Graph(nodes, (Value("x", "float32", (None, 3)),), (Value("y", "float32", (None, 3)),), weights)
    found = {proto.name: onnx.numpy_helper.to_array(proto) for proto in to_onnx(graph).graph.initializer}
    assert {name: (array.dtype, array.shape, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype, array.shape, array.tolist()) for name, array in weights.items()
    }


def test_same_graph_gives_the_same_bytes():
    assert to_onnx(network()).SerializeToString(deterministic=True) == to_onnx(network()).SerializeToString(deterministic=True)


def test_graph_that_is_not_well_formed_is_refused():
    with pytest.raises(GraphError, match="no inputs"):
        to_onnx(Graph((), (), (), {}))


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_nodes_say_the_size_of_their_state_which_onnxruntime_wants(op: str, gates: int) -> None:
    rng = np.random.default_rng(2)
    weights = {
        "w": rng.normal(size=(1, gates * 5, 3)).astype(np.float32),
        "r": rng.normal(size=(1, gates * 5, 5)).astype(np.float32),
    }
    nodes = (
        Node("Transpose", ("x",), ("t",), {"perm": (1, 0, 2)}),
        Node(op, ("t", "w", "r"), ("", "h")),
        Node("Transpose", ("h",), ("y",), {"perm": (1, 0, 2)}),
    )
    graph = Graph(nodes, (Value("x", "float32", (None, 4, 3)),), (Value("y", "float32", (None, 1, 5)),), weights)
    model = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(model.run(None, {"x": x})[0], run_reference(graph, [x])[0], rtol=1e-5, atol=2e-6)
