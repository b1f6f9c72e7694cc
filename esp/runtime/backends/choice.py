"""Which backend ``auto`` keeps for a model: numba or onnxruntime, measured once and remembered by model, host and versions."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from math import prod
from pathlib import Path
from statistics import median
from typing import Literal

import pydantic

import esp
from esp.files import write_whole
from esp.kernels.compile import CACHE_DIR, SOURCES

BATCHES = (1, 8, 64, 512)
LIMIT_S = 2.0  # for all batch sizes together; where it runs short, the large ones are left out
PAIRS = 15  # samples of each backend at a batch size, by turns, so that what else the machine does meets both
SAMPLE_S = 200e-6  # a sample is as many calls as take so long
MOST_CALLS = 100

log = logging.getLogger("esp.auto")
Name = Literal["numba", "onnxruntime"]
Run = Callable[[], object]  # scores one batch
Trials = Callable[[int], tuple[Run, Run]]  # batch size -> what scores such a batch on numba, and on onnxruntime


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend of a model; ``ratios``: batch size -> onnxruntime's time by numba's, none where only one can take the graph."""

    backend: Name
    ratios: Mapping[int, float] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{ratio:.2f} at batch {size}" for size, ratio in self.ratios.items())
        return f"{self.backend} (onnxruntime's time by numba's: {told})" if told else f"{self.backend} (onnxruntime cannot take it)"


@dataclass(frozen=True, slots=True)
class Case:
    """What is chosen for: a model, by its digest, scored in batches of at most ``max_batch`` rows on so many threads."""

    digest: str
    max_batch: int = 1024
    threads: int = 1

    @property
    def file(self) -> str:
        return f"{self.digest}-{self.max_batch}-{self.threads}.json"


class _Kept(pydantic.BaseModel):
    """The file of a choice."""

    versions: dict[str, str]
    max_batch: int
    threads: int
    backend: Name
    ratios: dict[int, float]


@dataclass(frozen=True, slots=True)
class Chooser:
    """Measures by ``clock`` (seconds) and remembers in ``folder``, a file a case; a folder that cannot be used only costs time."""

    folder: Path
    clock: Callable[[], float] = time.perf_counter

    def recall(self, case: Case) -> Choice | None:
        """The choice that was kept for a case by these versions; None where there is none that can be read."""
        kept = self._read(self.folder / case.file) if case.digest else None  # a model without one was never in a file
        return None if kept is None else Choice(kept.backend, kept.ratios)

    def recall_all(self, digest: str) -> dict[Case, Choice]:
        """All choices that were kept for a model by these versions."""
        kept = [self._read(path) for path in sorted(self.folder.glob(f"{digest}-*.json"))] if digest else []
        return {Case(digest, one.max_batch, one.threads): Choice(one.backend, one.ratios) for one in kept if one is not None}

    def _read(self, path: Path) -> _Kept | None:
        try:
            kept = _Kept.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s: the backend kept there cannot be read (%s); it is measured anew", path, type(error).__name__)
            return None
        return kept if kept.versions == _versions() else None

    def keep(self, case: Case, choice: Choice) -> None:
        """Remembers a choice; where it cannot, the log says so."""
        if not case.digest:
            return
        kept = _Kept(
            versions=_versions(), max_batch=case.max_batch, threads=case.threads, backend=choice.backend, ratios=dict(choice.ratios)
        )
        path = self.folder / case.file
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, [kept.model_dump_json().encode()])
        except OSError as error:
            log.warning("%s: the choice of a backend cannot be kept (%s); the next start measures anew", path, error.strerror)

    def measure(self, trials: Trials, max_batch: int) -> Choice:
        """The faster backend by the geometric mean of the ratios over the batch sizes, numba where they are equal."""
        ratios = _ratios(trials, [size for size in BATCHES if size <= max_batch], self.clock)
        return Choice("numba" if prod(ratios.values()) >= 1 else "onnxruntime", ratios)


def _ratios(trials: Trials, sizes: list[int], clock: Callable[[], float]) -> dict[int, float]:
    """Batch size -> onnxruntime's time by numba's, for the first size and those that there is time for."""
    end, ratios, row_s = clock() + LIMIT_S, dict[int, float](), 0.0
    for at, size in enumerate(sizes):
        left = end - clock()
        if at and 2 * size * row_s > left:  # the first call of each, and one sample
            break
        started = clock()
        times = _pair(trials(size), clock, started + left / (len(sizes) - at))
        ratios[size], row_s = times[1] / times[0], sum(times) / size
    return ratios


def _pair(runs: tuple[Run, Run], clock: Callable[[], float], until: float) -> tuple[float, float]:
    """Seconds of a call of each: medians of samples by turns; those of the first calls, which make room, where time is short."""
    first = [_seconds(run, 1, clock) for run in runs]
    counts = [max(1, min(MOST_CALLS, int(SAMPLE_S / seconds))) for seconds in first]
    samples: list[tuple[float, float]] = []
    while len(samples) < PAIRS and clock() < until:
        ours, theirs = (_seconds(run, count, clock) / count for run, count in zip(runs, counts))
        samples.append((ours, theirs))
    if not samples:
        return first[0], first[1]
    return median(ours for ours, _ in samples), median(theirs for _, theirs in samples)


def _seconds(run: Run, count: int, clock: Callable[[], float]) -> float:
    """How long so many calls take, more than nothing."""
    started = clock()
    for _ in range(count):
        run()
    return max(clock() - started, 1e-9)


@cache
def _versions() -> dict[str, str]:
    """What a choice depends on beside the model; the folder's name stands for the CPU."""
    return {"esp": esp.__version__, "kernels": SOURCES} | {name: _version(name) for name in ("numba", "onnxruntime")}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


CHOOSER = Chooser(CACHE_DIR / "backends")
