"""What a start would do first, done ahead: every kernel compiled, and the models of queries bound, measured and scored once."""

import importlib
import logging
import os
import pkgutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from esp import kernels
from esp.kernels.compile import CACHE_DIR, compilations

# Longest to compile, so these come first; those of a line share parts, so one process compiles them.
LONGEST = (
    ("json", "csv", "msgpack"),
    ("json_judge", "msgpack_judge", "judge", "verdicts"),
    ("dense", "recurrent"),
    ("csv_write", "json_write", "msgpack_write"),
    ("intake", "image"),
)
log = logging.getLogger("esp.warmup")


@dataclass(frozen=True, slots=True)
class Warmed:
    """A model of a score window, ``QUERY/WINDOW``, and the backend that will score with it."""

    window: str
    model: str
    digest: str
    backend: str


@dataclass(frozen=True, slots=True)
class Warmth:
    """How many functions were compiled (none where the cache has all), the folder of the cache, and the models."""

    compiled: int
    cache: Path
    models: tuple[Warmed, ...] = ()


def warm_up(queries: Iterable[Path] = (), processes: int | None = None) -> Warmth:
    """Compiles what the cache lacks, in a process a core, then binds the models of query files (or folders that hold one).

    What ``load_query`` raises; BackendError for a model that its window's backend cannot take.
    """
    compiled = compile_kernels(kernel_modules(), processes or os.cpu_count() or 1)
    models = tuple(model for query in queries for model in _warmed(query))
    return Warmth(compiled, CACHE_DIR, models)


def kernel_modules() -> list[tuple[str, ...]]:
    """The modules of the kernels, what takes longest first, each with those that one process compiles."""
    names = [module.name for module in pkgutil.walk_packages(kernels.__path__, f"{kernels.__name__}.")]
    first = [tuple(f"{kernels.__name__}.{name}" for name in line) for line in LONGEST]
    known = set(chain(*first))
    return [*first, *((name,) for name in names if name not in known)]


def compile_kernels(lines: Iterable[tuple[str, ...]], processes: int) -> int:
    """Imports modules, which compiles their kernels into the cache; gives how many functions were compiled, and by whichever process."""
    if processes > 1:
        try:
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                return sum(pool.map(_compiled, lines))
        except BrokenProcessPool:
            log.warning("a compiling process has ended early; compiling in one process")
    return sum(map(_compiled, lines))


def _compiled(modules: tuple[str, ...]) -> int:
    """How many functions the imports have compiled."""
    before = compilations()
    for module in modules:
        importlib.import_module(module)
    return compilations() - before


def _warmed(path: Path) -> Iterable[Warmed]:
    """Binds the models of a query's score windows as a start does."""
    from esp.runtime.kinds.score import ScoreSettings  # these bring kernels in, which are to be compiled by then
    from esp.runtime.query import load_query, models_used

    query = load_query(path)
    for window in models_used(query):
        settings = query.windows[window].settings
        assert isinstance(settings, ScoreSettings)
        limits = query.settings.limits
        scorer = settings.bind(query.models[settings.model], limits.max_batch, limits.threads)
        scorer.warm()
        yield Warmed(f"{query.name}/{window}", scorer.astore.name, scorer.digest, scorer.backend)
