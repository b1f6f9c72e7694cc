"""Meters: plain counters and histograms that one worker thread writes and a scrape reads; no object an event."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from esp.kernels.origins import tally_ages
from esp.runtime.peer import Peer
from esp.runtime.state.progress import Restore, Transactions

# Upper bounds in seconds, five to the decade from 10 us to 10 s; and of batches in events.
SECONDS = (*(round(base * 10.0**power, 12) for power in range(-5, 1) for base in (1.0, 1.6, 2.5, 4.0, 6.3)), 10.0)
EVENTS = tuple(float(1 << power) for power in range(17))


class Histogram:
    """Counts by bucket, with the sum; ``bounds`` are upper bounds, the last bucket has none."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds, self.total = bounds, 0.0
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self._edges = np.asarray(bounds)

    def add(self, value: float, times: int = 1) -> None:
        """One value, as often as said."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def add_ages(self, stamps_ms: npt.NDArray[np.int64], now_ms: float) -> None:
        """How old stamps are, in seconds; 0 or less is none."""
        self.total += tally_ages(stamps_ms, now_ms, self._edges, self.counts)

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket that holds the given share of the values; 0 when there are none, infinity past the last bound."""
        if not (count := int(self.counts.sum())):
            return 0.0
        at = int(np.searchsorted(np.cumsum(self.counts), share * count))
        return self.bounds[at] if at < len(self.bounds) else math.inf


@dataclass(slots=True)
class WindowMeter:
    """What one window did: events in, out, late, dead, and the seconds that its blocks took."""

    kind: str
    events_in: int = 0
    events_out: int = 0
    events_late: int = 0
    events_dead: int = 0
    seconds: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class QueryMeter:
    """What one query did, window by window, and how long events took through it."""

    windows: dict[str, WindowMeter]
    latency: Histogram = field(default_factory=Histogram)  # now less the record's time stamp, when its outputs go to the sinks
    queue: Histogram = field(default_factory=Histogram)  # from the fetch to the worker
    batch: Histogram = field(default_factory=lambda: Histogram(EVENTS))
    lag: dict[str, dict[int, int]] = field(default_factory=dict)  # source -> partition -> events
    state_size_bytes: int = 0
    peers: dict[str, Peer] = field(default_factory=dict)  # by the window whose connector it is
    restores: dict[tuple[str, int], Restore] = field(default_factory=dict)  # (source, partition) -> how far its state is back
    transactions: dict[str, Transactions] = field(default_factory=dict)  # by source
    behind: Callable[[], Mapping[str, int]] = dict  # score window -> partitions that came from a newer model

    @property
    def is_restoring(self) -> bool:
        """Whether some task's state is not there yet."""
        return not all(restore.is_done for restore in list(self.restores.values()))

    assigned: dict[str, int] = field(default_factory=lambda: {"kept": 0, "restored": 0})  # partitions that came
    revoked: dict[str, int] = field(default_factory=lambda: {"saved": 0, "unsaved": 0})  # partitions that were given up
    handover: Histogram = field(default_factory=Histogram)  # giving partitions up
