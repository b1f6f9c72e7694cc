"""Recurrent nodes of every kind on the numba backend: functions of the gates, bounds, peepholes, lengths, states, directions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph, Node, Value, run_reference
from esp.errors import BackendError
from esp.runtime.backends import numba
from tests.runtime.backends.nets import Maker

GATES, BENDS = {"RNN": 1, "GRU": 3, "LSTM": 4}, {"RNN": 1, "GRU": 2, "LSTM": 3}
STEPS, INPUTS = 11, 3
KINDS = (
    "Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "LeakyRelu", "ThresholdedRelu", "Elu", "HardSigmoid", "Affine", "ScaledTanh",
)  # fmt: skip
each_op = pytest.mark.parametrize("op", GATES)
each_direction = pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])


def node(op: str, units: int = 5, given: Sequence[str] = (), steps: int = STEPS, seed: int = 3, **attrs: Any) -> Graph:
    """One node between Transposes; ``given`` names what else it takes of bias, lengths, states and peepholes."""
    ways = 2 if attrs.get("direction") == "bidirectional" else 1
    outputs = 3 if op == "LSTM" else 2
    fed = [(ways, units)] * (outputs - 1) if "states" in given else []
    m = Maker(seed, (steps, INPUTS), *fed)
    m.inputs += (Value("lengths", "int32", (None,)),) if "lengths" in given else ()
    inputs = [m.add("Transpose", "x0", perm=(1, 0, 2))]
    inputs += [m.weight(ways, GATES[op] * units, INPUTS, fan=INPUTS), m.weight(ways, GATES[op] * units, units, fan=units)]
    inputs += [m.weight(ways, 2 * GATES[op] * units) if "bias" in given else "", "lengths" if "lengths" in given else ""]
    starts = [m.add("Transpose", f"x{1 + at}", perm=(1, 0, 2)) for at in range(len(fed))]
    inputs += starts or [""] * (outputs - 1)
    inputs += [m.weight(ways, 3 * units)] if "peepholes" in given else []
    m.add(op, *inputs, outputs=outputs, hidden_size=units, **attrs)
    every, *ends = m.nodes[-1].outputs
    return m.graph(m.add("Transpose", every, perm=(2, 0, 1, 3)), *(m.add("Transpose", end, perm=(1, 0, 2)) for end in ends))


def drawn(graph: Graph, rows: int) -> list[Any]:
    """Rows for a graph; lengths from none to as many as there are steps."""
    rng, feeds = np.random.default_rng(7), []
    for value in graph.inputs:
        size = (rows, *(dim for dim in value.shape[1:] if dim is not None))
        whole = rng.integers(0, STEPS + 1, rows).astype(np.int32)
        feeds.append(whole if value.dtype == "int32" else rng.standard_normal(size).astype(np.float32))  # type: ignore[arg-type]
    return feeds


def judge(graph: Graph, rows: int = 9) -> None:
    """The reference's numbers, and the same bits for a row alone as among the others."""
    feeds, bound = drawn(graph, rows), numba.bind(graph, 16)
    found = bound.run(feeds)
    for got, wanted in zip(found, run_reference(graph, feeds), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6 * max(1, np.abs(wanted).max()))
    for row in range(rows):
        alone = bound.run([np.ascontiguousarray(feed[row : row + 1]) for feed in feeds])
        for one, all_ in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one[0], all_[row])


@each_op
@pytest.mark.parametrize("units", [1, 7, 16, 17, 33])
def test_units_of_every_number_are_computed(op: str, units: int) -> None:
    judge(node(op, units, ("bias",)))


@each_op
@pytest.mark.parametrize("steps", [1, 7, 8, 9, 25])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_steps_of_every_number_are_walked(op: str, steps: int, direction: str) -> None:
    judge(node(op, given=("bias", "states"), steps=steps, direction=direction))


@each_op
@each_direction
def test_all_that_a_node_may_be_given_is_heeded(op: str, direction: str) -> None:
    given = ("bias", "lengths", "states", *(["peepholes"] if op == "LSTM" else []))
    judge(node(op, given=given, direction=direction))
    judge(node(op, given=given, direction=direction, clip=0.4))


@each_direction
@pytest.mark.parametrize("given", [(), ("lengths",)])
def test_reset_after_the_product_is_the_other_gru(direction: str, given: Sequence[str]) -> None:
    judge(node("GRU", given=("bias", *given), direction=direction, linear_before_reset=1))
    judge(node("GRU", given=("bias", *given), direction=direction, linear_before_reset=1, clip=0.3))


@pytest.mark.parametrize("given", [(), ("peepholes",)])
def test_input_and_forget_gate_may_be_one(given: Sequence[str]) -> None:
    judge(node("LSTM", given=("bias", *given), input_forget=1))


@each_op
@pytest.mark.parametrize("kind", KINDS)
def test_gates_may_have_any_function(op: str, kind: str) -> None:
    judge(node(op, given=("bias",), steps=2, activations=(kind,) * BENDS[op]))  # few steps: without a bound states may grow


def test_parameters_go_to_the_functions_that_take_them_in_order() -> None:
    kinds = ("HardSigmoid", "Tanh", "ScaledTanh", "LeakyRelu", "Affine", "Elu")
    alphas, betas = (0.3, 0.8, 0.1, 0.5, 0.7), (0.4, 0.9, 0.2)
    attrs = {"activations": kinds, "activation_alpha": alphas, "activation_beta": betas}
    judge(node("LSTM", given=("bias",), steps=2, direction="bidirectional", **attrs))


@each_op
def test_what_is_missing_in_a_row_stays_in_that_row(op: str) -> None:
    graph = node(op, given=("bias",))
    (x,) = drawn(graph, 6)
    bound = numba.bind(graph, 8)
    before = bound.run([x])
    x[2, 4, 1], x[4, 3, 0] = np.nan, np.inf
    after = bound.run([x])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[[0, 1, 3, 5]], other[[0, 1, 3, 5]])
    assert np.isnan(after[0][2]).any()
    assert not np.isnan(after[0][2, :4]).any()


def test_a_graph_whose_lengths_are_computed_is_refused() -> None:
    graph = node("RNN", given=("lengths",))
    square = Node("Mul", ("lengths", "lengths"), ("squares",))
    changed = [replace(one, inputs=tuple("squares" if name == "lengths" else name for name in one.inputs)) for one in graph.nodes]
    with pytest.raises(BackendError, match="cannot take"):
        numba.bind(replace(graph, nodes=(square, *changed)), 8)
