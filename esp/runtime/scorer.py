"""A scorer binds an astore to one backend: event columns in, score columns out."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from esp.astore.graph import Array, Graph
from esp.astore.model import Astore, Input
from esp.astore.ops.rules import size_of
from esp.astore.preprocess import Prepared
from esp.astore.validation import flops, validate
from esp.errors import BackendError
from esp.kernels.lanes import HAS_FMA
from esp.runtime.backends import Bound, bind, choice
from esp.runtime.backends.bars import Bar, find_bars, refused_by
from esp.runtime.backends.choice import Case, Choice, Chooser
from esp.runtime.backends.cores import threads_of
from esp.runtime.backends.intake import Intake, lift
from esp.runtime.drift import Drift
from esp.runtime.events import Bools, Column, VarColumn

MEASURED_FLOPS = 20 * 10**9  # an event; a few calls of more would outlast the measuring, and ``auto`` takes onnxruntime
MOST_FLOPS = 10**13  # an event; minutes of work: no model of a stream, but a file may hold one
WARM_SIZES = (1, 2, 7, 64)
BATCH_NUMBERS = 1 << 28  # of one tensor of a batch: a model of wide rows gets fewer rows at once, not all of the memory
BLACK_PIXEL = b"P6 1 1 255 " + bytes(3)  # the smallest image file, a PPM

log = logging.getLogger("esp.models")


class Scores(NamedTuple):
    """The outputs of n rows of events, in the order of ``astore.outputs``.

    ``refused`` marks the rows that the missing policy turns away (their outputs are zeros), with one of ``reasons`` each,
    in row order; None when there are none.
    """

    outputs: tuple[Array, ...]
    refused: Bools | None = None
    reasons: tuple[str, ...] = ()


class Scorer:
    """An astore bound to one backend, for good: a score never depends on the batch it travelled in."""

    def __init__(self, astore: Astore, backend: str, bound: Bound, max_batch: int, threads: int = 1) -> None:
        self.astore, self.digest, self.backend = astore, astore.digest, backend
        self.bound, self.max_batch, self.threads = bound, max_batch, threads
        self.way = ""  # how it goes along the stream, where it does not score events one by one
        is_lifted = backend == "numba"
        self.drifts = [Drift(item) for item in astore.inputs]
        self.intakes = [Intake(item, value.dtype, is_lifted) for item, value in zip(astore.inputs, astore.graph.inputs)]

    @classmethod
    def bind(
        cls, astore: Astore, backend: str = "auto", max_batch: int = 1024, chooser: Chooser | None = None, threads: int = 1
    ) -> "Scorer":  # fmt: skip
        """Binds an astore; BackendError when the backend asked for cannot take its graph.

        It scores ``max_batch`` rows at a time, or as many as BATCH_NUMBERS allows, on so many ``threads`` where a batch is large
        enough (0: as many as the cores that the process may use, but one).

        ``auto`` takes the backend that ``chooser`` remembers for the model, else it measures numba beside onnxruntime. What only
        one can take is left to that one, what neither can to numpy; without FMA, or above MEASURED_FLOPS, onnxruntime comes first.
        """
        max_batch, threads = max(1, min(max_batch, BATCH_NUMBERS // _widest(astore))), threads_of(threads)
        count = flops(astore.graph)
        if count > MOST_FLOPS:
            what = f"an event costs {count:.1e} FLOPs, at most {MOST_FLOPS:.0e} are scored"
            raise BackendError(what, where=f"model '{astore.name}'", mend="use a smaller model")
        if backend != "auto":
            return cls(astore, backend, _bind(astore, backend, max_batch, threads), max_batch, threads)
        if HAS_FMA and count <= MEASURED_FLOPS:
            return _faster(astore, max_batch, threads, chooser or choice.CHOOSER)
        return _first(astore, ("onnxruntime", "numba", "numpy"), max_batch, threads)

    def score(self, columns: Sequence[Column], validity: Sequence[Bools | None]) -> Scores:
        """Scores n rows: ``columns[i]`` and ``validity[i]`` are the event's columns for ``astore.inputs[i]``."""
        n = len(columns[0])
        for drift, column in zip(self.drifts, columns):
            drift.observe(column)
        if n <= self.max_batch:
            return self._score(columns, validity)
        parts = [
            self._score(
                [_part(column, rows) for column in columns], [valid if valid is None else valid[rows] for valid in validity]
            )
            for rows in (slice(at, min(n, at + self.max_batch)) for at in range(0, n, self.max_batch))
        ]
        return whole(parts)

    def _score(self, columns: Sequence[Column], validity: Sequence[Bools | None]) -> Scores:
        """The scores of ``max_batch`` rows at most."""
        n = len(columns[0])
        arrays: list[Array] = []
        taken: list[Prepared] = []
        for intake, column, valid in zip(self.intakes, columns, validity):
            array = intake.whole(column, valid)
            if array is None:
                taken.append(intake.prepared(column, valid))
                array = taken[-1].array
            arrays.append(array)
        try:
            return self._kept(arrays, *join(n, taken)) if taken else Scores(self._run(n, arrays))
        except BackendError:
            beyond = refused_by(self.bars, arrays)
            if beyond is None:
                raise
            return self._kept(arrays, *join(n, [*taken, Prepared(arrays[0], *beyond)]))

    def _kept(self, arrays: Sequence[Array], refused: Bools | None, reasons: tuple[str, ...]) -> Scores:
        """The scores of the rows that are not refused; zeros for the others."""
        n = len(arrays[0])
        if refused is None:
            return Scores(self._run(n, arrays))
        kept = np.flatnonzero(~refused)
        return among_refused(self._run(len(kept), [array[kept] for array in arrays]), refused, reasons)

    @cached_property
    def bars(self) -> list[Bar]:
        """What whole numbers must lie within; asked for when a batch has failed."""
        return find_bars(self.astore.graph)

    def warm(self) -> None:
        """Scores events of zeros at several batch sizes: the first event pays for nothing, and what fails does so now."""
        for size in WARM_SIZES:
            if size <= self.max_batch:
                self.score([_zeros(item, size) for item in self.astore.inputs], [None] * len(self.astore.inputs))
        self.drifts = [Drift(item) for item in self.astore.inputs]  # these were no events

    def trial(self, size: int) -> Callable[[], object]:
        """What scores ``size`` events of zeros, at most ``max_batch``, again and again."""
        columns, validity = [_zeros(item, size) for item in self.astore.inputs], [None] * len(self.astore.inputs)
        return lambda: self._score(columns, validity)

    def _run(self, n: int, arrays: Sequence[Array]) -> tuple[Array, ...]:
        if n:
            return self.bound.run(arrays)
        return tuple(np.zeros((0, *output.shape), output.dtype) for output in self.astore.outputs)


