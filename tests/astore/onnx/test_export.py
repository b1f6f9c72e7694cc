"""A graph becomes an ONNX model that onnx accepts and onnxruntime runs, for any number of rows."""

import numpy as np
import onnx
import onnxruntime
import pytest

from esp.astore.graph import Graph, Layer, Node, Tensor, Value, run_reference
from esp.astore.onnx import OPSET, read_onnx, to_onnx
from esp.astore.onnx.opsets import LATEST
from esp.astore.ops import OPS
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


def one(op: str, attrs: dict[str, object], *after: Node, weights: dict[str, np.ndarray] | None = None) -> Graph:
    """A node over rows of four numbers, and nodes after it that make "y"."""
    inputs = ("x", *(weights or {}))
    nodes = (Node(op, inputs, ("y",) if not after else ("t",), attrs), *after)
    return Graph(nodes, (Value("x", "float32", (None, 4)),), (Value("y", "float32", (None, 4)),), weights or {})


@pytest.mark.parametrize("op", [op for op, row in OPS.items() if not row.domain and onnx.defs.has(op, OPSET)])
def test_op_means_the_same_in_every_opset_that_can_be_written(op: str) -> None:
    """No later set takes an attribute or an input away, changes a default, or has a new one that must be given."""
    old, new = (onnx.defs.get_schema(op, opset) for opset in (OPSET, LATEST))
    assert not new.deprecated
    for name, attr in old.attributes.items():
        assert str(new.attributes[name].default_value) == str(attr.default_value)
    assert not any(attr.required for name, attr in new.attributes.items() if name not in old.attributes)
    assert [(slot.name, slot.option) for slot in new.inputs] == [(slot.name, slot.option) for slot in old.inputs]
    assert [slot.name for slot in new.outputs] == [slot.name for slot in old.outputs]


@pytest.mark.parametrize("opset", range(OPSET, LATEST + 1))
def test_every_opset_that_can_be_written_runs_in_onnxruntime(opset: int) -> None:
    model = to_onnx(network(), opset=opset)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset
    image = np.random.default_rng(opset).standard_normal((2, 1, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for got, wanted in zip(run_reference(network(), [image]), session.run(None, {"image": image}), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [OPSET - 1, LATEST + 1])
def test_opset_that_is_not_known_is_refused(opset: int) -> None:
    with pytest.raises(GraphError, match=f"opset {opset} cannot be written; use one of 21 to 26"):
        to_onnx(network(), opset=opset)


@pytest.mark.parametrize(("op", "version"), [("Relu", 21), ("RMSNormalization", 23), ("Swish", 24)])
def test_opset_is_the_first_that_has_every_op(op: str, version: int) -> None:
    weights = {"scale": np.ones(4, np.float32)} if op == "RMSNormalization" else None
    assert to_onnx(one(op, {}, weights=weights)).opset_import[0].version == version


def forest(op: str) -> Graph:
    """A tree of one split: 10 where the first number is at most 0.5, else 20."""
    if op == "TreeEnsembleRegressor":
        attrs: dict[str, object] = {
            "nodes_treeids": (0, 0, 0), "nodes_nodeids": (0, 1, 2), "nodes_featureids": (0, 0, 0), "nodes_values": (0.5, 0.0, 0.0),
            "nodes_modes": ("BRANCH_LEQ", "LEAF", "LEAF"), "nodes_truenodeids": (1, 0, 0), "nodes_falsenodeids": (2, 0, 0),
            "target_treeids": (0, 0), "target_nodeids": (1, 2), "target_ids": (0, 0), "target_weights": (10.0, 20.0), "n_targets": 1,
        }  # fmt: skip
    else:
        attrs = {
            "tree_roots": (0,), "n_targets": 1, "nodes_featureids": (0,), "nodes_splits": Tensor.of(np.float32([0.5])),
            "nodes_modes": Tensor.of(np.uint8([0])), "nodes_truenodeids": (0,), "nodes_trueleafs": (1,), "nodes_falsenodeids": (1,),
            "nodes_falseleafs": (1,), "leaf_targetids": (0, 0), "leaf_weights": Tensor.of(np.float32([10, 20])),
        }  # fmt: skip
    return Graph((Node(op, ("x",), ("y",), attrs),), (Value("x", "float32", (None, 4)),), (Value("y", "float32", (None, 1)),), {})


@pytest.mark.parametrize(("op", "version"), [("TreeEnsembleRegressor", 4), ("TreeEnsemble", 5)])
def test_trees_are_written_in_the_set_of_learners_that_has_them(op: str, version: int) -> None:
    model = to_onnx(forest(op))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET), ("ai.onnx.ml", version)]
    x = np.float32([[0, 9, 9, 9], [1, 9, 9, 9]])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0].tolist() == run_reference(read_onnx(model), [x])[0].tolist() == [[10], [20]]


def test_trees_of_two_sets_are_refused() -> None:
    old, new = forest("TreeEnsembleRegressor"), forest("TreeEnsemble")
    graph = Graph((old.nodes[0], Node("TreeEnsemble", ("x",), ("z",), new.nodes[0].attrs)), old.inputs, old.outputs, {})
    with pytest.raises(GraphError, match=r"no opset of ai\.onnx\.ml has both TreeEnsemble and TreeEnsembleRegressor"):
        to_onnx(graph)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("more", [{}, {"output_padding": (0, 1)}, {"output_shape": (8, 9)}])
def test_transposed_convolution_has_the_pads_that_its_reference_takes(auto_pad: str, more: dict[str, object]) -> None:
    """Strides 3 and 2 make 18 and 14 of 6 and 7 where SAME asks for it; channels that fit both ways hide no mistake."""
    rng = np.random.default_rng(4)
    kernel = rng.standard_normal((3, 3, 4, 3)).astype(np.float32)
    node = Node("ConvTranspose", ("x", "kernel"), ("y",), {"auto_pad": auto_pad, "strides": (3, 2), **more})
    size = (8, 9) if "output_shape" in more else (18, 14) if auto_pad != "VALID" else (19, 15 + ("output_padding" in more))
    graph = Graph(
        (node,), (Value("x", "float32", (None, 3, 6, 7)),), (Value("y", "float32", (None, 3, *size)),), {"kernel": kernel}
    )
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    x = rng.standard_normal((2, 3, 6, 7)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(run_reference(graph, [x])[0], session.run(None, {"x": x})[0], rtol=1e-5, atol=1e-5)


def test_nodes_have_the_names_of_their_layers() -> None:
    graph = one("Relu", {}, Node("Relu", ("t",), ("y",)))
    layered = Graph(graph.nodes, graph.inputs, graph.outputs, {}, (Layer("first", "Activation", (0,)),))
    assert [node.name for node in to_onnx(layered).graph.node] == ["first/0_Relu", "1_Relu"]


def test_constants_are_no_weights_when_a_graph_is_read_again() -> None:
    value = np.float32([1, 2, 3, 4])
    nodes = (
        Node("Constant", (), ("c",), {"value": Tensor.of(value)}),
        Node("Mul", ("x", "c"), ("t",)),
        Node("Add", ("t", "w"), ("y",)),
    )
    values = [Value(name, "float32", (None, 4)) for name in ("x", "y")]
    again = read_onnx(to_onnx(Graph(nodes, (values[0],), (values[1],), {"w": value})))
    assert [*again.weights] == ["w"]
    assert [node.op for node in again.nodes] == ["Constant", "Mul", "Add"]
    assert run_reference(again, [value[None]])[0].tolist() == [[2, 6, 12, 20]]
