"""Value by value work against numpy: operands that repeat, softmax and its logarithm, moves; tails, NaN, bits of a row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esp.kernels import elementwise as e
from esp.kernels.compile import kernel
from esp.kernels.vectors import SIZE

F4 = Any
SIZES = [*range(1, 2 * SIZE + 2), 100]
OPERATIONS: dict[int, Callable[[F4, F4], F4]] = {
    e.ADD: np.add, e.SUB: np.subtract, e.MUL: np.multiply, e.DIV: np.divide, e.REVERSED_SUB: lambda a, b: b - a,
    e.REVERSED_DIV: lambda a, b: b / a, e.MAX: np.maximum, e.MIN: np.minimum, e.PRELU: lambda a, b: np.where(a < 0, a * b, a),
}  # fmt: skip
each_kind = pytest.mark.parametrize("kind", OPERATIONS)


@kernel("void(" + "intp, " * 7 + "intp)")
def _binary(n: int, kind: int, size: int, period: int, a: int, b: int, b_step: int, y: int) -> None:
    e.binary(n, kind, size, period, a, b, b_step, y)


@kernel("void(intp, intp, intp, intp, intp)")
def _softmax(n: int, is_log: int, size: int, x: int, y: int) -> None:
    for i in range(n):
        e.softmax(is_log, size, x + 4 * i * size, y + 4 * i * size)


@kernel("void(intp, intp, intp, intp, float32, float32, intp)")
def _affine(size: int, x: int, scale: int, shift: int, low: float, high: float, y: int) -> None:
    e.affine(size, x, scale, shift, low, high, y)


@kernel("void(" + "intp, " * 7 + "intp)")
def _copy(n: int, outer: int, inner: int, x: int, x_step: int, y: int, y_outer: int, y_step: int) -> None:
    e.copy(n, outer, inner, x, x_step, y, y_outer, y_step)


def framed(*shape: int) -> tuple[F4, F4]:
    """Room for a result, and the frame it stands in."""
    size = int(np.prod(shape))
    frame = np.full(size + 2 * SIZE, 7, np.float32)
    return frame[SIZE : SIZE + size].reshape(shape), frame


def kept(frame: F4) -> None:
    assert (frame[:SIZE] == 7).all()
    assert (frame[-SIZE:] == 7).all()


def joined(kind: int, a: F4, b: F4, b_step: int) -> F4:
    y, frame = framed(*a.shape)
    period = b.shape[-1]
    _binary(len(a), kind, a.shape[1], period, a.ctypes.data, b.ctypes.data, b_step, y.ctypes.data)
    kept(frame)
    return y


def softmax(x: F4, is_log: bool = False) -> F4:
    y, frame = framed(*x.shape)
    _softmax(len(x), is_log, x.shape[1], x.ctypes.data, y.ctypes.data)
    kept(frame)
    return y


def numbers(*shape: int, seed: int = 1) -> F4:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@each_kind
@pytest.mark.parametrize("size", SIZES)
def test_operands_of_every_length_are_joined(kind: int, size: int) -> None:
    a = numbers(3, size)
    a[0, 0], a[1, size // 2], a[2, -1] = np.nan, np.inf, -np.inf
    for b, step in ((numbers(size, seed=2), 0), (numbers(3, size, seed=3), size), (numbers(1, seed=4), 0)):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(joined(kind, a, b, step), OPERATIONS[kind](a, b))


@each_kind
@pytest.mark.parametrize("period", [1, 2, SIZE + 1])
def test_an_operand_may_repeat_within_a_row(kind: int, period: int) -> None:
    a, b = numbers(2, 3 * period), numbers(2, period, seed=2)
    np.testing.assert_array_equal(joined(kind, a, b, period), OPERATIONS[kind](a, np.tile(b, 3)))


def true_softmax(x: F4) -> F4:
    """In float64, but for the distance from the largest, which float32 rounds."""
    with np.errstate(all="ignore"):
        power = np.exp((x - x.max(axis=1, keepdims=True)).astype(np.float64))
        return power / power.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", SIZES)
def test_softmax_and_its_logarithm_are_within_a_few_units(size: int) -> None:
    x = numbers(4, size) * 8
    np.testing.assert_allclose(softmax(x), true_softmax(x), rtol=5e-7)
    np.testing.assert_allclose(softmax(x, is_log=True), np.log(true_softmax(x)), rtol=3e-7, atol=3e-7)
    np.testing.assert_allclose(softmax(x).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("at", [0, SIZE - 1, SIZE + 2])
def test_special_values_of_a_softmax_go_where_numpy_takes_them(at: int) -> None:
    x = numbers(5, SIZE + 3)
    x[0, at], x[1, at], x[2, at], x[3] = np.nan, np.inf, -np.inf, -np.inf
    x[4, at] = -200
    np.testing.assert_allclose(softmax(x), true_softmax(x), rtol=6e-7, atol=1e-37)
    assert softmax(x)[2, at] == 0


def test_a_rows_softmax_is_the_same_bits_at_every_place() -> None:
    x = numbers(11, 37)
    for n in (1, 2, 5):
        for at in (0, 3, 11 - n):
            part = x[at : at + n].copy()
            np.testing.assert_array_equal(softmax(part), softmax(x)[at : at + n])
            np.testing.assert_array_equal(softmax(part, True), softmax(x, True)[at : at + n])


@pytest.mark.parametrize("size", SIZES)
def test_numbers_are_scaled_shifted_and_bound_and_nan_is_kept(size: int) -> None:
    x, scale, shift = numbers(3, size)
    x[size // 2] = np.nan
    y, frame = framed(size)
    low, high = np.float32(-0.5), np.float32(0.5)
    _affine(size, x.ctypes.data, scale.ctypes.data, shift.ctypes.data, low, high, y.ctypes.data)
    kept(frame)
    true = (x.astype(np.float64) * scale + shift).astype(np.float32)
    np.testing.assert_array_equal(y, np.clip(true, low, high))


@pytest.mark.parametrize(("outer", "inner", "apart"), [(1, 5, 0), (3, 4, 0), (3, 4, 2)])
def test_runs_are_copied_to_their_places(outer: int, inner: int, apart: int) -> None:
    x = numbers(4, outer, inner)
    y = np.zeros((4, outer, inner + apart), np.float32)
    _copy(4, outer, inner, x.ctypes.data, outer * inner, y.ctypes.data, inner + apart, outer * (inner + apart))
    np.testing.assert_array_equal(y[:, :, :inner], x)
    assert (y[:, :, inner:] == 0).all()
