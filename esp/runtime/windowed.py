"""Scoring windows of a series: incrementally, only what the new events change, where the network and its backend allow it."""

import numpy as np

from esp.astore.graph import Array
from esp.astore.model import Astore
from esp.astore.ops.rules import size_of
from esp.errors import BackendError
from esp.kernels.lanes import HAS_FMA
from esp.runtime.backends.bars import find_bars
from esp.runtime.backends.choice import Chooser
from esp.runtime.backends.intake import lift, split_steps
from esp.runtime.backends.sliding import Sliding, slide
from esp.runtime.events import I64
from esp.runtime.scorer import Scorer, Scores, whole
from esp.runtime.stateful import OF_CHANNELS

__all__ = ["Sliding", "WindowScorer"]


class WindowScorer(Scorer):
    """A model bound for windows of its one input, [length, channels], that move by ``hop`` events of a key.

    ``ready`` scores them incrementally; None where they are scored whole, and ``why`` says for what reason.
    """

    def __init__(self, scorer: Scorer, hop: int, ready: Sliding | None, why: str) -> None:
        super().__init__(scorer.astore, scorer.backend, scorer.bound, scorer.max_batch, scorer.threads)
        self.hop, self.way = hop, "windows incrementally" if ready else f"whole windows ({why})"
        self.ready, self.steps = ready, ready.steps if ready else None
        intake, channels = self.intakes[0], size_of((None, *scorer.astore.inputs[0].shape[1:]))
        self.is_plain = intake.is_plain
        self.new = 0 if intake.passes_nan else hop * channels  # numbers of a window to look at for NaN

    @classmethod
    def bind(
        cls,
        astore: Astore,
        backend: str = "auto",
        max_batch: int = 1024,
        chooser: Chooser | None = None,
        threads: int = 1,
        hop: int = 1,
    ) -> "WindowScorer":
        """Binds a model; ``auto`` takes numba where that scores windows incrementally, for whole ones are no measure of it."""
        ready, why = _sliding(astore, backend, max_batch, hop)
        return cls(Scorer.bind(astore, "numba" if ready else backend, max_batch, chooser, threads), hop, ready, why)

    def sliding(self) -> Sliding | None:
        """What scores incrementally and remembers nothing yet, one for each task: rows of two tables are not to be confused."""
        if self.steps is None:
            return None
        ready, self.ready = self.ready, None
        return ready or Sliding(self.steps, self.hop, self.max_batch)

    def score_windows(self, windows: Array, rows: I64, counts: I64, by: Sliding | None) -> Scores:
        """Scores windows[m, length, channels] of keys by their row, ``counts`` events of the key up to each, incrementally ``by``."""
        if by is None or not len(rows):
            return self.score([windows], [None])
        self.drifts[0].observe(windows)
        if self.is_plain:
            outputs = by.score_sound(windows, rows, counts, self.new)
            if outputs is not None:
                return Scores(outputs)
        if len(rows) <= self.max_batch:
            return self._slide(windows, rows, counts, by)
        cuts = [slice(first, first + self.max_batch) for first in range(0, len(rows), self.max_batch)]
        return whole([self._slide(windows[some], rows[some], counts[some], by) for some in cuts])

    def _slide(self, windows: Array, rows: I64, counts: I64, by: Sliding) -> Scores:
        taken = self.intakes[0].take(windows, None)
        sound = counts if taken.refused is None else np.where(taken.refused, -1, counts)
        return Scores(by.score(taken.array, rows, sound), taken.refused, taken.reasons)


def _sliding(astore: Astore, backend: str, max_batch: int, hop: int) -> tuple[Sliding | None, str]:
    """What scores windows of a model incrementally, or None and the reason."""
    if backend not in ("auto", "numba"):
        return None, f"on {backend} always"
    if not HAS_FMA:
        return None, "the CPU has no FMA"
    (item,) = astore.inputs
    for step in split_steps(item.steps)[0]:
        if step.op not in OF_CHANNELS:
            return None, f"its preprocessing has '{step.op}' before its numbers are ready"
    if find_bars(astore.graph):
        return None, "its numbers name rows of a table"
    try:
        return slide(lift(astore), item.shape[0], hop, max_batch), ""
    except BackendError as err:
        return None, f"{err.where}: {err.what}" if err.where else err.what
