"""Pools channels last against numpy: channels of every number, windows of their own for each pixel."""

from typing import Any

import numpy as np
import pytest

from esp.kernels.compile import kernel
from esp.kernels.lanes import LANES
from esp.kernels.pool import average_pool, max_pool

F4 = Any
WINDOWS = [[0], [1, 2], [0, 3, 4, 1], [5, 2, 4]]  # the input pixels of each output pixel


@kernel("void(intp, intp, intp, intp, intp, intp, intp, intp, intp, intp)")
def _pool(
    n: int, pixels: int, channels: int, starts: int, taps: int, counts: int, x: int, x_step: int, y: int, is_max: int
) -> None:
    if is_max:
        max_pool(n, pixels, channels, starts, taps, x, x_step, y)
    else:
        average_pool(n, pixels, channels, starts, taps, counts, x, x_step, y)


def pooled(x: F4, is_max: bool, windows: Any = WINDOWS, counts: Any = None) -> F4:
    """x[n, pixels, channels] -> [n, windows, channels]; what lies behind the result must stay as it was."""
    sizes = [len(window) for window in windows]
    starts, taps = np.cumsum([0, *sizes]).astype(np.int64), np.concatenate([np.zeros(0), *windows]).astype(np.int64)
    totals = np.array(sizes if counts is None else counts, np.int64)
    out = np.full((len(x) * len(windows) + 1, x.shape[2]), 7, np.float32)
    _pool(
        len(x), len(windows), x.shape[2], starts.ctypes.data, taps.ctypes.data, totals.ctypes.data, x.ctypes.data, x[0].size,
        out.ctypes.data, is_max,
    )  # fmt: skip
    assert (out[-1] == 7).all()
    return out[:-1].reshape(len(x), len(windows), -1)


def numbers(*shape: int, seed: int = 1) -> F4:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CHANNELS = [1, 3, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES + 2, 4 * LANES, 7 * LANES, 9 * LANES + 5]


@pytest.mark.parametrize("channels", CHANNELS)
def test_channels_of_every_number_are_right(channels: int) -> None:
    x = numbers(3, 6, channels)
    largest = np.stack([x[:, window].max(axis=1) for window in WINDOWS], axis=1)
    np.testing.assert_array_equal(pooled(x, True), largest)
    averages = np.stack([x[:, window].astype(np.float64).mean(axis=1) for window in WINDOWS], axis=1)
    np.testing.assert_allclose(pooled(x, False), averages, atol=1e-6)


@pytest.mark.parametrize("channels", [5, 2 * LANES, 4 * LANES + 3])
def test_nan_and_infinities_stay_in_their_channel_and_window(channels: int) -> None:
    x = numbers(1, 6, channels)
    x[0, 2, 0], x[0, 4, 4], x[0, 1, 2] = np.nan, np.inf, -np.inf
    largest, average = pooled(x, True)[0], pooled(x, False)[0]
    assert np.argwhere(np.isnan(largest)).tolist() == [[1, 0], [3, 0]]
    assert np.argwhere(np.isnan(average)).tolist() == [[1, 0], [3, 0]]
    assert (largest[2:, 4] == np.inf).all()
    assert (average[2:, 4] == np.inf).all()
    assert (average[1:3, 2] == -np.inf).all()
    assert np.isfinite(largest[1:3, 2]).all()


def test_a_window_of_minus_infinities_alone_gives_that() -> None:
    assert (pooled(np.full((1, 2, 3), -np.inf, np.float32), True, [[0, 1]]) == -np.inf).all()


def test_an_average_is_divided_by_its_own_count_and_is_0_without_numbers() -> None:
    found = pooled(numbers(1, 6, 2), False, [[], [0, 1]], [9, 4])
    assert (found[0, 0] == 0).all()
    np.testing.assert_allclose(found[0, 1], numbers(1, 6, 2)[0, :2].sum(axis=0) / 4, rtol=1e-6)


def test_a_rows_bits_do_not_depend_on_the_batch() -> None:
    x = numbers(9, 6, 2 * LANES + 3)
    for is_max in (True, False):
        whole = pooled(x, is_max)
        for row in range(9):
            np.testing.assert_array_equal(pooled(x[row : row + 1].copy(), is_max)[0], whole[row])
