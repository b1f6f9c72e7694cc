"""Ops on whole numbers among which sizes of the batch stand: what is known ahead of the data, and what is not."""

import numpy as np
import pytest

from esp.astore.graph import Graph, Node, Value
from esp.astore.ops.dims import Rows
from esp.astore.validation import examine, validate
from tests.astore.test_ops_by_hand_elementwise import FLOAT, INT32, INT64, run


def sizes(*numbers):
    array = np.empty(len(numbers), object)
    array[:] = numbers
    return array


def test_arithmetic_on_sizes_of_the_batch():
    left = sizes(Rows(6), 7, -7)
    assert run("Mul", left, np.int64([2, 3, 1])).tolist() == [Rows(12), 21, -7]
    assert run("Mul", left, np.int64([0, 3, 1])).tolist() == [0, 21, -7]
    assert run("Div", left, np.int64([3, 2, 2])).tolist() == [Rows(2), 3, -3]
    assert run("Div", sizes(Rows(6), 5), sizes(Rows(2), 0)).tolist() == [3, 0]
    assert run("Add", left, np.int64([0, 1, 2])).tolist() == [Rows(6), 8, -5]
    assert run("Sub", left, sizes(Rows(6), 1, 1)).tolist() == [0, 6, -8]
    assert run("ReduceProd", sizes(Rows(2), 3, 4), keepdims=0).tolist() == Rows(24)
    assert run("Neg", sizes(3, -4)).tolist() == [-3, 4]


def test_comparison_of_sizes_of_the_batch_where_no_batch_changes_it():
    left = sizes(Rows(2), Rows(2), 3, Rows(2), Rows(4))
    right = sizes(-1, Rows(2), 3, 3, Rows(2))
    assert run("Equal", left, right).tolist() == [False, True, True, False, False]
    assert run("Greater", sizes(Rows(2), 0, 5), sizes(1, Rows(2), 4)).tolist() == [True, False, True]
    assert run("LessOrEqual", sizes(2, Rows(1)), sizes(Rows(2), Rows(3))).tolist() == [True, True]
    assert run("Less", sizes(Rows(2), 1), sizes(2, Rows(2))).tolist() == [False, True]
    assert run("Max", sizes(Rows(2), 1, 7), sizes(2, Rows(1), 8)).tolist() == [Rows(2), Rows(1), 8]
    assert run("Min", sizes(Rows(2), 1), sizes(Rows(3), Rows(1))).tolist() == [Rows(2), 1]


@pytest.mark.parametrize(
    ("op", "number"), [("Equal", 4), ("Less", 5), ("Max", 5), ("Add", 1), ("Pow", 2), ("Mod", 2), ("Sub", Rows(3))]
)
def test_what_depends_on_the_batch_is_not_known_ahead(op, number):
    with pytest.raises(TypeError):
        run(op, sizes(Rows(2)), sizes(number))


def test_sizes_that_leave_int64_are_not_known_ahead():
    with pytest.raises(TypeError, match="leaves int64"):
        run("Mul", sizes(Rows(1), 2**62), np.int64([1, 2]))


def test_sizes_of_the_batch_pass_a_cast_to_whole_numbers_and_a_choice():
    left = sizes(Rows(2), -1)
    assert run("Cast", left, to=INT64).tolist() == run("Cast", left, to=INT32).tolist() == [Rows(2), -1]
    assert run("CastLike", left, np.int64([0])).tolist() == [Rows(2), -1]
    assert run("Where", np.array([True, False]), left, np.int64([5, 6])).tolist() == [Rows(2), 6]
    with pytest.raises(TypeError):
        run("Cast", left, to=FLOAT)


def test_a_shape_that_an_exporter_computes_is_followed_to_the_reshape():
    """[N, 2, 3, 4] -> [N, 24], the target computed as exporters do: cast, choice of -1, product."""
    nodes = (
        Node("Shape", ("x",), ("shape",)),
        Node("Cast", ("shape",), ("cast",), {"to": INT64}),
        Node("Equal", ("cast", "minus"), ("is_open",)),
        Node("Where", ("is_open", "ones", "cast"), ("chosen",)),
        Node("Div", ("chosen", "divisors"), ("parts",)),
        Node("Mul", ("parts", "factors"), ("target",)),
        Node("Reshape", ("x", "target"), ("y",)),
    )
    weights = {
        "minus": np.array(-1),
        "ones": np.ones(4, np.int64),
        "divisors": np.array([1, 2, 3, 1]),
        "factors": np.array([1, 6, 1, 1]),
    }
    graph = Graph(nodes, (Value("x", "float32", (None, 2, 3, 4)),), (Value("y", "float32", (None, 6, 1, 4)),), weights)
    facts = examine(graph)
    assert facts.numbers["target"].tolist() == [Rows(1), 6, 1, 4]
    assert validate(graph)["y"] == (None, 6, 1, 4)
