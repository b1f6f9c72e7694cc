"""Ops that are functions of others, of ONNX or of the model itself, and branches whose condition is known."""

import numpy as np
import onnx
import pytest
from onnx import helper

from esp.astore.graph import run_reference
from esp.astore.onnx import read_onnx
from esp.astore.ops import OPS
from esp.errors import GraphError
from tests.astore.onnx.oracle import agree, floats, model, node

X = {"x": ["N", 3, 4]}


def function(name: str, inputs: list[str], outputs: list[str], nodes: list, attributes=(), defaults=(), opset: int = 17):
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, inputs, outputs, nodes, opsets, list(attributes), list(defaults))


def of_model(nodes: list, functions: list, **more):
    return model(nodes, X, ["y"], opset=17, opsets=[("own", 1)], functions=functions, **more)


def test_a_function_of_onnx_becomes_its_body() -> None:
    assert "SoftmaxCrossEntropyLoss" not in OPS
    attention = node("Attention", "q k v", "y")
    q, k, v = (floats(2, 3, 5, 4, seed=seed) for seed in range(3))
    graph = read_onnx(model([attention], {key: ["N", 3, 5, 4] for key in "qkv"}, ["y"], opset=23))
    assert "Attention" not in [one.op for one in graph.nodes]
    scores = np.einsum("nhid,nhjd->nhij", q, k).astype(np.float64) / 2  # the root of 4
    chances = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(run_reference(graph, [q, k, v])[0], chances @ v, rtol=1e-4, atol=1e-5)
    assert [layer.kind for layer in graph.layers] == ["Attention"]


def test_cast_like_takes_the_dtype_of_its_neighbour() -> None:
    nodes = [node("CastLike", "x like", "c"), node("Cast", "c", "y", to=onnx.TensorProto.FLOAT)]
    agree(model(nodes, X, ["y"], {"like": np.int32([1])}, opset=17), floats(2, 3, 4) * 5)


def test_a_function_of_the_model_becomes_its_body_with_its_attributes() -> None:
    slope = helper.make_node("LeakyRelu", ["a"], ["b"])
    slope.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    bent = function("Bent", ["a"], ["c"], [slope, node("Neg", "b", "c")], ["slope"])
    twice = function("Twice", ["a"], ["c"], [node("Bent", "a", "b", domain="own", slope=0.5), node("Neg", "b", "c")])
    nodes = [node("Bent", "x", "b", domain="own", slope=0.25), node("Twice", "b", "y", domain="own", name="deep")]
    graph = agree(of_model(nodes, [bent, twice]), floats(2, 3, 4))
    assert [one.op for one in graph.nodes] == ["LeakyRelu", "Neg", "LeakyRelu", "Neg", "Neg"]
    assert [(layer.name, layer.kind, len(layer.nodes)) for layer in graph.layers] == [("b", "Bent", 2), ("deep", "Twice", 3)]


def test_a_function_has_the_opset_that_it_says() -> None:
    old = function("Halves", ["a"], ["b"], [node("Softmax", "a", "b")], opset=11)
    graph = read_onnx(of_model([node("Halves", "x", "y", domain="own")], [old]))
    x = floats(2, 3, 4).astype(np.float64)
    wanted = np.exp(x) / np.exp(x).sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(run_reference(graph, [x.astype(np.float32)])[0], wanted, rtol=1e-5)


def test_defaults_of_a_functions_attributes_hold_where_nothing_is_given() -> None:
    slope = helper.make_node("LeakyRelu", ["a"], ["b"])
    slope.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    bent = function("Bent", ["a"], ["b"], [slope], (), [helper.make_attribute("slope", 0.125)])
    graph = read_onnx(of_model([node("Bent", "x", "y", domain="own")], [bent]))
    assert graph.nodes[0].attrs == {"alpha": 0.125}


def test_functions_without_an_end_are_refused() -> None:
    endless = function("F", ["a"], ["b"], [node("F", "a", "b", domain="own")])
    with pytest.raises(GraphError, match=r"own.F -> 'y'.*no end"):
        read_onnx(of_model([node("F", "x", "y", domain="own")], [endless]))


