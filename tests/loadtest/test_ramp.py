"""The ramp finds the highest rate that a party holds."""

from typing import Any

import pytest

from loadtest.plan import Load
from loadtest.ramp import CLOSE, highest, step_of


def figures(rate: float, capacity: float, late: float = 0.0) -> dict[str, Any]:
    """What is seen of a party that takes ``capacity`` events a second."""
    return {
        "lost": 0, "events_per_s": min(rate, capacity), "latency_ms": {"p99": 5.0 if rate <= capacity else 4000.0},
        "generator_late_ms": {"p99": late}, "rate": rate,
    }  # fmt: skip


@pytest.mark.parametrize("capacity", [70.0, 1_000.0, 1_300.0, 53_000.0])
def test_the_highest_rate_that_is_held_is_found_from_below_and_from_above(capacity: float) -> None:
    best, steps = highest(Load(2000, 1000.0), 1e6, lambda load, at: figures(load.rate or 0, capacity))
    assert capacity / CLOSE <= best["rate"] <= capacity
    assert len(steps) < 14


def test_a_ramp_ends_at_the_most_that_is_asked_for() -> None:
    best, steps = highest(Load(100, 100.0), 500.0, lambda load, at: figures(load.rate or 0, 1e9))
    assert best["rate"] == 500.0
    assert [step.rate for step in steps] == [100.0, 200.0, 400.0, 500.0]


def test_a_ramp_ends_where_the_generator_is_the_one_that_is_late() -> None:
    def meet(load: Load, at: int) -> dict[str, Any]:
        return figures(load.rate or 0, 300.0, late=900.0 if (load.rate or 0) > 300 else 0.0)

    best, steps = highest(Load(100, 100.0), 1e6, meet)
    assert (best["rate"], steps[-1].rate, steps[-1].is_load_late) == (200.0, 400.0, True)


def test_each_step_sends_for_as_long_as_the_first() -> None:
    seconds: list[float] = []

    def meet(load: Load, at: int) -> dict[str, Any]:
        assert at == len(seconds)
        seconds.append(load.seconds)
        return figures(load.rate or 0, 500.0)

    highest(Load(300, 100.0), 1e6, meet)
    assert seconds == pytest.approx([3.0] * len(seconds), rel=0.01)


@pytest.mark.parametrize("fault", [{"lost": 1}, {"events_per_s": 900.0}, {"latency_ms": {"p99": 1500.0}}, {"latency_ms": None}])
def test_a_rate_is_not_held_when_events_are_lost_or_late_or_too_few(fault: dict[str, Any]) -> None:
    assert step_of(1000.0, figures(1000.0, 2000.0)).is_held
    assert not step_of(1000.0, figures(1000.0, 2000.0) | fault).is_held
