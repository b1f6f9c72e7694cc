"""What events take from their records, against numpy row by row."""

import numpy as np
import pytest

from esp.kernels.origins import lie_between, origins, watermarks


@pytest.mark.parametrize("n", [0, 1, 7, 500])
def test_stamps_and_tallies_are_those_of_the_records_that_events_come_from(n: int) -> None:
    rng, records = np.random.default_rng(n), 40
    key_size, header_size = rng.integers(-1, 20, records), rng.integers(-1, 3, records)
    ts_ms, row = rng.integers(0, 1 << 40, records), rng.integers(-1, records, n)
    ts_ns = rng.integers(-(1 << 60), 1 << 60, n)
    stamps_ms, told = np.empty(n, np.int64), np.empty(3, np.int64)
    origins(row, key_size, header_size, ts_ms, ts_ns, stamps_ms, told)
    assert stamps_ms.tolist() == [int(ts_ms[at]) if at >= 0 else int(ns) // 1_000_000 for at, ns in zip(row, ts_ns)]
    own = [at for at in row if at >= 0]
    assert told.tolist() == [len(own), sum(max(int(key_size[at]), 0) for at in own), sum(header_size[at] > 0 for at in own)]


def test_bounds_do_not_lie_between_themselves() -> None:
    for values, fits in (([], True), ([1, 8], True), ([0, 5], False), ([5, 9], False), ([-3], False), ([12], False)):
        assert lie_between(np.array(values, np.int64), 0, 9) == fits, values


def test_a_watermark_never_goes_back() -> None:
    ts_ns = np.array([50, 30, 70, 69, 90], np.int64)
    for before, expected in ((0, [45, 45, 65, 65, 85]), (66, [66, 66, 66, 66, 85])):
        out = np.empty(5, np.int64)
        assert watermarks(ts_ns, 5, before, out) == expected[-1]
        assert out.tolist() == expected
    assert watermarks(ts_ns[:0], 5, 7, np.empty(0, np.int64)) == 7
