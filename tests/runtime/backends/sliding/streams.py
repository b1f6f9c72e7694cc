"""Streams of events of several keys, cut into windows as a sequence does it: some calls bring a key several times, some keys miss events."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class Streams:
    """``calls`` batches of windows of ``keys`` keys in random order; one window in ``gap`` (0: none) is left out."""

    length: int
    hop: int
    shape: tuple[int, ...]
    keys: int = 4
    gap: int = 40
    calls: int = 8
    seed: int = 1
    windows: dict[int, int] = field(default_factory=dict)  # key -> windows so far

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.float32], I64, I64]]:
        rng = np.random.default_rng(self.seed)
        events = rng.standard_normal((self.keys, self.length + 400 * self.hop, *self.shape)).astype(np.float32)
        for _ in range(self.calls):
            rows = rng.integers(0, self.keys, int(rng.integers(1, 40))).astype(np.int64)
            starts = []
            for row in rows.tolist():
                self.windows[row] = self.windows.get(row, 0) + (1 if self.gap and rng.integers(0, self.gap) == 0 else 0)
                starts.append(self.hop * self.windows[row])
                self.windows[row] += 1
            cut = np.stack([events[row, start : start + self.length] for row, start in zip(rows, starts)])
            yield cut, rows, np.array(starts, np.int64) + self.length
