"""The tile against numpy: tails of every size, rows by address, bits that do not depend on the neighbours."""

from typing import Any

import numpy as np
import pytest

from esp.kernels.compile import kernel
from esp.kernels.dense import BLOCK_K, BLOCK_ROWS, SCRATCH, multiply, pack, padded
from esp.kernels.lanes import LANES, PANEL, TILE_ROWS

F4 = Any


@kernel("void(" + "intp, " * 14 + "float32, float32, intp)")
def _multiply(
    n: int, per: int, x: int, x_step: int, at: int, segments: int, segment_at: int, size: int, panels: int, bias: int,
    bias_step: int, out: int, out_step: int, columns: int, low: float, high: float, scratch: int,
) -> None:  # fmt: skip
    multiply(n, per, x, x_step, at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high, scratch)


def product(
    x: F4, weights: F4, bias: F4, low: float = -np.inf, high: float = np.inf, at: Any = (0,), segments: Any = (0,), size: int = 0
) -> F4:  # fmt: skip
    """bias + rows @ weights within low and high; the result stands in a frame that must stay as it was."""
    (_, m), starts, runs = weights.shape, np.array(at, np.int64), np.array(segments, np.int64)
    n, frame = len(x) * len(starts), np.full((len(x) * len(starts) + 2, m + 3), 7, np.float32)
    full, panels = np.zeros(padded(m), np.float32), pack(weights)
    full[:m] = bias
    out, zero = frame[1:-1], np.zeros(SCRATCH, np.int64)
    _multiply(
        len(x), len(starts), x.ctypes.data, x.shape[1], starts.ctypes.data, len(runs), runs.ctypes.data, size or x.shape[1],
        panels.ctypes.data, full.ctypes.data, 0, out.ctypes.data, m + 3, m, np.float32(low), np.float32(high), zero.ctypes.data,
    )  # fmt: skip
    assert (frame[[0, -1]] == 7).all()
    assert (out[:, m:] == 7).all()
    assert len(out) == n
    return out[:, :m]


def numbers(*shape: int, seed: int = 1) -> F4:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "columns", [1, LANES - 1, LANES, LANES + 1, PANEL, PANEL + 1, 3 * PANEL - 1, 4 * PANEL, 4 * PANEL + 5, 9 * PANEL + LANES]
)
@pytest.mark.parametrize("k", [1, 2, 37])
def test_tails_of_rows_and_columns_are_right(columns: int, k: int) -> None:
    weights, bias = numbers(k, columns), numbers(columns)
    for n in [*range(1, 2 * TILE_ROWS[0] + 2), BLOCK_ROWS + 5]:
        x = numbers(n, k, seed=n)
        np.testing.assert_allclose(product(x, weights, bias), x @ weights + bias, atol=2e-5)


def test_rows_are_found_by_address_and_read_in_segments() -> None:
    x, weights = numbers(3, 20), numbers(6, 5)
    found = product(x, weights, np.zeros(5, np.float32), at=(0, 4, 9), segments=(1, 7), size=3)
    rows = [[row[start + 1 : start + 4].tolist() + row[start + 7 : start + 10].tolist() for start in (0, 4, 9)] for row in x]
    np.testing.assert_allclose(found, np.array(rows, np.float32).reshape(9, 6) @ weights, atol=1e-5)


def test_the_bounds_hold_and_nan_is_kept() -> None:
    x = np.array([[-1.0], [1.0], [np.nan], [6.5], [np.inf]], np.float32)
    found = product(x, np.ones((1, 2), np.float32), np.zeros(2, np.float32), low=0.0, high=6.0)
    np.testing.assert_array_equal(found, [[0, 0], [1, 1], [np.nan, np.nan], [6, 6], [6, 6]])


def test_a_rows_bits_do_not_depend_on_its_neighbours() -> None:
    x, weights, bias = numbers(40, 129), numbers(129, 4 * PANEL + 3), numbers(4 * PANEL + 3)
    whole = product(x, weights, bias)
    for n in range(1, 20):
        np.testing.assert_array_equal(product(x[5 : 5 + n].copy(), weights, bias), whole[5 : 5 + n])


def in_order(x: F4, weights: F4, bias: F4) -> F4:
    """The sums as the law has them: from the bias on, one fused step a k; a double holds a product of floats exactly."""
    total = np.broadcast_to(bias, (len(x), weights.shape[1])).astype(np.float32)
    for k, line in enumerate(weights.astype(np.float64)):
        total = (x[:, k, None].astype(np.float64) * line + total).astype(np.float32)
    return total


@pytest.mark.parametrize("columns", [LANES + 3, PANEL, 2 * PANEL + LANES, 3 * PANEL - 1])
@pytest.mark.parametrize("runs", [(BLOCK_K + 1,), (2 * BLOCK_K + 7,), (BLOCK_K // 3,) * 7, (BLOCK_K + 9,) * 2])
def test_long_sums_are_taken_in_blocks_that_change_no_bit(columns: int, runs: tuple[int, ...]) -> None:
    size, x = runs[0], numbers(TILE_ROWS[0] * 2 + 3, sum(runs))
    weights, bias = numbers(sum(runs), columns), numbers(columns)
    segments = size * np.arange(len(runs))
    whole = product(x, weights, bias, low=-1.0, high=2.0, segments=segments, size=size)
    for rows in (1, 2, 3, TILE_ROWS[0], TILE_ROWS[0] + 1):
        np.testing.assert_array_equal(product(x[:rows].copy(), weights, bias, -1.0, 2.0, (0,), segments, size), whole[:rows])
    np.testing.assert_allclose(whole, np.clip(in_order(x, weights, bias), -1.0, 2.0), rtol=0, atol=1e-5)


def test_sums_start_from_the_bias_and_keep_the_order_of_k() -> None:
    x, weights, bias = numbers(TILE_ROWS[0] + 3, 41), numbers(41, 3 * PANEL + 1), numbers(3 * PANEL + 1)
    found, wanted = product(x, weights, bias), in_order(x, weights, bias)
    assert (found == wanted).mean() > 0.999  # a double's own rounding may show, once in some hundred million sums