def _faster(astore: Astore, max_batch: int, threads: int, chooser: Chooser) -> Scorer:
    """The backend that is remembered for the model, or measured now: beside whatever scores meanwhile, in a bounded time."""
    case = Case(astore.digest, max_batch, threads)
    kept = chooser.recall(case)
    if kept and (scorer := _tried(astore, kept.backend, max_batch, threads)):
        return _told(scorer, f"{kept}, remembered")
    ours, theirs = (_tried(astore, backend, max_batch, threads) for backend in ("numba", "onnxruntime"))
    if not ours:
        return _told(theirs, "onnxruntime") if theirs else _first(astore, ("numpy",), max_batch, threads)
    found = Choice("numba")
    if theirs:
        try:
            found = chooser.measure(lambda size: (ours.trial(size), theirs.trial(size)), max_batch)
        except BackendError as err:
            log.warning("model %s: %s; it takes numba unmeasured", astore.name, err.what)
            return _told(ours, "numba")
    chooser.keep(case, found)
    return _told(theirs if theirs and found.backend == "onnxruntime" else ours, f"{found}")


def _first(astore: Astore, backends: Sequence[str], max_batch: int, threads: int) -> Scorer:
    """The first backend that can take the graph."""
    for backend in backends:
        if scorer := _tried(astore, backend, max_batch, threads):
            return _told(scorer, backend)
    raise BackendError(f"no backend can take the graph of '{astore.name}'", mend="see the warnings before this line")


def _tried(astore: Astore, backend: str, max_batch: int, threads: int) -> Scorer | None:
    """The astore on that backend; None, and a line in the log, where it cannot take the graph."""
    try:
        return Scorer(astore, backend, _bind(astore, backend, max_batch, threads), max_batch, threads)
    except BackendError as err:
        log.warning("%s: %s; trying the next backend", err.where or f"model '{astore.name}'", err.what)
        return None


def _told(scorer: Scorer, what: str) -> Scorer:
    """The scorer, with a line in the log that says why it is this one."""
    log.info("model %s (%s): backend %s", scorer.astore.name, scorer.astore.short_digest, what)
    return scorer


def _widest(astore: Astore) -> int:
    """Numbers of the largest row of a tensor, before it is prepared or after."""
    shapes = validate(astore.graph)
    return max(size_of(shape) for name, shape in shapes.items() if name not in astore.graph.weights) or 1


def _part(column: Column, rows: slice) -> Column:
    """Some rows of a column."""
    return column.take(np.arange(rows.start, rows.stop)) if isinstance(column, VarColumn) else column[rows]


def among_refused(outputs: Sequence[Array], refused: Bools, reasons: tuple[str, ...]) -> Scores:
    """The outputs of the rows that were not refused, zeros among them for those that were."""
    spread = []
    for some in outputs:
        full = np.zeros((len(refused), *some.shape[1:]), some.dtype)
        full[~refused] = some
        spread.append(full)
    return Scores(tuple(spread), refused, reasons)


def whole(parts: Sequence[Scores]) -> Scores:
    """The scores of consecutive rows as one."""
    outputs = tuple(np.concatenate(column) for column in zip(*(part.outputs for part in parts)))
    if all(part.refused is None for part in parts):
        return Scores(outputs)
    refused = [np.zeros(len(part.outputs[0]), np.bool_) if part.refused is None else part.refused for part in parts]
    return Scores(outputs, np.concatenate(refused), tuple(reason for part in parts for reason in part.reasons))


def _zeros(item: Input, n: int) -> Column:
    """A column of n events as an input takes them: zeros, or image files of one black pixel."""
    if item.dtype == "blob":
        return VarColumn.of([BLACK_PIXEL] * n)
    return np.zeros((n, *item.shape), item.dtype)


def _bind(astore: Astore, backend: str, max_batch: int, threads: int) -> Bound:
    graph: Graph = lift(astore) if backend == "numba" else astore.graph
    try:
        return bind(backend, graph, max_batch, threads)
    except BackendError as err:
        where = f"model '{astore.name}'" + (f": {err.where}" if err.where else "")
        raise BackendError(err.what, where=where, mend=err.mend) from err


def join(n: int, taken: Sequence[Prepared]) -> tuple[Bools | None, tuple[str, ...]]:
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
