"""Convolutions by planes: the same bits as channels last gives, whatever the geometry and whatever comes after."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Array, Graph, run_reference
from esp.kernels import plan
from esp.runtime.backends import numba
from esp.runtime.backends.lowering import planar
from tests.runtime.backends.nets import Maker, events

POOLS = ("MaxPool", "AveragePool")


def _random(seed: int) -> Graph:
    """A Conv of any geometry, perhaps functions of its result, and a pool whose windows lie side by side."""
    rng = np.random.default_rng(seed)
    axes, channels, out = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 12))
    sizes = tuple(int(size) for size in rng.integers(7, 15, axes))
    m = Maker(seed, (channels, *sizes))
    kernel = [int(size) for size in rng.integers(1, 4, axes)]
    window = tuple(int(size) for size in rng.integers(1, 3, axes))
    attrs: dict[str, Any] = {
        "strides": tuple(int(step) for step in rng.integers(1, 3, axes)),
        "dilations": tuple(int(step) for step in rng.integers(1, 3, axes)),
        "pads": tuple(int(pad) for pad in rng.integers(0, 3, 2 * axes)),
    }
    fan = channels * int(np.prod(kernel))
    x = m.add("Conv", "x0", m.weight(out, channels, *kernel, fan=fan), *([m.weight(out)] if rng.random() < 0.7 else []), **attrs)
    for op in rng.permutation(["Relu", "Tanh", "Clip"])[: rng.integers(0, 3)]:
        x = m.add(str(op), x, *([m.const(np.float32(-0.5)), m.const(np.float32(0.7))] if op == "Clip" else []))
    x = m.add(POOLS[seed % 2], x, kernel_shape=window, strides=window)
    _followed(m, x, int(rng.integers(0, 5)))
    return m.graph()


def _followed(m: Maker, x: str, kind: int) -> None:
    """What may come after a pool."""
    shape = [size or 1 for size in m.shape(x)[1:]]
    if kind == 0:
        flat, size = m.add("Flatten", x), int(np.prod(shape))
        m.add("Gemm", flat, m.weight(size, 5, fan=size))
    elif kind == 1:
        m.add("Conv", x, m.weight(3, shape[0], *(1 for _ in shape[1:]), fan=shape[0]), pads=(1,) * (2 * len(shape) - 2))
    elif kind == 2:
        m.add("Mul", m.add("Sigmoid", x), m.add("Concat", x, axis=1))
    elif kind == 3:
        m.add("Softmax", m.add("Transpose", x, perm=(0, *range(len(shape), 0, -1))))


def _ways(graph: Graph, monkeypatch: pytest.MonkeyPatch, feeds: list[Array]) -> tuple[Array, Array]:
    """The graph's output by planes and channels last."""
    results = []
    for is_planar in (True, False):
        monkeypatch.setattr(planar, "pays", lambda split, channels, choice=is_planar: choice)
        bound = numba.bind(graph, len(feeds[0]))
        assert (plan.PLANAR.address in bound.table.rows[:, 0]) == is_planar
        results.append(bound.run(feeds)[0])
    return results[0], results[1]


@pytest.mark.parametrize("seed", range(40))
def test_planes_give_the_bits_of_channels_last_and_what_the_reference_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = _random(seed)
    feeds = events(graph, 3)
    by_planes, channels_last = _ways(graph, monkeypatch, feeds)
    np.testing.assert_array_equal(by_planes.view(np.int32), channels_last.view(np.int32))
    np.testing.assert_allclose(by_planes, run_reference(graph, feeds)[0], rtol=1e-4, atol=1e-5)


def test_a_row_has_the_same_bits_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planar, "pays", lambda split, channels: True)
    graph = _random(4)
    feeds = events(graph, 9)
    bound = numba.bind(graph, 9)
    whole = bound.run(feeds)[0]
    for rows in (slice(0, 1), slice(4, 5), slice(2, 8)):
        np.testing.assert_array_equal(bound.run([np.ascontiguousarray(feeds[0][rows])])[0], whole[rows])


def test_missing_readings_and_infinities_go_where_channels_last_lets_them_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1, 2, 3):
        graph = _random(seed)
        feeds = events(graph, 2)
        feeds[0].reshape(2, -1)[:, [3, 50]] = np.nan, np.inf
        np.testing.assert_array_equal(*_ways(graph, monkeypatch, feeds))


def _pooled(**attrs: Any) -> Graph:
    m = Maker(5, (1, 12, 12))
    conv = m.add("Conv", "x0", m.weight(4, 1, 3, 3, fan=9))
    m.add("MaxPool", conv, **attrs)
    return m.graph()


@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_shape": (3, 3), "strides": (2, 2)},
        {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (1, 0, 0, 0)},
        {"kernel_shape": (2, 2), "strides": (2, 2), "dilations": (2, 1)},
        {"kernel_shape": (4, 4), "strides": (4, 4), "ceil_mode": 1},
    ],
)
def test_pools_of_other_windows_are_taken_channels_last(attrs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planar, "pays", lambda split, channels: True)
    graph = _pooled(**attrs)
    bound, feeds = numba.bind(graph, 2), events(graph, 2)
    assert plan.PLANAR.address not in bound.table.rows[:, 0]
    np.testing.assert_allclose(bound.run(feeds)[0], run_reference(graph, feeds)[0], rtol=1e-4, atol=1e-5)


def test_a_result_that_others_use_too_is_taken_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planar, "pays", lambda split, channels: True)
    m = Maker(6, (1, 8, 8))
    conv = m.add("Conv", "x0", m.weight(4, 1, 3, 3, fan=9))
    pool = m.add("MaxPool", conv, kernel_shape=(2, 2), strides=(2, 2))
    graph = m.graph(conv, pool)
    feeds = events(graph, 2)
    for got, wanted in zip(numba.bind(graph, 2).run(feeds), run_reference(graph, feeds), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
