"""Sliding windows against whole ones on the numba backend: the same bits, whatever comes in whatever order."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph
from esp.errors import BackendError
from esp.kernels.compile import compilations
from esp.runtime.backends import numba, onnxruntime
from esp.runtime.backends.sliding import Sliding, slide
from esp.runtime.backends.sliding.layers import Layers
from esp.runtime.backends.sliding.step import Steps, derive
from esp.train.zoo import build
from tests.runtime.backends.nets import Maker
from tests.runtime.backends.sliding.series import random_series
from tests.runtime.backends.sliding.streams import Streams


def _steps(seed: int) -> tuple[Steps, int, int]:
    """The steps of a random graph with its windows' length and hop, whether they pay or not."""
    (graph, length), hop = random_series(seed), 1 + seed % 5
    return derive(Layers.of(graph, length, hop)), length, hop


def _same_bits(steps: Steps, streams: Streams, graph: Graph | None = None, **more: Any) -> Sliding:
    """Holds a stream against whole windows of ``graph``, or of the one that the steps are made from."""
    sliding, whole = Sliding(steps, streams.hop, 16, **more), numba.bind(graph or steps.whole, 16)
    for windows, rows, counts in streams:
        for ours, theirs in zip(sliding.score(windows, rows, counts), whole.run([windows]), strict=True):
            assert ours.tobytes() == theirs.tobytes()
    return sliding


def _streams(steps: Steps, length: int, hop: int, **more: Any) -> Streams:
    return Streams(length, hop, tuple(size or 0 for size in steps.whole.inputs[0].shape[2:]), **more)


@pytest.mark.parametrize("seed", [seed for seed in range(60) if _steps(seed)[0].rings])
def test_random_graphs_score_with_the_bits_of_whole_windows(seed: int) -> None:
    steps, length, hop = _steps(seed)
    _same_bits(steps, _streams(steps, length, hop, seed=seed), _time_first(random_series(seed)[0], length))


def _time_first(graph: Graph, length: int) -> Graph | None:
    return graph if graph.inputs[0].shape[1] == length else None


@pytest.mark.parametrize("name", ["conv_1d", "tcn"])
@pytest.mark.parametrize("hop", [1, 2, 3, 4, 8])
def test_the_zoo_scores_with_the_bits_of_whole_windows(name: str, hop: int) -> None:
    sliding = slide(build(name, seed=1, length=128), 128, hop, 16)
    _same_bits(sliding.steps, _streams(sliding.steps, 128, hop, calls=5))


@pytest.mark.parametrize("seed", [seed for seed in range(12) if _steps(seed)[0].rings])
def test_random_graphs_score_as_onnxruntime_does(seed: int) -> None:
    steps, length, hop = _steps(seed)
    sliding, whole = Sliding(steps, hop, 16), onnxruntime.bind(steps.whole, 16)
    for windows, rows, counts in _streams(steps, length, hop, calls=3):
        for ours, theirs in zip(sliding.score(windows, rows, counts), whole.run([windows]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(theirs).max())))


def _two_readers(op: str) -> Graph:
    """A layer and what would be fused with it, were it not for the last step that another reader takes."""
    m = Maker(1, (24, 5))
    x = m.add("Conv", m.add("Transpose", "x0", perm=(0, 2, 1)), m.weight(6, 5, 3, fan=15), pads=(1, 1))
    if op == "MatMul":
        y = m.add("MatMul", m.add("Transpose", m.add("Tanh", x), perm=(0, 2, 1)), m.weight(6, 7, fan=6))
        z = m.add("Add", y, m.weight(7))
    else:
        y = m.add("Conv", x, m.weight(7, 6, 3, fan=18), pads=(1, 1))
        z = m.add("BatchNormalization", y, *[m.const(np.abs(m.rng.standard_normal(7)).astype("f") + 0.5) for _ in range(4)])
    last = m.add("Slice", y, *(m.const(np.array([number])) for number in (23, 24, 1 if op == "MatMul" else 2)))
    return m.graph(z, m.add("Flatten", last))


