"""What makes a graph well formed, and what is said of one that is not."""

import dataclasses

import numpy as np
import pytest

from esp.astore.graph import Graph, Layer, Node, Value, complete_attrs, run_reference, sorted_nodes
from esp.astore.ops.dims import Rows
from esp.astore.validation import flops, node_flops, validate
from esp.errors import GraphError

W = np.arange(6, dtype=np.float32).reshape(3, 2)
NODES = (Node("MatMul", ("x", "w"), ("product",)), Node("Add", ("product", "b"), ("sum",)), Node("Relu", ("sum",), ("y",)))
GOOD = Graph(
    NODES,
    (Value("x", "float32", (None, 3)),),
    (Value("y", "float32", (None, 2)),),
    {"w": W, "b": np.float32([-4, 1])},
    (Layer("dense", "Dense", (0, 1, 2)),),
)


def but(**changes):
    return dataclasses.replace(GOOD, **changes)


def with_node(index, **changes):
    nodes = list(NODES)
    nodes[index] = dataclasses.replace(nodes[index], **changes)
    return but(nodes=tuple(nodes))


def message(graph):
    with pytest.raises(GraphError) as caught:
        validate(graph)
    assert caught.value.mend
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shapes_of_all_tensors_are_given():
    wanted = {"x": (None, 3), "w": (3, 2), "b": (2,), "product": (None, 2), "sum": (None, 2), "y": (None, 2)}
    assert validate(GOOD) == wanted


def test_graph_runs_by_the_references():
    (got,) = run_reference(GOOD, [np.float32([[1, 0, 0], [0, 0, 1]])])
    assert got.tolist() == [[0, 2], [0, 6]]  # relu([0 1] + [-4 1]); relu([4 5] + [-4 1])


def test_running_needs_every_input():
    with pytest.raises(ValueError, match="shorter"):
        run_reference(GOOD, [])


def test_flops_add_up_over_the_nodes():
    assert node_flops(GOOD) == [2 * 3 * 2, 2, 2]
    assert flops(GOOD) == 16


def test_skipped_outputs_and_optional_inputs_may_be_left_out():
    weights = {"w": np.zeros((1, 2, 3), np.float32), "r": np.zeros((1, 2, 2), np.float32)}
    nodes = (
        Node("Transpose", ("x",), ("steps",), {"perm": (1, 0, 2)}),
        Node("RNN", ("steps", "w", "r", "", "", "h0"), ("", "last"), {"activations": ("Affine",)}),
        Node("Transpose", ("last",), ("y",), {"perm": (1, 0, 2)}),
    )
    start = Node("Reshape", ("s", "to"), ("front",)), Node("Transpose", ("front",), ("h0",), {"perm": (1, 0, 2)})
    weights["to"] = np.array([0, 1, 2], np.int64)
    inputs = (Value("x", "float32", (None, 4, 3)), Value("s", "float32", (None, 2)))
    graph = Graph((*start, *nodes), inputs, (Value("y", "float32", (None, 1, 2)),), weights)
    assert validate(graph)["last"] == (1, None, 2)
    assert flops(graph) == 4 * (2 * (2 * (3 + 2) + 2) + 2)
    state = np.float32([[1, 2]])
    assert not run_reference(graph, [np.ones((1, 4, 3), np.float32), state])[0].any()


def test_complete_attributes_have_the_defaults_of_onnx():
    attrs = complete_attrs(Node("Gemm", ("a", "b"), ("c",), {"transB": 1}))
    assert attrs == {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}


def test_unknown_op_is_refused():
    said = message(with_node(2, op="Rleu"))
    assert said.startswith("node 2 (Rleu -> 'y'): unknown op 'Rleu'")
    assert "LeakyRelu" in said


def test_wrong_number_of_inputs_or_outputs_is_refused():
    assert "node 1 (Add -> 'sum'): wants 2 inputs, got 1" in message(with_node(1, inputs=("product",)))
    assert "wants 1 outputs, got 2" in message(with_node(2, outputs=("y", "z")))
    assert "left out" in message(with_node(1, inputs=("product", "")))
    assert "left out" in message(with_node(2, outputs=("",)))


def test_unknown_attribute_is_refused():
    assert "unknown attribute 'alhpa'; LeakyRelu has: alpha" in message(with_node(2, op="LeakyRelu", attrs={"alhpa": 0.1}))


@pytest.mark.parametrize("value", ["0.1", (0.1,), True])
def test_attribute_of_the_wrong_type_is_refused(value):
    assert "attribute 'alpha' wants float" in message(with_node(2, op="LeakyRelu", attrs={"alpha": value}))


def test_whole_number_passes_for_a_float_attribute():
    validate(with_node(2, op="LeakyRelu", attrs={"alpha": 0}))


def test_missing_attribute_is_refused():
    assert "attribute 'axis' is missing" in message(with_node(1, op="Concat"))


def test_attribute_outside_its_choices_is_refused():
    said = message(but(nodes=(Node("Gemm", ("x", "w"), ("y",), {"transA": 2}),), layers=()))
    assert "'transA' is 2, which is not supported; use one of: 0, 1" in said


def test_missing_tensor_is_refused():
    assert "node 1 (Add -> 'sum'): input 'bias' is no tensor of the graph" in message(with_node(1, inputs=("product", "bias")))


def test_cycle_is_called_one():
    said = message(with_node(1, inputs=("product", "y")))
    assert said.startswith("node 1 (Add -> 'sum')")
    assert "cycle" in said
    assert "Relu 'y'" in said


def test_node_that_feeds_itself_is_a_cycle():
    assert "cycle" in message(with_node(1, inputs=("product", "sum")))


