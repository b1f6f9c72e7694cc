"""A scorer binds an astore to one backend: event columns in, score columns out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array, Graph
from esp.astore.model import Astore, Input
from esp.astore.validation import flops
from esp.errors import BackendError
from esp.kernels.lanes import HAS_FMA
from esp.runtime.backends import Bound, bind
from esp.runtime.backends.intake import Intake, Taken, lift
from esp.runtime.drift import Drift
from esp.runtime.events import Bools, Column, VarColumn

AUTO_FLOPS = 200_000_000  # an event; above it the weights leave the caches, and ``auto`` takes onnxruntime
WARM_SIZES = (1, 2, 7, 64)
BLACK_PIXEL = b"P6 1 1 255 " + bytes(3)  # the smallest image file, a PPM

log = logging.getLogger(__name__)


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

    def __init__(self, astore: Astore, backend: str, bound: Bound, max_batch: int) -> None:
        self.astore, self.digest, self.backend = astore, astore.digest, backend
        self.bound, self.max_batch = bound, max_batch
        is_lifted = backend == "numba"
        self.drifts = [Drift(item) for item in astore.inputs]
        self.intakes = [Intake(item, value.dtype, is_lifted) for item, value in zip(astore.inputs, astore.graph.inputs)]

    @classmethod
    def bind(cls, astore: Astore, backend: str = "auto", max_batch: int = 1024) -> "Scorer":
        """Binds an astore; BackendError when the backend asked for cannot take its graph.

        ``auto`` takes numba where a plan can express the graph and an event costs at most AUTO_FLOPS, else onnxruntime, else
        numpy; always the same for one model on one machine.
        """
        if backend != "auto":
            return cls(astore, backend, _bind(astore, backend, max_batch), max_batch)
        count = flops(astore.graph)
        choices = ("numba", "onnxruntime", "numpy") if count <= AUTO_FLOPS and HAS_FMA else ("onnxruntime", "numba", "numpy")
        for choice in choices:
            try:
                bound = _bind(astore, choice, max_batch)
            except BackendError as err:
                log.warning("model %s: %s; trying the next backend", astore.name, err.what)
                continue
            log.info("model %s (%s): backend %s, %d FLOPs an event", astore.name, astore.short_digest, choice, count)
            return cls(astore, choice, bound, max_batch)
        raise BackendError(f"no backend can take the graph of '{astore.name}'", mend="see the warnings before this line")

    def score(self, columns: Sequence[Column], validity: Sequence[Bools | None]) -> Scores:
        """Scores n rows: ``columns[i]`` and ``validity[i]`` are the event's columns for ``astore.inputs[i]``."""
        n = len(columns[0])
        for drift, column in zip(self.drifts, columns):
            drift.observe(column)
        taken = [intake.take(column, valid) for intake, column, valid in zip(self.intakes, columns, validity)]
        refused, reasons = _join(n, taken)
        arrays = [one.array for one in taken]
        if refused is None:
            return Scores(self._run(n, arrays))
        kept = np.flatnonzero(~refused)
        outputs = []
        for some in self._run(len(kept), [array[kept] for array in arrays]):
            full = np.zeros((n, *some.shape[1:]), some.dtype)
            full[kept] = some
            outputs.append(full)
        return Scores(tuple(outputs), refused, reasons)

    def warm(self) -> None:
        """Scores events of zeros at several batch sizes: the first event pays for nothing, and what fails does so now."""
        for size in WARM_SIZES:
            if size <= self.max_batch:
                self.score([_zeros(item, size) for item in self.astore.inputs], [None] * len(self.astore.inputs))
        self.drifts = [Drift(item) for item in self.astore.inputs]  # these were no events

    def _run(self, n: int, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """The outputs of n rows, ``max_batch`` at a time."""
        if 0 < n <= self.max_batch:
            return self.bound.run(arrays)
        if not n:
            return tuple(np.zeros((0, *output.shape), output.dtype) for output in self.astore.outputs)
        cuts = range(0, n, self.max_batch)
        parts = [self.bound.run([array[at : at + self.max_batch] for array in arrays]) for at in cuts]
        return tuple(np.concatenate(column) for column in zip(*parts))


def _zeros(item: Input, n: int) -> Column:
    """A column of n events as an input takes them: zeros, or image files of one black pixel."""
    if item.dtype == "blob":
        return VarColumn.of([BLACK_PIXEL] * n)
    return np.zeros((n, *item.shape), item.dtype)


def _bind(astore: Astore, backend: str, max_batch: int) -> Bound:
    graph: Graph = lift(astore) if backend == "numba" else astore.graph
    try:
        return bind(backend, graph, max_batch)
    except BackendError as err:
        where = f"model '{astore.name}'" + (f": {err.where}" if err.where else "")
        raise BackendError(err.what, where=where, mend=err.mend) from err


def _join(n: int, taken: Sequence[Taken]) -> tuple[Bools | None, tuple[str, ...]]:
    """The rows that any input refuses, and the reason of the first that does."""
    refusing = [one for one in taken if one.refused is not None]
    if len(refusing) < 2:
        return (refusing[0].refused, refusing[0].reasons) if refusing else (None, ())
    reasons: dict[int, str] = {}
    for one in refusing:
        rows = np.flatnonzero(one.refused) if one.refused is not None else ()
        for row, reason in zip(rows, one.reasons):
            reasons.setdefault(int(row), reason)
    refused = np.zeros(n, np.bool_)
    refused[list(reasons)] = True
    return refused, tuple(reasons[row] for row in sorted(reasons))
