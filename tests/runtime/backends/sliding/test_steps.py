"""The graphs of steps, judged on the numpy references: what a window takes from an older one is what it would compute."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph, Value, run_reference
from esp.astore.validation import validate
from esp.runtime.backends.sliding.cuts import Cut, Kept, cut
from esp.runtime.backends.sliding.layers import Layers
from esp.runtime.backends.sliding.step import Steps, derive
from esp.train.zoo import build
from tests.runtime.backends.nets import Maker
from tests.runtime.backends.sliding.series import random_series


def _tensors(graph: Graph, names: list[str], window: Any) -> dict[str, Any]:
    """Tensors of a whole window, by the references."""
    shapes = validate(graph)
    outputs = tuple(Value(name, "float32", shapes[name]) for name in names)
    return dict(zip(names, run_reference(Graph(graph.nodes, graph.inputs, outputs, graph.weights), [window])))


def _asked(steps: Steps, older: list[dict[str, Any]]) -> list[Any]:
    """What a step asks of its rings, cut by hand out of the tensors of the windows before it."""
    given = []
    for ring in steps.rings:
        kept, name = ring.kept, ring.first.removesuffix(".kept")
        spots = [*range(kept.ring[0], kept.head), *range(kept.tail, kept.ring[1])]
        given.append(older[-kept.phases][name].take([spot + kept.shift for spot in spots], axis=ring.order[1]))
    return given


def _check(graph: Graph, length: int, hop: int, windows: int = 6) -> Steps:
    """Scores windows of a series by steps, and judges each by the whole window."""
    steps = derive(Layers.of(graph, length, hop))
    names = [ring.first.removesuffix(".kept") for ring in steps.rings]
    phases = max((ring.kept.phases for ring in steps.rings), default=1)
    channels = steps.whole.inputs[0].shape[2:]
    events = np.random.default_rng(3).standard_normal((length + hop * (windows + phases), *channels)).astype(np.float32)
    older: list[dict[str, Any]] = []
    for k in range(windows + phases):
        window = events[None, k * hop : k * hop + length]
        if k >= phases:
            made = run_reference(steps.step, [window, *_asked(steps, older)])
            for ours, whole in zip(made, run_reference(steps.whole, [window])):
                np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(whole).max())))
        older.append(_tensors(steps.whole, names, window))
    return steps


@pytest.mark.parametrize("seed", range(60))
def test_a_step_of_a_random_graph_computes_what_the_whole_window_does(seed: int) -> None:
    graph, length = random_series(seed)
    _check(graph, length, 1 + seed % 5)


@pytest.mark.parametrize("name", ["conv_1d", "tcn"])
@pytest.mark.parametrize("hop", [1, 2, 3, 8])
def test_a_step_of_the_zoo_computes_what_the_whole_window_does(name: str, hop: int) -> None:
    _check(build(name, seed=1, length=64), 64, hop)


def test_random_graphs_hand_on_in_every_way() -> None:
    rings = [ring for seed in range(60) for ring in derive(Layers.of(*_series(seed))).rings]
    kept = [ring.kept for ring in rings]
    assert any(one.phases > 1 for one in kept)
    assert any(one.shift > one.size for one in kept)
    assert any(one.head < one.tail for one in kept)
    assert any(ring.left for ring in rings)
    assert any(max(ring.zeros) for ring in rings)


def _series(seed: int) -> tuple[Graph, int, int]:
    graph, length = random_series(seed)
    return graph, length, 1 + seed % 5


def _cuts(graph: Graph, length: int, hop: int) -> list[Cut]:
    layers = Layers.of(graph, length, hop)
    return [layers.cuts[id(node)] for node in layers.graph.nodes if id(node) in layers.cuts]


def test_edges_under_padding_are_computed_anew_and_strides_have_a_ring_a_phase() -> None:
    m = Maker(1, (8, 1))
    x = m.add("Conv", m.add("Transpose", "x0", perm=(0, 2, 1)), m.weight(2, 1, 3), pads=(1, 1))
    m.add("Flatten", m.add("MaxPool", x, kernel_shape=(2,), strides=(2,)))
    conv, pool = _cuts(m.graph(), 8, 1)
    # position 0 of the convolution reads a pad, and so does 7; 6 was 7 in the window before. The pool asks for 1 beside 0, and for 4 to 7
    assert conv == Cut((0, 1), (6, 8), Kept((1, 6), 2, 4, 1, 1))
    # the pool's window k has no position of window k - 1, but those of k - 2 lie one further; 0 and 3 read what was at an edge
    assert pool == Cut((0, 1), (2, 4), Kept((1, 2), 2, 2, 1, 2))


def test_only_the_last_step_of_causal_convolutions_is_computed() -> None:
    m = Maker(2, (40, 3))
    x = m.add("Transpose", "x0", perm=(0, 2, 1))
    for dilation in (1, 2, 4):
        x = m.add("Relu", m.add("Conv", x, m.weight(3, 3, 3), pads=(2 * dilation, 0), dilations=(dilation,)))
    m.add("Flatten", m.add("Slice", x, *(m.const(np.array([number])) for number in (39, 40, 2))))
    *layers, last = _cuts(m.graph(), 40, 1)
    assert last == Cut((0, 1), (0, 0))
    assert [(one.left, one.right) for one in layers] == [((0, 0), (39, 40))] * 6
    # a kernel of 3 reaches back 2, then 4, then 8 events
    assert [one.kept and one.kept.ring for one in layers] == [None, (35, 39), None, (31, 39), None, None]


def test_a_cut_by_hand() -> None:
    need = np.array([1, 1, 1, 0, 0, 0, 1, 1, 0, 1], np.bool_)
    same = np.array([0, 1, 1, 1, 1, 1, 1, 0, 0, 0], np.bool_)
    assert cut(need, same, 2, 3) == Cut((0, 1), (7, 10), Kept((1, 7), 3, 6, 2, 3))
    assert cut(need, ~same & False, 2, 3) == Cut((0, 10), (0, 0))
