"""What is sent and when: a load bounded in events and seconds, and send times that are fixed before the first event leaves."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
MAX_EVENTS, MAX_SECONDS = 20_000_000, 3600.0
MAX_LINGER_MS = 900_000.0  # of librdkafka


@dataclass(frozen=True, slots=True)
class Load:
    """How a topic is loaded: ``events`` at ``rate`` a second; a rate of None fills the topic as fast as it goes."""

    events: int
    rate: float | None
    cameras: int = 64
    partitions: int = 4
    linger_ms: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.events <= MAX_EVENTS:
            raise ValueError(f"{self.events:,} events: between 1 and {MAX_EVENTS:,} are allowed")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ValueError(f"a rate of {self.rate:g} events/s: it must be above 0")
        if self.seconds > MAX_SECONDS:
            raise ValueError(f"{self.seconds:,.0f} s: at most {MAX_SECONDS:,.0f} s are allowed")
        if self.partitions < 1 or self.cameras < self.partitions:
            raise ValueError(f"{self.partitions} partitions: between 1 and {self.cameras}, the number of cameras, are allowed")
        if not 0 <= self.linger_ms <= MAX_LINGER_MS:
            raise ValueError(f"a linger of {self.linger_ms:g} ms: between 0 and {MAX_LINGER_MS:,.0f} are allowed")

    @property
    def seconds(self) -> float:
        """How long sending is planned to take; 0 when a topic is filled."""
        return 0.0 if self.rate is None else self.events / self.rate

    def camera(self, event: int) -> int:
        return event % self.cameras

    def partition(self, event: int) -> int:
        """A camera stays in one partition, and the partitions are equally full."""
        return self.camera(event) % self.partitions


def send_times(load: Load, start_ns: int) -> I64:
    """The planned time of each event in ns, evenly spaced and without a drift that adds up: event i leaves at start + i / rate."""
    if load.rate is None:
        raise ValueError("a topic that is filled has no planned times")
    return start_ns + np.rint(np.arange(load.events) * (1e9 / load.rate)).astype(np.int64)


def due(planned: I64, sent: int, now_ns: int) -> int:
    """How many of the planned events should have left by now, given that ``sent`` have."""
    return sent + int(np.searchsorted(planned[sent:], now_ns, side="right"))