def test_functions_that_grow_without_bound_are_refused() -> None:
    laughs = [function("F0", ["a"], ["b"], [node("Relu", "a", "b")])]
    for level in range(1, 9):
        calls = [node(f"F{level - 1}", f"t{at}" if at else "a", f"t{at + 1}" if at < 9 else "b", domain="own") for at in range(10)]
        laughs.append(function(f"F{level}", ["a"], ["b"], calls))
    with pytest.raises(GraphError, match="too many nodes"):
        read_onnx(of_model([node("F8", "x", "y", domain="own")], laughs))


def test_an_error_inside_a_function_names_the_node_that_calls_it() -> None:
    broken = function("F", ["a"], ["b"], [node("Concat", "a a", "b", axis=7)])
    with pytest.raises(GraphError, match=r"node 0 'call' \(own.F -> 'y'\): inside it, Concat: axis 7"):
        read_onnx(of_model([node("F", "x", "y", domain="own", name="call")], [broken]))


def branch(op: str, weight: str):
    value = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    own = onnx.numpy_helper.from_array(np.float32([2]), "w")
    return helper.make_graph([node(op, f"x {weight}", "out")], "branch", [], [value], [own])


@pytest.mark.parametrize("taken", [True, False])
def test_an_if_whose_condition_is_known_becomes_its_branch(taken: bool) -> None:
    one = helper.make_node("If", ["c"], ["y"], then_branch=branch("Add", "w"), else_branch=branch("Mul", "outer"))
    proto = model([one], X, ["y"], {"c": np.bool_(taken), "outer": np.float32([3])}, opset=17)
    graph = agree(proto, floats(2, 3, 4))
    assert [node.op for node in graph.nodes] == ["Add" if taken else "Mul"]


def test_a_branch_inside_a_function_has_the_functions_attributes_and_tensors() -> None:
    bent = helper.make_node("LeakyRelu", ["a"], ["l"])
    bent.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    yes = helper.make_graph([bent, node("Add", "l t", "o")], "t", [], [onnx.ValueInfoProto(name="o")])
    no = helper.make_graph([node("Neg", "t", "n")], "e", [], [onnx.ValueInfoProto(name="n")])
    one = helper.make_node("If", ["c"], ["b"], then_branch=yes, else_branch=no)
    chosen = function("Chosen", ["a", "c"], ["b"], [node("Relu", "a", "t"), one], ["slope"])
    proto = of_model([node("Chosen", "x c", "y", domain="own", slope=0.25)], [chosen], weights={"c": np.bool_(True)})
    graph = agree(proto, floats(2, 3, 4))
    assert [node.op for node in graph.nodes] == ["Relu", "LeakyRelu", "Add"]


def test_an_if_on_the_rank_of_a_tensor_is_known() -> None:
    """As PyTorch exports squeeze(1): whether the axis is 1 is asked of the shape."""
    squeezed = helper.make_graph([node("Squeeze", "x axis", "s")], "t", [], [onnx.ValueInfoProto(name="s")])
    same = helper.make_graph([node("Identity", "x", "i")], "e", [], [onnx.ValueInfoProto(name="i")])
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape axis", "size", axis=0), node("Equal", "size axis", "is_one"),
        helper.make_node("If", ["is_one"], ["y"], then_branch=squeezed, else_branch=same),
    ]  # fmt: skip
    for size, rank in ((1, 2), (3, 3)):
        graph = read_onnx(model(nodes, {"x": ["N", size, 4]}, ["y"], {"axis": np.int64([1])}, opset=17))
        assert len(graph.outputs[0].shape) == rank


def test_an_if_on_data_is_refused() -> None:
    nodes = [node("ReduceSum", "x", "total", keepdims=0), node("Cast", "total", "c", to=onnx.TensorProto.BOOL)]
    one = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch("Add", "w"), else_branch=branch("Mul", "w"))
    with pytest.raises(GraphError, match=r"node 2 'choice' .If -> 'y'.: its condition depends on the data"):
        read_onnx(model([*nodes, one], {"x": [2, 3]}, ["y"], opset=17), batch=False)
