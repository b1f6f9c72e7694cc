"""A graph made node by node: shapes known at once, layers told, outputs named."""

import numpy as np
import pytest

from esp.astore.build import GraphBuilder
from esp.astore.graph import Layer, run_reference
from esp.astore.validation import validate
from esp.errors import GraphError


def test_graph_knows_its_layers_and_calls_its_outputs_as_asked() -> None:
    build = GraphBuilder()
    x = build.input("x", (None, 3))
    for _ in range(2):
        with build.layer("dense", "Dense"):
            x = build.add("Gemm", x, build.weight("kernel", 2 * np.eye(3, dtype=np.float32)))
    assert build.shapes[x] == (None, 3)
    graph = build.graph({"y": x})
    validate(graph)
    assert graph.layers == (Layer("dense", "Dense", (0, 1)),)
    assert list(graph.weights) == ["dense/kernel"]
    assert [value.name for value in graph.outputs] == ["y"]
    np.testing.assert_array_equal(run_reference(graph, [np.ones((2, 3), np.float32)])[0], np.full((2, 3), 4))


def test_weights_of_one_name_and_other_numbers_are_kept_apart() -> None:
    build = GraphBuilder()
    names = [build.weight("w", np.full(2, value, np.float32)) for value in (1, 2, 1, 2)]
    assert names == ["w", "w_2", "w", "w_2"]
    assert build.weight("zero", np.array([0.0])) != build.weight("zero", np.array([-0.0]))
    assert build.new_weight("w", np.ones(2, np.float32)) == "w_3"


def test_input_that_is_an_output_too_and_a_tensor_asked_for_twice_are_copied() -> None:
    build = GraphBuilder()
    x = build.input("x", (None, 3))
    y = build.add("Relu", x)
    graph = build.graph({"a": x, "b": y, "c": y})
    validate(graph)
    given = np.array([[-1, 0, 1]], np.float32)
    for found, wanted in zip(run_reference(graph, [given]), (given, np.maximum(given, 0), np.maximum(given, 0))):
        np.testing.assert_array_equal(found, wanted)


def test_node_that_does_not_fit_is_refused_with_its_layer() -> None:
    build = GraphBuilder()
    x = build.input("x", (None, 3))
    with pytest.raises(GraphError, match=r"layer dense: Gemm: .*sums over 3 and 4"), build.layer("dense", "Dense"):
        build.add("Gemm", x, build.weight("kernel", np.zeros((4, 2), np.float32)))


def test_output_cannot_take_the_name_of_another_tensor() -> None:
    build = GraphBuilder()
    x = build.input("x", (None, 3))
    with pytest.raises(GraphError, match="cannot be called 'x'"):
        build.graph({"x": build.add("Relu", x)})


def test_two_inputs_of_one_name_are_refused() -> None:
    build = GraphBuilder()
    for _ in range(2):
        x = build.input("x", (None, 3))
    with pytest.raises(GraphError, match="input 'x': the name is empty or taken twice"):
        build.graph({"y": build.add("Relu", x)})