@pytest.mark.parametrize("op", ["MatMul", "Conv"])
def test_what_has_two_readers_is_fused_in_a_step_no_more_than_in_the_whole(op: str) -> None:
    steps = derive(Layers.of(_two_readers(op), 24, 1))
    _same_bits(steps, _streams(steps, 24, 1))


def test_a_network_over_channels_and_time_takes_windows_of_time_and_channels() -> None:
    graph = build("conv_1d", seed=1, length=32)
    windows = np.random.default_rng(0).standard_normal((5, 32, 6)).astype(np.float32)
    (ours,) = slide(graph, 32, 1, 8).score(windows, np.arange(5), np.full(5, 32))
    (whole,) = numba.bind(graph, 8).run([np.ascontiguousarray(np.moveaxis(windows, 1, 2))])
    assert ours.tobytes() == whole.tobytes()


def test_rows_past_the_limit_of_memory_are_scored_whole() -> None:
    steps, length, hop = _steps(6)
    assert steps.rings
    sliding = _same_bits(steps, _streams(steps, length, hop, keys=20), most_bytes=1 << 12)
    assert 0 < len(sliding.memory.homes) == sliding.memory.most_rows < 20


def test_a_new_window_after_a_restart_begins_anew() -> None:
    steps, length, hop = _steps(6)
    streams = _streams(steps, length, hop, gap=0, keys=1, calls=4)
    for windows, rows, counts in streams:
        sliding, whole = Sliding(steps, hop, 16), numba.bind(steps.whole, 16)
        assert sliding.score(windows, rows, counts)[0].tobytes() == whole.run([windows])[0].tobytes()


