"""Drift: how far the recent values of a model's inputs have moved from those that it was trained on."""

import numpy as np

from esp.astore.model import Input, check_statistics
from esp.kernels.intake import tally
from esp.runtime.events import Column

SAMPLE_ROWS = 64  # of a block, at most
EVERY_BLOCKS = 8
MEMORY_ROWS = 4096  # rows that the recent mean stands for; older ones count half, then a quarter, ...


class Drift:
    """Follows the mean of each channel of one input over a sample of its blocks; GraphError for statistics that cannot be."""

    def __init__(self, item: Input) -> None:
        self.name = item.name
        check_statistics(item, f"input {item.name!r}")
        known = item.statistics if {"mean", "std"} <= item.statistics.keys() else {"mean": (), "std": ()}
        self.mean, self.std = np.asarray(known["mean"], np.float64), np.asarray(known["std"], np.float64)
        self.blocks, self.rows = 0, 0
        self.count, self.total = np.zeros_like(self.mean), np.zeros_like(self.mean)

    def observe(self, column: Column) -> None:
        """Looks at the first rows of every few blocks; blobs and inputs without mean or std are passed over."""
        self.blocks += 1
        if self.blocks % EVERY_BLOCKS != 1 or not isinstance(column, np.ndarray) or not len(self.mean) or not len(column):
            return
        if self.rows >= MEMORY_ROWS:
            self.rows //= 2
            self.count *= 0.5
            self.total *= 0.5
        self.rows += min(len(column), SAMPLE_ROWS)
        tally(np.ascontiguousarray(column[:SAMPLE_ROWS]).ravel(), self.count, self.total)

    def shifts(self) -> list[float]:
        """For each channel the distance of the recent mean from the training data's, in its standard deviations; [] before the first event."""
        if not self.rows:
            return []
        recent = np.divide(self.total, self.count, out=self.mean.copy(), where=self.count > 0)
        shift: list[float] = (np.abs(recent - self.mean) / np.where(self.std > 0, self.std, 1.0)).tolist()
        return shift
