"""Depthwise convolution on the numba backend against loops over pixels and taps; bits that depend on nothing around a row."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph, Node, Value
from esp.kernels import plan
from esp.kernels.lanes import LANES
from esp.runtime.backends import numba

Window = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
# sizes of the picture, kernel, strides, dilations, pads
WINDOWS: list[Window] = [
    ((9, 12), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((9, 12), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    ((8, 17), (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    ((5, 6), (3, 3), (1, 1), (1, 1), (1, 0, 0, 1)),
    ((3, 3), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((2, 2), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((1, 1), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((4, 2), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    ((7, 11), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
    ((7, 11), (5, 5), (2, 2), (1, 1), (2, 2, 2, 2)),
    ((7, 3), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
    ((6, 19), (3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
    ((6, 19), (3, 3), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((6, 9), (3, 3), (1, 1), (1, 1), (3, 3, 3, 3)),
    ((6, 9), (7, 2), (1, 1), (1, 1), (3, 1, 0, 0)),
    ((6, 20), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((6, 5), (6, 5), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((40,), (3,), (1,), (1,), (1, 1)),
    ((40,), (5,), (2,), (1,), (4, 0)),
    ((40,), (4,), (1,), (3,), (9, 0)),
    ((3, 4, 9), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1, 1, 1, 1)),
    ((3, 4, 9), (2, 1, 5), (1, 2, 2), (2, 1, 1), (1, 0, 2, 1, 0, 1)),
]


def graph_of(channels: int, window: Window, bias: bool = True, times: int = 1, clip: bool = False) -> Graph:
    _, kernel, strides, dilations, pads = window
    rng = np.random.default_rng(channels)
    weights = {"w": rng.standard_normal((channels * times, 1, *kernel)).astype(np.float32)}
    if bias:
        weights["b"] = rng.standard_normal(channels * times).astype(np.float32)
    attrs = {"group": channels, "strides": strides, "dilations": dilations, "pads": pads}
    nodes = [Node("Conv", ("x", *weights), ("y",), attrs)]
    if clip:
        weights |= {"low": np.array(-0.5, np.float32), "high": np.array(0.75, np.float32)}
        nodes.append(Node("Clip", ("y", "low", "high"), ("z",)))
    last = nodes[-1].outputs[0]
    return Graph(
        tuple(nodes), (Value("x", "float32", (None, channels, *window[0])),),
        (Value(last, "float32", (None, *shape_of(channels * times, window))),), weights,
    )  # fmt: skip


def shape_of(channels: int, window: Window) -> tuple[int, ...]:
    sizes, kernel, strides, dilations, pads = window
    rank = len(sizes)
    spans = [size + pads[a] + pads[a + rank] - (kernel[a] - 1) * dilations[a] for a, size in enumerate(sizes)]
    return (channels, *((span - 1) // stride + 1 for span, stride in zip(spans, strides)))


def naive(x: Any, graph: Graph, window: Window) -> Any:
    """Pixel by pixel, tap by tap, in float64; taps outside the picture are left out."""
    sizes, kernel, strides, dilations, pads = window
    weights = graph.weights["w"].astype(np.float64)
    times = len(weights) // x.shape[1]
    shape = shape_of(len(weights), window)
    out = np.zeros((len(x), *shape))
    x = np.repeat(x.astype(np.float64), times, axis=1)
    for pixel in np.ndindex(*shape[1:]):
        total = np.zeros((len(x), len(weights))) + graph.weights.get("b", 0)
        for tap in np.ndindex(*kernel):
            spot = [p * s - pad + t * d for p, s, pad, t, d in zip(pixel, strides, pads, tap, dilations)]
            if all(0 <= at < size for at, size in zip(spot, sizes)):
                total = total + x[(slice(None), slice(None), *spot)] * weights[(slice(None), 0, *tap)]
        out[(slice(None), slice(None), *pixel)] = total
    return out


def events(n: int, channels: int, window: Window) -> Any:
    return np.random.default_rng(7).standard_normal((n, channels, *window[0])).astype(np.float32)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("channels", sorted({2, LANES - 1, LANES, LANES + 5, 5 * LANES + 3}))
def test_every_form_of_window_gives_what_loops_give(window: Window, channels: int) -> None:
    graph, x = graph_of(channels, window), events(3, channels, window)
    np.testing.assert_allclose(numba.bind(graph, 4).run([x])[0], naive(x, graph, window), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "window"), list(product(range(2, 2 * LANES + 2), (WINDOWS[0], WINDOWS[9], WINDOWS[11]))), ids=str
)
def test_channels_of_every_number_give_what_loops_give(channels: int, window: Window) -> None:
    graph, x = graph_of(channels, window, bias=channels % 2 == 0, clip=True), events(1, channels, window)
    wanted = np.clip(naive(x, graph, window), -0.5, 0.75)
    np.testing.assert_allclose(numba.bind(graph, 1).run([x])[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("times", [2, 3])
def test_several_filters_a_channel_give_what_loops_give(times: int) -> None:
    window = WINDOWS[1]
    graph, x = graph_of(5, window, times=times), events(2, 5, window)
    bound = numba.bind(graph, 4)
    np.testing.assert_allclose(bound.run([x])[0], naive(x, graph, window), rtol=1e-5, atol=1e-5)
    assert len(bound.table.rows) == 4  # channels last, repeated, filtered, channels first


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_row_has_the_same_bits_in_every_batch_and_place(window: Window) -> None:
    graph, x = graph_of(LANES + 3, window), events(7, LANES + 3, window)
    bound = numba.bind(graph, 4)
    whole = bound.run([x])[0]
    for n, at in ((1, 0), (1, 6), (3, 2), (5, 1)):
        assert np.array_equal(bound.run([np.ascontiguousarray(x[at : at + n])])[0], whole[at : at + n])


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_kernels_of_lines_give_the_bits_of_the_general_one(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = graph_of(3 * LANES + 1, window), events(3, 3 * LANES + 1, window)
    lines = numba.bind(graph, 4).run([x])[0]
    monkeypatch.setattr(plan, "DEPTHWISE_LINES", {})
    assert np.array_equal(numba.bind(graph, 4).run([x])[0], lines)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_what_is_not_finite_reaches_the_windows_that_hold_it_and_no_others(window: Window, value: float) -> None:
    channels = LANES + 1
    graph, x = graph_of(channels, window), events(3, channels, window)
    bound = numba.bind(graph, 4)
    clean = bound.run([x])[0]
    for spot in ([0] * len(window[0]), [size - 1 for size in window[0]], [size // 2 for size in window[0]]):
        spoilt = x.copy()
        spoilt[(1, channels - 1, *spot)] = value
        wanted, got = naive(spoilt, graph, window), bound.run([spoilt])[0]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
        held = ~np.isfinite(wanted)
        np.testing.assert_array_equal(got[held], wanted[held])
        np.testing.assert_array_equal(got[~held], clean[~held])
