"""The arithmetic of a load test: what was lost, doubled or wrong, quantiles without the warm-up, sustained events/s."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtest.events import F32
from loadtest.plan import I64

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
WARM_UP = 0.25  # the share of a run that is dropped
TOLERANCE = 1e-4  # between the scores of two runtimes that add in another order


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each event came out: never, or more than once (``doubled`` counts the surplus), or under a number nobody sent."""

    sent: int
    lost: int
    doubled: int
    unknown: int

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.unknown)


def tally(sent: int, number: I64, is_due: npt.NDArray[np.bool_] | None = None) -> Tally:
    """Counts 0 to ``sent`` - 1 in the numbers that came out; of those that are not due (all are, if left out) none should."""
    due = np.ones(sent, np.bool_) if is_due is None else is_due
    is_known = (number >= 0) & (number < sent)
    is_known[is_known] = due[number[is_known]]
    seen = np.bincount(number[is_known], minlength=sent)
    return Tally(int(due.sum()), int((seen[due] == 0).sum()), int(np.maximum(seen - 1, 0).sum()), int((~is_known).sum()))


def wrong(number: I64, scores: F32, expected: F32) -> int:
    """Outputs whose scores are not those that the row of their event should have: ``expected`` float32[rows, k], event n has row n % rows."""
    right = np.isclose(scores, expected[number % len(expected)], rtol=1e-3, atol=TOLERANCE).all(1)
    return int((~right).sum())


def accuracy(number: I64, label: F32, truth: I64) -> float | None:
    """The share of events whose label is what the image shows; None where nobody knows what it shows."""
    if not len(number) or not len(truth):
        return None
    return float((truth[number % len(truth)] == label).mean())


def latencies(planned: I64, number: I64, at: I64) -> npt.NDArray[np.float64]:
    """From the planned time of each event to its first arrival, without the quarter of the events that were planned first.

    ``planned`` and ``at`` count in one unit, which is also that of the result.
    """
    arrived = np.full(len(planned), np.iinfo(np.int64).max)
    is_known = (number >= 0) & (number < len(planned))
    np.minimum.at(arrived, number[is_known], at[is_known])
    kept = np.arange(len(planned)) >= int(len(planned) * WARM_UP)
    kept &= arrived != np.iinfo(np.int64).max
    return (arrived[kept] - planned[kept]).astype(np.float64)


def quantiles(values: npt.NDArray[np.float64]) -> dict[str, float] | None:
    """p50 to max, each a value that was measured (the smallest that so large a share does not exceed); None without values."""
    if not len(values):
        return None
    found = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, (float(value) for value in found)))


def after_warm_up(at: I64) -> I64:
    """The times of arrival, in order, without the first quarter of them."""
    return np.sort(at)[int(len(at) * WARM_UP) :]


def sustained(at_s: npt.NDArray[np.float64]) -> float:
    """Events/s over times of arrival that are in order; 0 where there is no span to divide by."""
    span = float(at_s[-1] - at_s[0]) if len(at_s) > 1 else 0.0
    return after_first(at_s) / span if span > 0 else 0.0


def after_first(at: npt.NDArray[Any]) -> int:
    """How many came later than the first: those that came with it, as a batch, were made before."""
    return len(at) - int(np.searchsorted(at, at[0], side="right"))
