"""Loops of vectors: runs of every length, what lies beside them untouched, and sums whose order is known."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from esp.kernels.compile import kernel
from esp.kernels.vectors import F32, SIZE, choose, filled, folded, larger, loop, near, routine, smaller, span, spread, total

F4 = Any
TIMES, SUM, LARGEST, SMALLEST, BESIDE, REPEATED = range(6)


def _emit(b: Any, which: Any, count: Any, factor: Any, x: Any, y: Any) -> None:
    def times() -> None:
        span(b, count, lambda place, state: place.store(place.load(x) * spread(b, factor), y))

    def fold(join: Any, first: float) -> None:
        (end,) = span(b, count, lambda place, state: [join(state[0], place.load(x, first))], filled(b, first))
        b.store(folded(end, join), b.inttoptr(y, F32.as_pointer()))

    def beside() -> None:
        one = count.type(1)
        span(
            b, count, lambda place, state: place.store(near(place, b.neg(one), count).load(x) - near(place, one, count).load(x), y)
        )

    def repeated() -> None:
        span(b, count, lambda place, state: place.store(loop(b, count, [place.load(x)], lambda i, state: [state[0] * 2])[0], y))

    folds = [partial(fold, join, first) for join, first in ((total, 0.0), (larger, -np.inf), (smaller, np.inf))]
    choose(b, which, [times, *folds, beside, repeated])


_run = routine("iifii", _emit)


@kernel("void(intp, intp, float32, intp, intp)")
def _apply(which: int, count: int, factor: float, x: int, y: int) -> None:
    _run(which, count, factor, x, y)


def applied(which: int, x: F4, factor: float = 1.0) -> F4:
    """The result, in a frame that must stay as it was."""
    size = 1 if which in (SUM, LARGEST, SMALLEST) else len(x)
    frame = np.full(size + 2 * SIZE, 7, np.float32)
    y = frame[SIZE : SIZE + size]
    _apply(which, len(x), np.float32(factor), x.ctypes.data, y.ctypes.data)
    assert (frame[:SIZE] == 7).all()
    assert (frame[SIZE + size :] == 7).all()
    return y


def numbers(count: int) -> F4:
    return np.random.default_rng(count).standard_normal(count).astype(np.float32)


each_count = pytest.mark.parametrize("count", [*range(1, 2 * SIZE + 2), 5 * SIZE - 1])


@each_count
def test_every_number_of_a_run_is_computed_and_no_other(count: int) -> None:
    x = numbers(count)
    np.testing.assert_array_equal(applied(TIMES, x, 3), x * np.float32(3))
    padded = np.concatenate([[0], x, [0]]).astype(np.float32)
    np.testing.assert_array_equal(applied(BESIDE, x), padded[:-2] - padded[2:])


@each_count
def test_a_sum_is_taken_of_sixteen_sums_halved_four_times(count: int) -> None:
    x = numbers(count)
    sums = np.zeros(SIZE, np.float32)
    for at in range(0, count, SIZE):
        part = x[at : at + SIZE]
        sums[: len(part)] += part
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    assert applied(SUM, x)[0] == sums[0]


@each_count
def test_extremes_are_found_and_nan_wins(count: int) -> None:
    x = numbers(count)
    assert (applied(LARGEST, x)[0], applied(SMALLEST, x)[0]) == (x.max(), x.min())
    x[count // 2] = np.nan
    assert np.isnan([applied(LARGEST, x)[0], applied(SMALLEST, x)[0]]).all()


def test_an_empty_run_is_left_alone_and_its_sum_is_what_it_began_with() -> None:
    nothing = np.zeros(0, np.float32)
    assert applied(TIMES, nothing).size == 0
    assert applied(SUM, nothing)[0] == 0


def test_a_loop_goes_as_often_as_it_is_told() -> None:
    assert applied(REPEATED, np.ones(5, np.float32)).tolist() == [32] * 5
