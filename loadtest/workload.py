"""The workloads: a pool of rows, the event that carries each, and what numpy makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest import events, series
from loadtest.events import F32, Pack, Readings, Rows
from loadtest.plan import I64, Load


@dataclass(frozen=True, slots=True)
class Format:
    """How events are written, how outputs are read, the name of a camera where it is the record's key.

    ``causes`` gives of a number of events in so many partitions which one brings out each output (-1 = none does); in the long run there is
    one output to ``events_per_output``.
    """

    pack: Callable[[Rows], Pack]
    read: Callable[[Sequence[bytes], int], Readings]
    key: Callable[[int], str] | None = None
    causes: Callable[[int, int], I64] = series.each_event
    events_per_output: int = 1


_ARRAYS = Format(events.pack_arrays, events.read_arrays)
FORMATS: Mapping[str, Format] = {
    "sensor": _ARRAYS,
    "crayfish-raw": _ARRAYS,
    "crayfish": Format(events.pack_crayfish, events.read_crayfish),
    "digits": Format(events.pack_digits, events.read_digits, events.camera_name),
    "imu": Format(series.pack_motion, series.read_motion, series.device_name, series.causes_of_motion, series.HOP),
    "aggregate": Format(
        series.pack_values, series.read_tallies, series.device_name, series.causes_of_tallies, series.SIZE_MS // series.BLOCK_MS
    ),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """Event n carries row ``n % len(rows)``; output n is to hold row ``n % len(expected)`` of ``expected`` float32[m, k], by numpy.

    ``truth`` is what a row shows (digits), empty where nobody knows. ``source`` is the short name of the topic of its events.
    """

    name: str
    rows: Rows
    expected: F32
    truth: I64
    source: str = "events"

    @property
    def about(self) -> str:
        if self.name in ("imu", "aggregate"):
            return f"readings of {series.DEVICES} devices"
        if self.name != "digits":
            return f"{self.rows.shape[1]} random floats"
        return "held-out digits" if len(self.truth) else "random images"

    @property
    def event_bytes(self) -> int:
        return len(self.packer()(0, 1, 1_700_000_000_000_000_000))

    def packer(self) -> Pack:
        """A function that makes the bytes of an event: of a camera, with a number, at a time in ns."""
        return FORMATS[self.name].pack(self.rows)

    def key(self, camera: int) -> bytes | None:
        name = FORMATS[self.name].key
        return name(camera).encode() if name is not None else None

    def causes(self, load: Load, is_scored: bool) -> I64:
        """The event that brings out each output, -1 where none does; unscored each event is passed on."""
        causes = FORMATS[self.name].causes if is_scored else series.each_event
        return causes(load.events, load.partitions)

    def events_per_output(self, is_scored: bool) -> int:
        return FORMATS[self.name].events_per_output if is_scored else 1

    def read(self, values: Sequence[bytes]) -> Readings:
        """Number and scores of outputs, or of events passed on unread."""
        if not values:
            return np.zeros(0, np.int64), np.zeros((0, self.expected.shape[1]), np.float32)
        return FORMATS[self.name].read(values, self.expected.shape[1])