def test_after_a_failure_all_rows_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    sliding = slide(build("conv_1d", seed=1, length=32), 32, 1, 16)
    events, rows = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32), np.zeros(6, np.int64)
    cuts = np.stack([events[end - 32 : end] for end in range(32, 80)])
    with monkeypatch.context() as patched:
        patched.setattr(sliding.first, "run", lambda inputs: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            sliding.score(cuts[:6], rows, np.arange(32, 38))
    ours = sliding.score(cuts[6:12], rows, np.arange(38, 44))[0]
    assert ours.tobytes() == numba.bind(sliding.steps.whole, 16).run([cuts[6:12]])[0].tobytes()


def test_a_missing_reading_is_gone_when_it_leaves_the_window() -> None:
    sliding = slide(build("conv_1d", seed=1, length=32), 32, 1, 16)
    whole = numba.bind(sliding.steps.whole, 16)
    events = np.random.default_rng(0).standard_normal((120, 6)).astype(np.float32)
    events[50, 2] = np.nan
    are_nan = []
    for end in range(32, 120):
        windows = events[None, end - 32 : end]
        (ours,) = sliding.score(windows, np.zeros(1, np.int64), np.array([end]))
        assert ours.tobytes() == whole.run([windows])[0].tobytes()
        are_nan.append(bool(np.isnan(ours).any()))
    assert are_nan == [end > 50 and end <= 82 for end in range(32, 120)]


def test_a_refused_window_has_zeros_and_its_row_begins_anew() -> None:
    sliding = slide(build("conv_1d", seed=1, length=32), 32, 1, 16)
    whole = numba.bind(sliding.steps.whole, 16)
    rng = np.random.default_rng(0)
    before, after = (rng.standard_normal((50, 6)).astype(np.float32) for _ in range(2))  # a gap lies between: counts begin anew
    cuts = np.stack([series[end - 32 : end] for series in (before, after) for end in range(32, 45)])
    counts = np.array([*range(32, 45), -1, *range(33, 45)])
    for at in (1, 13, 14, 15, 26):  # the refused one is number 13: in a batch with its neighbours, and alone
        sliding = slide(build("conv_1d", seed=1, length=32), 32, 1, 16)
        pieces = [slice(0, at), slice(at, 26)]
        (ours,) = (
            np.concatenate([sliding.score(cuts[some], np.zeros(len(cuts[some]), np.int64), counts[some])[0] for some in pieces]),
        )
        wanted = np.concatenate([whole.run([cuts[first : first + 1]])[0] for first in range(26)])
        wanted[13] = 0
        assert ours.tobytes() == wanted.tobytes()


def test_sound_windows_alone_are_scored_and_another_one_changes_nothing() -> None:
    sliding = slide(build("conv_1d", seed=1, length=32), 32, 2, 16)
    whole = numba.bind(sliding.steps.whole, 16)
    events = np.random.default_rng(0).standard_normal((2, 150, 6)).astype(np.float32)
    gaps = events.copy()
    gaps[0, [8, 61, 101], [1, 5, 0]] = np.nan
    rows, are_sound = np.arange(2), []
    for end in range(32, 150, 2):
        sound, missing = (np.ascontiguousarray(series[:, end - 32 : end]) for series in (events, gaps))
        counts = np.full(2, end)
        found = sliding.score_sound(missing, rows, counts, 12)
        are_sound.append(found is not None)
        if found is None:  # the one key's window is refused
            (made,) = sliding.score(sound, rows, np.array([-1, end]))
            assert not made[0].any()
            assert made[1:].tobytes() == whole.run([sound])[0][1:].tobytes()
        else:
            assert found[0].tobytes() == whole.run([sound])[0].tobytes()
    assert are_sound == [not np.isnan(gaps[:, end - 32 : end]).any() for end in range(32, 150, 2)]
    assert 0 < sum(are_sound) < len(are_sound)


def test_no_windows_have_no_scores() -> None:
    sliding = slide(build("conv_1d", seed=1, length=32), 32, 1, 16)
    (scores,) = sliding.score(np.zeros((0, 32, 6), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert scores.shape == (0, 7)


def test_nothing_is_compiled_for_a_model() -> None:
    slide(build("conv_1d", seed=1, length=32), 32, 1, 16)
    before = compilations()
    sliding = slide(build("tcn", seed=1, length=64), 64, 2, 16)
    _same_bits(sliding.steps, _streams(sliding.steps, 64, 2, calls=3))
    assert compilations() == before


def _dense() -> Graph:
    m = Maker(1, (32, 3))
    m.add("Gemm", m.add("Flatten", "x0"), m.weight(96, 4))
    return m.graph()


def _recurrent() -> Graph:
    m = Maker(1, (32, 3))
    m.add("GRU", m.add("Transpose", "x0", perm=(1, 0, 2)), m.weight(1, 12, 3), m.weight(1, 12, 4), outputs=2, hidden_size=4)
    return m.graph(m.add("Transpose", m.nodes[-1].outputs[1], perm=(1, 0, 2)))


def _gated() -> Graph:
    """All of time is mixed before the convolution."""
    m = Maker(1, (3, 32))
    x = m.add("Mul", "x0", m.add("Sigmoid", m.add("GlobalAveragePool", "x0")))
    m.add("Flatten", m.add("Conv", x, m.weight(4, 3, 3)))
    return m.graph()


def _picture() -> Graph:
    m = Maker(1, (3, 20, 20))
    m.add("Flatten", m.add("Conv", "x0", m.weight(4, 3, 3, 3)))
    return m.graph()


def _two_inputs() -> Graph:
    m = Maker(1, (32, 3), (32, 3))
    m.add("Add", "x0", "x1")
    return m.graph()


@pytest.mark.parametrize(
    ("graph", "hop", "what"),
    [
        (_dense(), 1, "no layer of the graph slides along time"),
        (_recurrent(), 1, "no layer of the graph slides along time"),
        (_gated(), 1, "no layer of the graph slides along time"),
        (_picture(), 1, "has no axis of 32 events"),
        (_two_inputs(), 1, "the graph has 2 inputs"),
        (build("conv_1d", seed=1, length=32), 32, "no layer of the graph slides along time"),
        (build("conv_1d", seed=1, length=32), 20, "of a window's work changes with a hop of 20"),
    ],
)
def test_a_graph_that_does_not_slide_is_refused_in_a_line(graph: Graph, hop: int, what: str) -> None:
    with pytest.raises(BackendError, match=what) as refused:
        slide(graph, 32, hop, 16)
    assert "\n" not in str(refused.value)
    assert "score whole windows" in str(refused.value)