def test_wrong_order_is_refused_and_can_be_mended():
    shuffled = (NODES[2], NODES[0], NODES[1])
    assert "input 'sum' is made later, by node 2" in message(but(nodes=shuffled))
    assert sorted_nodes(shuffled) == (1, 2, 0)
    assert sorted_nodes(NODES) == (0, 1, 2)


def test_duplicate_names_are_refused():
    assert "output 'product' is made already" in message(with_node(1, outputs=("product",)))
    assert "output 'w' is made already" in message(with_node(0, outputs=("w",)))
    assert "weight 'x'" in message(but(weights={**GOOD.weights, "x": W}))
    assert "input 'x'" in message(but(inputs=GOOD.inputs * 2))
    assert "named twice" in message(but(outputs=GOOD.outputs * 2))


def test_shapes_that_do_not_fit_name_the_node():
    said = message(but(weights={**GOOD.weights, "w": W.T}))
    assert said.startswith("node 0 (MatMul -> 'product'): [N, 3] times [2, 3] sums over 3 and 2; ")


def test_lost_batch_is_refused():
    one = but(weights={**GOOD.weights, "to": np.array([6], np.int64)})
    said = message(dataclasses.replace(one, nodes=(*NODES[:2], Node("Reshape", ("sum", "to"), ("y",)))))
    assert "the batch of [N, 2] is lost in shape [6]" in said


def test_batch_may_be_the_slow_part_of_an_axis():
    shapes = {"rows": np.array([-1, 2], np.int64), "back": np.array([-1, 3, 2], np.int64)}
    nodes = (Node("Reshape", ("x", "rows"), ("r",)), Node("Relu", ("r",), ("a",)), Node("Reshape", ("a", "back"), ("y",)))
    graph = Graph(nodes, (Value("x", "float32", (None, 3, 2)),), (Value("y", "float32", (None, 3, 2)),), shapes)
    assert validate(graph)["a"] == (Rows(3), 2)
    assert flops(graph) == 6


def test_batch_may_not_meet_itself_on_two_axes():
    nodes = (Node("Transpose", ("x",), ("t",)), Node("MatMul", ("x", "t"), ("y",)))
    assert "does not have the batch axis once" in message(but(nodes=nodes, layers=()))


def test_output_without_the_batch_in_front_is_refused():
    nodes = (Node("Transpose", ("x",), ("y",)),)
    assert "does not begin with the batch" in message(but(nodes=nodes, outputs=(Value("y", "float32", (3, None)),), layers=()))
    constant = (Node("Relu", ("w",), ("y",)),)
    assert "does not begin with the batch" in message(but(nodes=constant, outputs=(Value("y", "float32", (3, 2)),), layers=()))


def test_declared_output_must_be_what_the_graph_makes():
    wrong_shape, wrong_dtype = Value("y", "float32", (None, 3)), Value("y", "float64", (None, 2))
    assert "output 'y': declared float32[N, 3], the graph makes float32[N, 2]" in message(but(outputs=(wrong_shape,)))
    assert "declared float64[N, 2], the graph makes float32[N, 2]" in message(but(outputs=(wrong_dtype,)))
    assert "output 'z': no node makes it" in message(but(outputs=(Value("z", "float32", (None, 2)),)))


def test_graph_needs_inputs_and_outputs():
    assert "no inputs or no outputs" in message(but(outputs=()))
    assert "no inputs or no outputs" in message(Graph((), (), (), {}))


@pytest.mark.parametrize("shape", [(3,), (), (None, None), (None, 0), (3, None)])
def test_input_needs_the_batch_first_and_fixed_sizes(shape):
    assert "input 'x'" in message(but(inputs=(Value("x", "float32", shape),)))


def test_unknown_dtypes_are_refused():
    assert "input 'x': unknown dtype 'float'" in message(but(inputs=(Value("x", "float", (None, 3)),)))
    assert "weight 'w': unknown dtype 'complex64'" in message(but(weights={**GOOD.weights, "w": W.astype(np.complex64)}))
    assert "weight 'w'" in message(but(weights={**GOOD.weights, "w": np.array([["a"]])}))


def test_mixed_or_unfit_dtypes_are_refused():
    assert "input 1 wants float32, got float64" in message(but(weights={**GOOD.weights, "w": W.astype(np.float64)}))
    assert "input 0 wants float16 or float32 or float64, got int64" in message(
        Graph((Node("Tanh", ("x",), ("y",)),), (Value("x", "int64", (None,)),), (Value("y", "int64", (None,)),), {})
    )


def test_shape_of_a_reshape_must_be_a_constant():
    inputs = (*GOOD.inputs, Value("to", "int64", (None,)))
    said = message(but(nodes=(Node("Reshape", ("x", "to"), ("y",)),), inputs=inputs, layers=()))
    assert "not a constant" in said


def test_dropout_that_trains_is_refused():
    weights = {"ratio": np.float32(0.5), "on": np.bool_(True)}
    weights = {name: np.asarray(value) for name, value in weights.items()}
    graph = but(nodes=(Node("Dropout", ("x", "ratio", "on"), ("y",)),), weights=weights, layers=())
    assert "training_mode is not the constant false" in message(graph)


def test_layers_name_nodes_of_their_own():
    assert "layer 'a': nodes [3]" in message(but(layers=(Layer("a", "Dense", (3,)),)))
    assert "layer 'b': nodes [0]" in message(but(layers=(Layer("a", "Dense", (0,)), Layer("b", "Dense", (0,)))))
    assert "layer 'a': the name is taken twice" in message(but(layers=(Layer("a", "Dense", (0,)), Layer("a", "Dense", (1,)))))
