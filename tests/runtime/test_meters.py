"""Histograms of the meters."""

import math

import numpy as np
import pytest

from esp.runtime.meters import Histogram


def test_values_fall_into_the_first_bucket_that_holds_them() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 4.0, 9.0):
        histogram.add(value)
    assert histogram.counts.tolist() == [2, 1, 1, 1]
    assert histogram.total == 16.0


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_ages_count_as_they_would_one_by_one_and_no_stamp_is_none(size: int) -> None:
    now_ms, rng = 1_700_000_000_000.5, np.random.default_rng(5)
    ages_ms = np.floor(10 ** rng.uniform(-1, 4.5, size)).astype(np.int64) - 1  # some lie ahead of now
    stamps_ms = np.where(rng.random(size) < 0.9, 1_700_000_000_000 - ages_ms, rng.integers(-1, 1, size))
    together, single = Histogram(), Histogram()
    together.add_ages(stamps_ms, now_ms)
    for stamp in stamps_ms[stamps_ms > 0]:
        single.add(max(now_ms - float(stamp), 0.0) / 1e3)
    assert together.counts.tolist() == single.counts.tolist()
    assert together.total == pytest.approx(single.total)


def test_a_quantile_is_the_bound_of_the_bucket_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value, times in ((0.5, 50), (1.5, 40), (3.0, 10)):
        histogram.add(value, times)
    assert [histogram.quantile(share) for share in (0.5, 0.9, 0.99)] == [1.0, 2.0, 4.0]
    assert Histogram().quantile(0.5) == 0.0


def test_a_quantile_past_the_last_bound_has_none() -> None:
    histogram = Histogram((1.0, 2.0))
    for value, times in ((0.5, 90), (1000.0, 10)):
        histogram.add(value, times)
    assert [histogram.quantile(share) for share in (0.5, 0.9, 0.99)] == [1.0, 1.0, math.inf]
