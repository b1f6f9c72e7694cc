"""Send times are fixed before the first event leaves."""

import numpy as np
import pytest

from loadtest.plan import Load, due, send_times


def test_events_are_planned_evenly_from_the_start() -> None:
    planned = send_times(Load(5, 4.0), 1_000)
    assert planned.tolist() == [1_000, 250_001_000, 500_001_000, 750_001_000, 1_000_001_000]


def test_a_rate_that_does_not_divide_a_nanosecond_drifts_by_no_more_than_one() -> None:
    planned = send_times(Load(3_000_000, 30_000.0), 0)
    assert planned[2_999_999] == 99_999_966_667  # 2,999,999 / 30,000 s by hand
    steps = np.diff(planned)
    assert set(steps.tolist()) == {33_333, 33_334}


def test_all_events_up_to_now_are_due_and_none_after() -> None:
    planned = np.array([10, 20, 30, 40], np.int64)
    assert due(planned, 0, 9) == 0
    assert due(planned, 0, 20) == 2
    assert due(planned, 2, 29) == 2
    assert due(planned, 1, 1_000) == 4


def test_a_camera_stays_in_one_partition_and_partitions_are_equally_full() -> None:
    load = Load(640, 10.0, cameras=64, partitions=4)
    by_camera: dict[int, set[int]] = {}
    for event in range(load.events):
        by_camera.setdefault(load.camera(event), set()).add(load.partition(event))
    assert all(len(partitions) == 1 for partitions in by_camera.values())
    assert np.bincount([load.partition(event) for event in range(load.events)]).tolist() == [160, 160, 160, 160]


@pytest.mark.parametrize(
    ("events", "rate", "partitions"), [(0, 1.0, 1), (30_000_000, 1.0, 1), (10, 0.0, 1), (10, 0.001, 1), (10, 1.0, 0), (10, 1.0, 65)]
)
def test_a_load_without_bounds_is_refused(events: int, rate: float, partitions: int) -> None:
    with pytest.raises(ValueError):
        Load(events, rate, partitions=partitions)


@pytest.mark.parametrize("linger_ms", [-1.0, float("nan"), 1e6])
def test_a_linger_that_no_producer_takes_is_refused(linger_ms: float) -> None:
    with pytest.raises(ValueError, match="linger"):
        Load(10, 1.0, linger_ms=linger_ms)


def test_a_filled_topic_has_no_planned_times() -> None:
    assert Load(10, None).seconds == 0
    with pytest.raises(ValueError):
        send_times(Load(10, None), 0)
