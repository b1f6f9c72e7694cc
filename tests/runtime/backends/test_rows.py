"""Several rows an event: parts of an event go through layers as rows of their own, and come back together."""

from collections.abc import Callable

import numpy as np
import pytest

from esp.astore.graph import Array, Graph, run_reference
from esp.errors import BackendError
from esp.runtime.backends import bind
from tests.runtime.backends.nets import Maker, events


def _i(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def _steps() -> Graph:
    """A dense layer over each step, as frameworks write it by a view of [batch * steps, features]."""
    m = Maker(1, (5, 4))
    rows = m.add("Reshape", "x0", m.const(_i(-1, 4)))
    rows = m.add("Relu", m.add("Gemm", rows, m.weight(4, 7, fan=4), m.weight(7)))
    rows = m.add("Softmax", m.add("Add", m.add("Tanh", rows), m.weight(7)))
    m.add("Reshape", rows, m.const(_i(-1, 5, 7)))
    return m.graph()


def _frames() -> Graph:
    """A picture network over each frame, and a recurrent one over what it finds."""
    m = Maker(2, (3, 2, 6, 6))
    x = m.add("Reshape", "x0", m.const(_i(-1, 2, 6, 6)))
    x = m.add("Relu", m.add("Conv", x, m.weight(5, 2, 3, 3, fan=18), m.weight(5), pads=(1, 1, 1, 1)))
    x = m.add("MaxPool", m.add("Conv", x, m.weight(5, 1, 3, 3, fan=9), group=5), kernel_shape=(2, 2), strides=(2, 2))
    x = m.add("Gemm", m.add("Flatten", x), m.weight(20, 6, fan=20), m.weight(6))
    steps = m.add("Transpose", m.add("Reshape", x, m.const(_i(-1, 3, 6))), perm=(1, 0, 2))
    m.add("LSTM", steps, m.weight(1, 16, 6, fan=6), m.weight(1, 16, 4, fan=4), outputs=3)
    m.add("Transpose", m.nodes[-1].outputs[1], perm=(1, 0, 2))
    return m.graph()


def _turned() -> Graph:
    """Numbers that lie otherwise than they are written are brought in order first."""
    m = Maker(3, (4, 3, 2))
    x = m.add("Conv", "x0", m.weight(6, 4, 1, 1), m.weight(6))
    x = m.add("Gemm", m.add("Flatten", x, axis=2), m.weight(6, 5, fan=6))
    m.add("Transpose", m.add("Reshape", x, m.const(_i(-1, 6, 5))), perm=(0, 2, 1))
    return m.graph()


def _regrouped() -> Graph:
    """Six rows an event, then three, then one; and an output that the rows themselves are."""
    m = Maker(4, (6, 4))
    six = m.add("Sigmoid", m.add("Reshape", "x0", m.const(_i(-1, 4))))
    three = m.add("MatMul", m.add("Reshape", six, m.const(_i(-1, 8))), m.weight(8, 3, fan=8))
    third = m.add("Mul", three, m.add("ReduceMax", three, m.const(_i(1))))
    one = m.add("Reshape", third, m.const(_i(-1, 9)))
    back = m.add("Reshape", six, m.const(_i(-1, 24)))
    return m.graph(one, back, m.add("Reshape", m.add("Reshape", "x0", m.const(_i(-1, 2))), m.const(_i(-1, 24))))


def _pairs() -> Graph:
    """Products between two tensors, sequences over rows, and parts of rows."""
    m = Maker(5, (2, 3, 4))
    x = m.add("Reshape", "x0", m.const(_i(-1, 3, 4)))
    pairs = m.add("MatMul", x, m.add("Transpose", x, perm=(0, 2, 1)))
    steps = m.add("Transpose", m.add("Concat", x, pairs, axis=2), perm=(1, 0, 2))
    m.add("GRU", steps, m.weight(1, 15, 7, fan=7), m.weight(1, 15, 5, fan=5), m.weight(1, 30), outputs=2)
    last = m.add("Reshape", m.nodes[-1].outputs[1], m.const(_i(-1, 5)))
    part = m.add("Slice", last, m.const(_i(1)), m.const(_i(5)), m.const(_i(1)))
    m.add("Reshape", m.add("LayerNormalization", part, m.weight(4), m.weight(4)), m.const(_i(-1, 2, 4)))
    return m.graph()


GRAPHS: dict[str, Callable[[], Graph]] = {
    "steps": _steps, "frames": _frames, "turned": _turned, "regrouped": _regrouped, "pairs": _pairs
}  # fmt: skip
each = pytest.mark.parametrize("name", GRAPHS)


@each
@pytest.mark.parametrize("n", [1, 2, 19])
def test_rows_of_a_part_of_an_event_give_what_onnxruntime_and_the_reference_give(name: str, n: int) -> None:
    graph = GRAPHS[name]()
    x = events(graph, n)
    found = bind("numba", graph, 8).run(x)
    for wanted in (run_reference(graph, x), bind("onnxruntime", graph, 8).run(x)):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


@each
def test_an_events_scores_are_the_same_bits_in_every_batch_and_arena(name: str) -> None:
    graph = GRAPHS[name]()
    x = events(graph, 13)
    whole = bind("numba", graph, 64).run(x)
    for max_batch in (1, 3, 13):
        bound = bind("numba", graph, max_batch)
        for n in (1, 2, 5, 12, 13):
            for at in (0, 13 - n):
                part = bound.run([np.ascontiguousarray(array[at : at + n]) for array in x])
                assert all(np.array_equal(one, all_[at : at + n]) for one, all_ in zip(part, whole))


@each
def test_a_missing_number_stays_within_its_event(name: str) -> None:
    graph = GRAPHS[name]()
    x = events(graph, 7)
    clean = bind("numba", graph, 8).run(x)
    x[0][3].reshape(-1)[5] = np.nan
    found = bind("numba", graph, 8).run(x)
    for one, other, wanted in zip(found, clean, run_reference(graph, x)):
        assert np.array_equal(np.delete(one, 3, 0), np.delete(other, 3, 0))
        np.testing.assert_array_equal(np.isnan(one), np.isnan(wanted))


def test_rows_merged_behind_other_axes_are_refused_by_name() -> None:
    m = Maker(6, (5, 4))
    x = m.add("Reshape", m.add("Transpose", "x0", perm=(1, 0, 2)), m.const(_i(-1, 4)))
    x = m.add("Reshape", m.add("Relu", x), m.const(_i(5, -1, 4)))
    m.add("Transpose", x, perm=(1, 0, 2))
    with pytest.raises(BackendError, match=r"cannot take a tensor of shape \[5\*N, 4\]"):
        bind("numba", m.graph(), 8)
