"""Stepping against the graph of the series itself, scored over the whole history by the references."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from esp.astore.graph import Array, Graph, run_reference
from esp.astore.stepping import Stepped, step_graph
from esp.errors import GraphError
from esp.train.zoo import build
from tests.astore.stepping.stacks import CHANNELS, fed, random_stack, recurrent
from tests.runtime.backends.nets import Maker


def stepped_through(stepped: Stepped, series: Array) -> Array:
    """The first output after each event of ``series`` [n, events, channels], [n, events, ...]."""
    states, made = np.tile(stepped.initial, (len(series), 1)), []
    for at in range(series.shape[1]):
        event = series[:, at].reshape(len(series), *[size for size in stepped.graph.inputs[0].shape[1:] if isinstance(size, int)])
        out, *_, states = run_reference(stepped.graph, [event, states])
        made.append(out)
    return np.stack(made, axis=1)


@pytest.mark.parametrize("seed", range(24))
def test_a_random_stack_gives_at_every_event_what_the_whole_history_gives(seed: int) -> None:
    made, rng = random_stack(seed), np.random.default_rng(seed)
    series = rng.standard_normal((2, 9, CHANNELS)).astype(np.float32)
    stepped = step_graph(made(7))
    got = stepped_through(stepped, series)
    for events in (1, 2, 3, 7, 9):  # also where a graph is longer than the one that was stepped, and where it is of one event
        (wanted,) = run_reference(made(events), [fed(made, series[:, :events])])
        np.testing.assert_allclose(got[:, events - 1], wanted, atol=2e-6)


@pytest.mark.parametrize("network", ["gru", "lstm"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_zoos_recurrent_classifiers_have_a_step(network: str, depth: int) -> None:
    made = {"seed": 3, "units": 8, "depth": depth, "bidirectional": False}
    series = np.random.default_rng(1).standard_normal((3, 12, 6)).astype(np.float32)
    got = stepped_through(step_graph(build(network, length=50, **made)), series)
    (wanted,) = run_reference(build(network, length=12, **made), [series])
    np.testing.assert_allclose(got[:, -1], wanted, atol=2e-6)


def scores_of_every_event(length: int) -> Graph:
    m = Maker(4, (length, CHANNELS))
    y = recurrent(m, "GRU", m.add("Transpose", "x0", perm=(1, 0, 2)), CHANNELS, 5, every=True)
    return m.graph(m.add("Transpose", m.add("Sigmoid", y), perm=(1, 2, 0)))


def test_an_output_of_every_event_loses_the_axis_of_time() -> None:
    stepped = step_graph(scores_of_every_event(6))
    assert (stepped.axes, stepped.graph.outputs[0].shape) == ((2,), (None, 5))
    series = np.random.default_rng(2).standard_normal((2, 6, CHANNELS)).astype(np.float32)
    (wanted,) = run_reference(scores_of_every_event(6), [series])
    np.testing.assert_allclose(stepped_through(stepped, series), np.swapaxes(wanted, 1, 2), atol=1e-6)


def test_words_are_looked_up_one_by_one() -> None:
    def made(length: int) -> Graph:
        return build("text_gru", seed=2, length=length, vocabulary=30, units=6)

    words = np.random.default_rng(3).integers(0, 30, (2, 8))
    (wanted,) = run_reference(made(8), [words])
    np.testing.assert_allclose(stepped_through(step_graph(made(20)), words[:, :, None])[:, -1], wanted, atol=1e-6)


def test_states_that_a_model_begins_with_are_told() -> None:
    m = Maker(5, (4, CHANNELS))
    m.graph_of = recurrent(m, "LSTM", m.add("Transpose", "x0", perm=(1, 0, 2)), CHANNELS, 6, every=False, initial=1.0)
    stepped = step_graph(m.graph(m.graph_of))
    given = [m.weights[name] for node in m.nodes if node.op == "Expand" for name in node.inputs[:1]]
    np.testing.assert_array_equal(stepped.initial, np.concatenate([array.reshape(-1) for array in given]))


def of_series(finish: Callable[[Maker, str], str], **attrs: object) -> Callable[[], Graph]:
    """A GRU of every step [6, N, 4], and then what ``finish`` does to it."""

    def made() -> Graph:
        m = Maker(6, (6, CHANNELS))
        y = recurrent(m, "GRU", m.add("Transpose", "x0", perm=(1, 0, 2)), CHANNELS, 4, every=True)
        if attrs:
            at = next(at for at, node in enumerate(m.nodes) if node.op == "GRU")
            node = m.nodes[at]
            m.nodes[at] = type(node)(node.op, node.inputs, node.outputs, {**node.attrs, **attrs})  # type: ignore[dict-item]
        out = finish(m, y)
        is_steps_first = m.shape(out)[0] is not None
        return m.graph(m.add("Transpose", out, perm=(1, 0, 2)) if is_steps_first else out)

    return made


def _attention(m: Maker, y: str) -> str:
    rows = m.add("Transpose", y, perm=(1, 0, 2))
    return m.add("MatMul", m.add("Softmax", m.add("MatMul", rows, m.add("Transpose", rows, perm=(0, 2, 1)))), rows)


def _lengths() -> Graph:
    m = Maker(7, (6, CHANNELS))
    counts = m.add("Expand", m.const(np.array([6], np.int32)), m.add("Gather", m.add("Shape", "x0"), m.const(np.array([0]))))
    x = m.add("Transpose", "x0", perm=(1, 0, 2))
    m.add("RNN", x, m.weight(1, 4, CHANNELS), m.weight(1, 4, 4), "", counts, outputs=2, hidden_size=4)
    return m.graph(m.add("Squeeze", m.nodes[-1].outputs[1], m.const(np.array([0]))))


REFUSALS = {
    "another direction": (of_series(lambda m, y: m.add("Relu", y), direction="reverse"), r"GRU is reverse"),
    "both directions": (lambda: build("lstm", seed=1, units=4), r"LSTM is bidirectional"),
    "lengths": (_lengths, r"RNN takes a length of each series"),
    "a mean of all steps": (of_series(lambda m, y: m.add("ReduceMean", y, m.const(np.array([0])), keepdims=0)), r"ReduceMean goes over all"),
    "all steps side by side": (
        of_series(lambda m, y: m.add("Flatten", m.add("Transpose", y, perm=(1, 0, 2)), axis=1)), r"Flatten joins all steps",
    ),
    "the first step": (of_series(lambda m, y: m.add("Gather", y, m.const(np.array(0)), axis=0)), r"Gather takes other steps than the last"),
    "a reversed series": (
        of_series(lambda m, y: m.add("Slice", y, *(m.const(np.array([n])) for n in (-1, -7, 0, -1)))), r"Slice takes other steps",
    ),
    "positions": (of_series(lambda m, y: m.add("Add", y, m.weight(6, 1, 4))), r"Add has constants that differ from step to step"),
    "attention": (of_series(_attention), r"MatMul joins events of different steps"),
    "a convolution over time": (
        of_series(lambda m, y: m.add("Conv", m.add("Transpose", y, perm=(1, 2, 0)), m.weight(4, 4, 3), pads=(1, 1))),
        r"Conv looks at several steps at once",
    ),
    "the last step beside all": (
        of_series(lambda m, y: m.add("Add", y, m.add("Gather", y, m.const(np.array([-1])), axis=0))), r"Add joins the last event with",
    ),
    "a running sum": (of_series(lambda m, y: m.add("CumSum", y, m.const(np.array(0)))), r"CumSum is not known to keep events apart"),
    "no recurrent node": (lambda: build("mlp", seed=1), r"it has no RNN, GRU or LSTM"),
    "two inputs": (lambda: build("gru", seed=1, units=4, bidirectional=False, lengths=True), r"it has the inputs series, lengths"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_has_no_step_is_refused_by_name(name: str) -> None:
    made, message = REFUSALS[name]
    with pytest.raises(GraphError, match=message) as caught:
        step_graph(made())
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)
    if re.match("[A-Z]", message):
        assert "node of '" in caught.value.where
