"""Resize between numbers: values, and how far a missing number or an infinity spreads, are onnxruntime's, on the reference and on numba."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Array, Graph, Node, Value, run_reference
from esp.astore.validation import validate
from esp.runtime.backends import bind

WAYS = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")


def resized(shape: tuple[int, ...], scales: tuple[float, ...], **attrs: Any) -> Graph:
    nodes, weights = (Node("Resize", ("x", "", "s"), ("y",), attrs),), {"s": np.array(scales, np.float32)}
    x = (Value("x", "float32", (None, *shape)),)
    return Graph(nodes, x, (Value("y", "float32", validate(Graph(nodes, x, x, weights))["y"]),), weights)


def results(graph: Graph, x: Array) -> tuple[Array, Array, Array]:
    """By onnxruntime, the reference and numba."""
    return bind("onnxruntime", graph, 8).run([x])[0], run_reference(graph, [x])[0], bind("numba", graph, 8).run([x])[0]


# All sizes come out whole: where they do not, onnxruntime aligns corners by the size rounded down, ONNX by the size itself.
CASES = [
    ((1, 4, 4), (1, 1, 2, 2)), ((2, 4, 3), (1, 1, 1.5, 1)), ((2, 5, 3), (1, 1, 1, 2)), ((3, 4, 6), (1, 1, 0.5, 2)),
    ((2, 1, 5), (1, 1, 3, 0.6)), ((4, 4, 3), (1, 2, 1.5, 1)),
]  # fmt: skip
SOLID = [((1, 3, 3, 4), (1, 1, 2, 1, 1.5)), ((2, 2, 2, 5), (1, 1, 2, 2, 0.6))]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("shape", "scales"), [*CASES, *SOLID])
def test_a_number_that_is_not_finite_spreads_by_a_line_as_in_onnxruntime(
    shape: tuple[int, ...], scales: tuple[float, ...], way: str, value: float
) -> None:
    graph, rng = resized(shape, scales, mode="linear", coordinate_transformation_mode=way), np.random.default_rng(3)
    for place in range(int(np.prod(shape))):
        x = rng.standard_normal((2, *shape)).astype(np.float32)
        x[1].reshape(-1)[place] = value
        wanted, reference, found = results(graph, x)
        np.testing.assert_allclose(reference, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        assert np.isfinite(found[0]).all()  # rows stay apart


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("shape", "scales"), CASES[:-1])
def test_a_missing_number_spreads_by_a_cubic_as_in_onnxruntime(shape: tuple[int, ...], scales: tuple[float, ...], way: str) -> None:
    graph, rng = resized(shape, scales, mode="cubic", coordinate_transformation_mode=way), np.random.default_rng(4)
    for place in range(int(np.prod(shape))):
        x = rng.standard_normal((2, *shape)).astype(np.float32)
        x[1].reshape(-1)[place] = np.nan
        wanted, reference, found = results(graph, x)
        np.testing.assert_allclose(reference, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (3, 6)])
def test_a_missing_number_of_a_series_stays_within_its_row_and_its_channel(shape: tuple[int, ...]) -> None:
    """onnxruntime reads the batch or the channels as an axis of the picture there, which would mix rows."""
    graph = resized(shape, (*(1.0 for _ in shape), 2.0), mode="linear")
    x = np.arange(3 * np.prod(shape), dtype=np.float32).reshape(3, *shape)
    x[(1, *(1 for _ in shape[1:]), 2)] = np.nan
    for found in (run_reference(graph, [x])[0], bind("numba", graph, 8).run([x])[0]):
        lines = np.isnan(found).reshape(-1, 12)
        assert np.flatnonzero(lines.any(axis=1)).tolist() == [1 if len(shape) == 1 else 4]
        assert np.flatnonzero(lines.any(axis=0)).tolist() == [3, 4, 5, 6]  # those that lie between its neighbours


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [(1, 1, 0.5, 0.4), (1, 1, 0.7, 2)])
def test_antialiasing_gives_what_onnxruntime_gives(mode: str, scales: tuple[float, ...]) -> None:
    graph = resized((2, 9, 10), scales, mode=mode, antialias=1)
    x = np.random.default_rng(5).standard_normal((3, 2, 9, 10)).astype(np.float32)
    wanted, reference, found = results(graph, x)
    np.testing.assert_allclose(reference, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-5)
