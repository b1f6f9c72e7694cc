"""Folds and normalisation along an axis against numpy in float64; rows whose bits do not depend on the others; NaN."""

from typing import Any

import numpy as np
import pytest

from esp.kernels import folding
from esp.kernels.compile import kernel
from esp.kernels.vectors import SIZE

F4 = Any
KINDS = {folding.SUM: np.sum, folding.MEAN: np.mean, folding.MAX: np.max, folding.MIN: np.min}


@kernel("void(intp, intp, intp, intp, intp, intp)")
def _fold(rows: int, kind: int, count: int, inner: int, x: int, y: int) -> None:
    folding.fold(rows, kind, count, inner, x, y)


@kernel("void(intp, intp, intp, float32, intp, intp)")
def _normalise(rows: int, size: int, is_centred: int, epsilon: float, x: int, y: int) -> None:
    folding.normalise(rows, size, is_centred, epsilon, x, y)


@kernel("void(intp, intp, intp, intp, float32, float32, float32, intp, intp)")
def _near(
    rows: int, channels: int, before: int, after: int, alpha: float, beta: float, bias: float, x: int, y: int
) -> None:  # fmt: skip
    folding.normalise_near(rows, channels, before, after, alpha, beta, bias, x, y)


def folded(kind: int, x: F4) -> F4:
    """x[rows, count, inner] over its middle axis."""
    y = np.empty((x.shape[0], x.shape[2]), np.float32)
    _fold(x.shape[0], kind, x.shape[1], x.shape[2], x.ctypes.data, y.ctypes.data)
    return y


def normalised(x: F4, is_centred: bool = True, epsilon: float = 1e-5) -> F4:
    y = np.empty_like(x)
    _normalise(len(x), x.shape[1], is_centred, np.float32(epsilon), x.ctypes.data, y.ctypes.data)
    return y


def near(x: F4, before: int, after: int) -> F4:
    y = np.empty_like(x)
    numbers = (np.float32(0.1), np.float32(0.75), np.float32(2))
    _near(len(x), x.shape[1], before, after, *numbers, x.ctypes.data, y.ctypes.data)
    return y


def numbers(*shape: int, seed: int = 1) -> F4:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner", [1, 2, 15, 16, 17, 33])
@pytest.mark.parametrize("count", [*range(1, 2 * SIZE + 2), 49])
def test_fold_gives_what_numpy_gives(kind: int, count: int, inner: int) -> None:
    x = numbers(5, count, inner)
    np.testing.assert_allclose(folded(kind, x), KINDS[kind](x.astype(np.float64), axis=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inner", [1, 3])
def test_a_long_sum_loses_nothing_to_rounding(inner: int) -> None:
    x = np.full((1, 1 << 18, inner), 0.1, np.float32)
    assert folded(folding.MEAN, x).tolist() == [[np.float32(0.1)] * inner]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_reach_their_own_result_alone(kind: int, inner: int, value: float) -> None:
    x = numbers(3, 6, inner)
    x[1, 4, inner - 1] = value
    np.testing.assert_allclose(folded(kind, x), KINDS[kind](x.astype(np.float64), axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [*range(1, 2 * SIZE + 2), 64, 1000])
def test_rows_are_normalised_by_their_own_statistics(size: int) -> None:
    x = numbers(4, size) * 3 + 10
    wide = x.astype(np.float64)
    true = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normalised(x), true, rtol=1e-5, atol=2e-5)
    roots = wide / np.sqrt(np.square(wide).mean(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normalised(x, is_centred=False), roots, rtol=1e-6)


def test_a_row_of_equal_numbers_and_no_epsilon_is_no_error() -> None:
    assert np.isnan(normalised(np.ones((1, 3), np.float32), epsilon=0.0)).all()


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 1), (1, 2), (7, 7)])
def test_channels_are_normalised_by_those_near_them(before: int, after: int) -> None:
    x = numbers(3, 7)
    squares = [np.square(x[:, max(0, c - before) : c + after + 1], dtype=np.float64).sum(axis=1) for c in range(7)]
    np.testing.assert_allclose(near(x, before, after), x / (2 + 0.1 * np.stack(squares, axis=1)) ** 0.75, rtol=2e-6)


def test_a_rows_bits_do_not_depend_on_its_neighbours() -> None:
    x = numbers(23, 41)
    cubes = numbers(23, 9, 5)
    for n in range(1, 9):
        for at in (0, 23 - n):
            part, cube = x[at : at + n].copy(), cubes[at : at + n].copy()
            np.testing.assert_array_equal(normalised(part), normalised(x)[at : at + n])
            np.testing.assert_array_equal(near(part, 2, 3), near(x, 2, 3)[at : at + n])
            for kind in KINDS:
                np.testing.assert_array_equal(folded(kind, cube), folded(kind, cubes)[at : at + n])
