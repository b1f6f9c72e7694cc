"""What must hold between a graph and the description of its inputs and outputs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output, Step, check
from esp.errors import GraphError


def classifier(dtype: str = "float32") -> Astore:
    """softmax(x) over [N, 3]."""
    value = Value("x", dtype, (None, 3))
    nodes = (Node("Softmax", ("x",), ("p",), {"axis": -1}),)
    graph = Graph(nodes, (value,), (Value("p", dtype, (None, 3)),), {})
    output = Output("p", dtype, (3,), "probabilities", ("a", "b", "c"))
    return Astore("three", graph, (Input("x", dtype, (3,)),), (output,))


def pool(**attrs: Any) -> Graph:
    nodes = (Node("MaxPool", ("x",), ("y",), attrs),)
    return Graph(nodes, (Value("x", "float32", (None, 1, 8, 8)),), (Value("y", "float32", (None, 1, 4, 4)),), {})


def test_a_sound_model_passes() -> None:
    check(classifier())


def test_a_graph_of_float64_takes_float64_events_without_steps() -> None:
    check(classifier("float64"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name: '' is no name"),
        ({"name": "x" * 201}, "is no name"),
        ({"name": "a\nb"}, "is no name"),
        ({"inputs": ()}, "0 inputs for the graph's 1"),
        ({"inputs": (Input("x", "float32", (3,)),) * 2}, "2 inputs for the graph's 1"),
        ({"outputs": ()}, "0 outputs for the graph's 1"),
        ({"inputs": (Input("", "float32", (3,)),)}, "the name '' is empty"),
        ({"inputs": (Input("x", "float32", (4,)),)}, "prepared it is .4., but the graph takes .3."),
        ({"inputs": (Input("x", "float32", (3,), (Step("reshape", {"shape": (1, 3)}),)),)}, "prepared it is .1, 3."),
        ({"inputs": (Input("x", "float32", (3,), missing="skip"),)}, "missing = 'skip'"),  # type: ignore[arg-type]
        ({"inputs": (Input("x", "float32", (3,), missing="impute", impute=(1.0, 2.0)),)}, "impute: 2 numbers for a last axis of 3"),
        ({"inputs": (Input("x", "float32", (3,), missing="impute", impute=float("nan")),)}, "impute: wanted a finite"),
        ({"outputs": (Output("p", "float32", (4,)),)}, "said to be float32.4., but the graph makes float32.3."),
        ({"outputs": (Output("p", "float64", (3,)),)}, "said to be float64"),
        ({"outputs": (Output("p", "float32", (3,), "probabilities", ("a", "b")),)}, "2 labels for 3 classes"),
        ({"outputs": (Output("p", "float32", (3,), "probabilities", ("a", "b", "a")),)}, "label 'a' is there twice"),
        ({"outputs": (Output("p", "float32", (3,), "probabilities"),)}, "0 labels for 3 classes"),
        ({"outputs": (Output("p", "float32", (3,), "tensor", ("a", "b", "c")),)}, "cannot carry labels"),
        ({"outputs": (Output("p", "float32", (3,), "boxes"),)}, "kind 'boxes'"),  # type: ignore[arg-type]
    ],
)
def test_a_description_that_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphError, match=said) as error:
        check(replace(classifier(), **change))
    assert error.value.where
    assert error.value.mend


def test_a_graph_that_is_not_sound_is_refused() -> None:
    astore = classifier()
    broken = replace(astore.graph, nodes=(Node("Softmax", ("nowhere",), ("p",)),))
    with pytest.raises(GraphError, match="nowhere"):
        check(replace(astore, graph=broken))


def test_steps_feed_float32_graphs_alone() -> None:
    astore = classifier("float64")
    item = replace(astore.inputs[0], steps=(Step("scale", {"scale": 1.0, "offset": 0.0}),))
    with pytest.raises(GraphError, match="float64 with 1 steps cannot feed a graph input of float64"):
        check(replace(astore, inputs=(item,)))


def test_an_integer_graph_input_takes_its_own_dtype_and_no_nan() -> None:
    nodes = (Node("Reshape", ("x", "to"), ("y",)),)
    graph = Graph(nodes, (Value("x", "int64", (None, 2)),), (Value("y", "int64", (None, 2, 1)),), {"to": np.array([-1, 2, 1])})
    astore = Astore("ids", graph, (Input("x", "int64", (2,)),), (Output("y", "int64", (2, 1)),))
    check(astore)
    with pytest.raises(GraphError, match="int32 with 0 steps cannot feed"):
        check(replace(astore, inputs=(Input("x", "int32", (2,)),)))
    with pytest.raises(GraphError, match="missing = 'nan' cannot be for int64"):
        check(replace(astore, inputs=(Input("x", "int64", (2,), missing="nan"),)))


def test_an_attribute_cannot_ask_for_a_machines_whole_memory() -> None:
    side = (1 << 20) + 6
    nodes = (Node("AveragePool", ("x",), ("y",), {"kernel_shape": (3, 3), "pads": (0, 0, 1 << 20, 1 << 20)}),)
    graph = Graph(nodes, (Value("x", "float32", (None, 1, 8, 8)),), (Value("y", "float32", (None, 1, side, side)),), {})
    with pytest.raises(GraphError):
        check(Astore("big", graph, (Input("x", "float32", (1, 8, 8)),), (Output("y", "float32", (1, side, side)),)))


def test_an_image_file_feeds_a_channels_first_graph() -> None:
    graph = pool(kernel_shape=(2, 2), strides=(2, 2))
    steps = (Step("decode", {"channels": 1}), Step("resize", {"height": 8, "width": 8}), Step("channels_first"))
    check(Astore("camera", graph, (Input("photo", "blob", (), steps, "impute", (0.0,)),), (Output("y", "float32", (1, 4, 4)),)))


def test_the_short_digest_is_twelve_digits() -> None:
    assert replace(classifier(), digest="0123456789abcdef" * 4).short_digest == "0123456789ab"


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        ({"mean": [0.0] * 7}, "statistics.mean: 7 numbers for a last axis of 1"),
        ({"mean": []}, "statistics.mean: 0 numbers"),
        ({"mean": "abc"}, "statistics.mean: wanted a list of numbers"),
        ({"count": 10}, "statistics.count: wanted a list of numbers"),
        ({"std": ["a"]}, "statistics.std: wanted a finite number"),
        ({"std": [None]}, "statistics.std: wanted a finite number"),
        ({"max": [float("inf")]}, "statistics.max: wanted a finite number"),
        ({"min": [True]}, "statistics.min: wanted a finite number"),
        ({"missing": [[0]]}, "statistics.missing: wanted a finite number"),
    ],
)
def test_statistics_that_fit_no_channel_are_refused(statistics: dict[str, Any], said: str) -> None:
    astore = classifier()
    with pytest.raises(GraphError, match=said) as error:
        check(replace(astore, inputs=(replace(astore.inputs[0], statistics=statistics),)))
    assert "\n" not in str(error.value)


def test_statistics_are_one_a_channel_and_those_of_a_later_day_are_passed_over() -> None:
    astore = classifier()
    check(replace(astore, inputs=(replace(astore.inputs[0], statistics={"mean": [0.5], "count": (3,), "median": "later"}),)))
    flat = (Step("reshape", {"shape": (3,)}),)
    check(replace(astore, inputs=(Input("x", "float32", (1, 3), flat, statistics={"mean": [0.5, 1, 2]}),)))
    with pytest.raises(GraphError, match="1 numbers for a last axis of 3"):
        check(replace(astore, inputs=(Input("x", "float32", (1, 3), flat, statistics={"mean": [0.5]}),)))


def test_an_image_file_has_no_statistics() -> None:
    steps = (Step("decode", {"channels": 1}), Step("resize", {"height": 8, "width": 8}), Step("channels_first"))
    item = Input("photo", "blob", (), steps, statistics={"mean": [0.5]})
    with pytest.raises(GraphError, match="an image file has no channels"):
        check(Astore("camera", pool(kernel_shape=(2, 2), strides=(2, 2)), (item,), (Output("y", "float32", (1, 4, 4)),)))
