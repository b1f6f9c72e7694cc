"""Sums over planes against numpy: channels and pixels of every number, bits that do not depend on the place."""

from typing import Any

import numpy as np
import pytest

from esp.kernels.compile import kernel
from esp.kernels.lanes import LANES
from esp.kernels.planar import WIDE, pack_planar, planar, pool_planes

F4 = Any


@kernel("void(" + "intp, " * 12 + "float32, float32)")
def _planar(
    n: int, x: int, x_step: int, places: int, taps: int, count: int, weights: int, bias: int, channels: int, pixels: int, y: int,
    y_step: int, low: float, high: float,
) -> None:  # fmt: skip
    planar(n, x, x_step, places, taps, count, weights, bias, channels, pixels, y, y_step, low, high)


@kernel("void(intp, intp, intp, intp, intp, intp)")
def _pool(n: int, places: int, size: int, is_average: int, x: int, y: int) -> None:
    pool_planes(n, places, size, is_average, x, y)


def numbers(*shape: int, seed: int = 1) -> F4:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolved(x: F4, taps: Any, weights: F4, bias: F4, pixels: int, low: float = -np.inf, high: float = np.inf) -> F4:
    """[n, places, channels, pixels]; what lies between the planes must stay as it was."""
    taps = np.asarray(taps, np.int64)
    (places, count), channels, step = taps.shape, len(bias), pixels + 3
    source = np.concatenate([x.reshape(-1), np.full(WIDE * LANES + int(taps.max()), np.nan, np.float32)])
    out, (panels, biases) = np.full((len(x), places, channels, step), 7, np.float32), pack_planar(weights, bias)
    _planar(
        len(x), source.ctypes.data, x.shape[1], places, taps.ctypes.data, count, panels.ctypes.data, biases.ctypes.data, channels,
        pixels, out.ctypes.data, step, np.float32(low), np.float32(high),
    )  # fmt: skip
    assert (out[..., pixels:] == 7).all()
    return out[..., :pixels]


def naive(x: F4, taps: Any, weights: F4, bias: F4, pixels: int) -> F4:
    windows = np.array([[[row[p + np.array(place)] for p in range(pixels)] for place in taps] for row in x], np.float64)
    return np.einsum("npqk,kc->npcq", windows, weights.astype(np.float64)) + bias[:, None]


@pytest.mark.parametrize("channels", range(1, 11))
@pytest.mark.parametrize("pixels", [1, LANES - 1, LANES, 2 * LANES + 1, WIDE * LANES, 2 * WIDE * LANES + LANES + 3])
def test_channels_and_pixels_of_every_number_are_right(channels: int, pixels: int) -> None:
    taps = [[0, 1, 7, 9], [3, 5, 4, 4]]
    x, weights, bias = numbers(3, pixels + 9), numbers(4, channels), numbers(channels)
    np.testing.assert_allclose(convolved(x, taps, weights, bias, pixels), naive(x, taps, weights, bias, pixels), atol=1e-5)


def test_the_bounds_hold_and_nan_and_infinity_reach_their_own_results_alone() -> None:
    x = np.zeros((1, 40), np.float32)
    x[0, [5, 20, 30]] = np.nan, np.inf, 3
    found = convolved(x, [[0, 1]], np.ones((2, 1), np.float32), np.zeros(1, np.float32), 39, low=-1.0, high=2.0)[0, 0, 0]
    assert np.flatnonzero(np.isnan(found)).tolist() == [4, 5]
    assert np.flatnonzero(found == 2).tolist() == [19, 20, 29, 30]


def test_a_sums_bits_do_not_depend_on_its_place_or_on_the_number_of_channels() -> None:
    taps, weights, bias = [list(range(0, 50, 2))], numbers(25, 7), numbers(7)
    x = numbers(1, 300)
    whole = convolved(x, taps, weights, bias, 240)
    for start in (1, 5, LANES, 3 * LANES + 1):
        part = convolved(np.ascontiguousarray(x[:, start:]), taps, weights, bias, 240 - start)
        np.testing.assert_array_equal(part, whole[..., start:])
    for channels in range(1, 7):
        np.testing.assert_array_equal(convolved(x, taps, weights[:, :channels], bias[:channels], 240), whole[:, :, :channels])


def test_planes_are_pooled_number_by_number() -> None:
    x = numbers(2, 6, 21)
    x[0, 2, 3], x[1, 5, 20] = np.nan, np.inf
    for is_average, wanted in ((0, x.max(axis=1)), (1, x.astype(np.float64).mean(axis=1))):
        out = np.zeros((2, 21), np.float32)
        _pool(2, 6, 21, is_average, x.ctypes.data, out.ctypes.data)
        np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)
