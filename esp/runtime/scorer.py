"""A scorer binds an astore to one backend: event columns in, score columns out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array
from esp.astore.model import Astore
from esp.runtime.events import Bools, Column

@dataclass(frozen=True, slots=True)
class Scores:
    """The outputs of n rows of events, in the order of ``astore.outputs``.

    ``refused`` marks the rows that the missing policy turns away (their outputs are zeros), with one of ``reasons`` each,
    in row order; None when there are none.
    """

    outputs: tuple[Array, ...]
    refused: Bools | None = None
    reasons: tuple[str, ...] = ()


class Scorer:
    """An astore bound to one backend, for good: a score never depends on the batch it travelled in."""

    def __init__(self, astore: Astore, backend: str, max_batch: int) -> None:
        self.astore, self.digest, self.backend, self.max_batch = astore, astore.digest, backend, max_batch

    @classmethod
    def bind(cls, astore: Astore, backend: str = "auto", max_batch: int = 1024) -> "Scorer":
        """Binds an astore; BackendError when the backend asked for cannot take its graph."""
        return cls(astore, backend, max_batch)

    def score(self, columns: Sequence[Column], validity: Sequence[Bools | None]) -> Scores:
        """Scores n rows: ``columns[i]`` and ``validity[i]`` are the event's columns for ``astore.inputs[i]``."""
        n = len(columns[0])
        return Scores(tuple(np.zeros((n, *output.shape), output.dtype) for output in self.astore.outputs))

    def warm(self) -> None:
        """Scores a few rows of zeros at several batch sizes, so that the first event pays for nothing."""
