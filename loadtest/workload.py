"""The workloads: a pool of rows, the event that carries each, and what numpy makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest import events
from loadtest.events import F32, Pack, Readings, Rows
from loadtest.plan import I64


@dataclass(frozen=True, slots=True)
class Format:
    """How events are written, how outputs are read, and whether the camera is the record's key."""

    pack: Callable[[Rows], Pack]
    read: Callable[[Sequence[bytes], int], Readings]
    has_key: bool = False


_ARRAYS = Format(events.pack_arrays, events.read_arrays)
FORMATS: Mapping[str, Format] = {
    "sensor": _ARRAYS,
    "crayfish-raw": _ARRAYS,
    "crayfish": Format(events.pack_crayfish, events.read_crayfish),
    "digits": Format(events.pack_digits, events.read_digits, has_key=True),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """Event n carries row ``n % len(rows)``; ``expected`` float32[rows, k] is what numpy makes of each row.

    ``truth`` is what a row shows (digits), empty where nobody knows. ``source`` is the short name of the topic of its events.
    """

    name: str
    rows: Rows
    expected: F32
    truth: I64
    source: str = "events"

    @property
    def about(self) -> str:
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
        return events.camera_name(camera).encode() if FORMATS[self.name].has_key else None

    def read(self, values: Sequence[bytes]) -> Readings:
        """Number and scores of outputs, or of events passed on unread."""
        if not values:
            return np.zeros(0, np.int64), np.zeros((0, self.expected.shape[1]), np.float32)
        return FORMATS[self.name].read(values, self.expected.shape[1])
