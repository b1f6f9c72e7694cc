"""What the analyser counts and computes, on data made by hand."""

import numpy as np
import pytest

from loadtest.analysis import accuracy, after_warm_up, latencies, quantiles, sustained, tally, wrong


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_an_event_that_never_came_is_lost_and_one_that_came_twice_is_doubled() -> None:
    found = tally(5, ints(0, 2, 2, 2, 4, 0))
    assert (found.lost, found.doubled, found.unknown) == (2, 3, 0)  # 1 and 3 never; 0 once and 2 twice too often
    assert not found.is_clean


def test_a_number_that_nobody_sent_is_unknown() -> None:
    found = tally(2, ints(0, 1, 7, -1))
    assert (found.lost, found.doubled, found.unknown) == (0, 0, 2)


def test_what_is_not_due_is_unknown_where_it_comes_and_not_lost_where_it_does_not() -> None:
    found = tally(4, ints(0, 1, 1), np.array([True, False, True, False]))
    assert (found.sent, found.lost, found.doubled, found.unknown) == (2, 1, 0, 2)


def test_a_run_in_which_each_event_came_once_is_clean() -> None:
    assert tally(3, ints(2, 0, 1)).is_clean


def test_nothing_received_is_everything_lost() -> None:
    assert tally(4, ints()).lost == 4


def test_scores_that_are_missing_or_not_those_of_the_row_are_wrong() -> None:
    expected = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)  # even numbers carry the first row, odd ones the second
    right = expected[[0, 1, 0, 1]]
    assert wrong(ints(0, 1, 2, 3), right, expected) == 0
    assert wrong(ints(0, 1, 2, 3), right + np.float32(1e-6), expected) == 0
    assert wrong(ints(1, 0, 3, 2), right, expected) == 4
    right[2, 1] = np.nan
    right[3, 0] = 0.51
    assert wrong(ints(0, 1, 2, 3), right, expected) == 2


def test_accuracy_is_the_share_of_labels_that_are_what_the_image_shows() -> None:
    truth = ints(3, 5)
    assert accuracy(ints(0, 1, 2, 3), ints(3, 5, 3, 9), truth) == 0.75
    assert accuracy(ints(0), ints(3), ints()) is None


def test_latency_counts_from_the_planned_time_and_drops_the_first_quarter() -> None:
    planned, number, at = ints(100, 200, 300, 400), ints(3, 0, 2, 1), ints(450, 900, 360, 210)
    assert latencies(planned, number, at).tolist() == [10.0, 60.0, 50.0]  # events 1, 2, 3


def test_latency_of_a_doubled_event_is_that_of_its_first_arrival_and_a_lost_one_has_none() -> None:
    planned, number, at = ints(0, 0, 0, 0), ints(1, 1, 3), ints(80, 20, 40)
    assert latencies(planned, number, at).tolist() == [20.0, 40.0]


def test_quantiles_are_values_that_were_measured() -> None:
    found = quantiles(np.arange(1.0, 1001.0)[::-1])
    assert found == {"p50": 500.0, "p90": 900.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0}
    assert quantiles(np.array([])) is None


def test_events_a_second_are_counted_between_the_first_and_last_arrival_after_the_warm_up() -> None:
    at_ms = ints(9_000, 0, 1_000, 500, 2_000, 3_000, 4_000, 5_000)
    kept = after_warm_up(at_ms)
    assert kept.tolist() == [1_000, 2_000, 3_000, 4_000, 5_000, 9_000]
    assert sustained(kept / 1e3) == pytest.approx(5 / 8)


def test_a_batch_that_came_with_the_first_moment_was_made_before_it() -> None:
    assert sustained(np.array([1.0, 1.0, 1.0, 2.0, 2.0, 3.0])) == pytest.approx(3 / 2)


def test_a_single_moment_has_no_rate() -> None:
    assert sustained(np.array([1.0, 1.0])) == 0.0
    assert sustained(np.array([])) == 0.0
