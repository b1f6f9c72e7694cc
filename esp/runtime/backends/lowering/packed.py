"""Weights that are packed when the plan is put together, straight to their place: until then they are the graph's own."""

from dataclasses import dataclass
from math import prod

import numpy as np

from esp.astore.graph import Array
from esp.kernels.dense import pack_into, padded


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A constant of a row: the panels of ``weights``, whose axes before the last are k's (a view, mostly)."""

    weights: Array

    @property
    def nbytes(self) -> int:
        *lead, columns = self.weights.shape
        return 4 * prod(lead) * padded(columns)

    def write(self, memory: Array) -> None:
        """Packs into as many zeroed bytes."""
        pack_into(memory.view(np.float32), self.weights)
