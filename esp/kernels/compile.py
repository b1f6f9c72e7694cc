"""How kernels are compiled: eagerly, once a machine, into a cache that is named by everything the result depends on."""

import atexit
import hashlib
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
from llvmlite import binding
from numba import types
from numba.core import event

from esp.kernels.parts import PartCompiler

_HERE = Path(__file__).parent
log = logging.getLogger("esp.kernels")
F = TypeVar("F", bound=Callable[..., Any])

# Sums may be reordered and contracted; NaN and infinity keep their meaning, for NaN is a missing reading.
FAST = {"contract", "reassoc", "nsz", "arcp"}

# No counting of references, for kernels allocate nothing and hold their arguments' memory no longer than the call; no wrapper for C.
_LEAN: dict[str, Any] = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}
_njit: Any = numba.njit  # whose stated types know not all its options


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _host() -> str:
    """Stands for what the machine code depends on beside its sources: compiler versions, the CPU and its features."""
    config: Any = numba.config
    cpu = config.CPU_NAME or binding.get_host_cpu_name()
    features = config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
    return _digest(str(part).encode() for part in (numba.__version__, llvmlite.__version__, cpu, features))


@cache
def _sources(path: Path) -> str:
    """Stands for a module's source and those of all kernel modules that it imports, for Numba looks at none of those."""
    found, open_ = dict[Path, bytes](), [path]
    while open_:
        one = open_.pop()
        found[one] = one.read_bytes()
        words = re.findall(r"\w+", " ".join(re.findall(r"^from esp\.kernels\b.*", found[one].decode(), re.M)))
        imported = {_HERE / f"{word}.py" for word in words}
        open_ += [path for path in imported - found.keys() - set(open_) if path.is_file()]
    return _digest(found[one] for one in sorted(found))


def is_filled(path: Path) -> bool:
    """Whether a cache holds the kernels of these sources: the plan's, which import nearly all others."""
    return (path / f"plan-{_sources(_HERE / 'plan.py')}").is_dir()


def _linked(cache: Path) -> Path:
    """A directory of this process alone with all that a cache holds, for a cache that cannot be written."""
    mine = _temporary()
    for folder, _, files in os.walk(cache):
        here = mine / Path(folder).relative_to(cache)
        here.mkdir(exist_ok=True)
        for name in files:
            (here / name).symlink_to(Path(folder, name).absolute())
    return mine


def _temporary() -> Path:
    made = tempfile.mkdtemp(prefix="esp-kernels-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def _cache_dir() -> Path:
    """The first place of ESP_CACHE_DIR and the user's cache directory that can be written, or that holds the kernels already.

    What such a one lacks, or all where there is none, goes to a temporary directory, which ends with the process.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for root in (os.environ.get("ESP_CACHE_DIR"), os.path.join(home, "esp")):
        if not root:
            continue
        path = Path(root) / "kernels" / _host()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                return path
        except OSError:
            if is_filled(path):
                return _linked(path)
    return _temporary()


CACHE_DIR = _cache_dir()
IS_KEPT = not CACHE_DIR.name.startswith("esp-kernels-")  # whether what is written there outlasts the process


class _Compilations(event.Listener):
    """Counts what Numba really compiles; a load from the cache is none."""

    def __init__(self) -> None:
        self.lock, self.count, self.is_told = threading.Lock(), 0, False

    def on_start(self, event: Any) -> None:
        self.add()

    def add(self) -> None:
        with self.lock:
            self.count += 1

    def on_end(self, event: Any) -> None:
        pass


SOURCES = _digest(path.read_bytes() for path in sorted(_HERE.glob("*.py")))  # stands for all kernels
_COMPILATIONS = _Compilations()
_register: Any = event.register
_register("numba:compile", _COMPILATIONS)


def compilations() -> int:
    """How many functions were compiled in this process; after warm-up it must not grow."""
    return _COMPILATIONS.count


@contextmanager
def _cached(function: Callable[..., Any]) -> Iterator[None]:
    """A function that is compiled within is kept in CACHE_DIR, in the folder of its sources; the cache of user code stays where it was."""
    config: Any = numba.config
    before, source = config.CACHE_DIR, Path(function.__code__.co_filename)
    config.CACHE_DIR = str(CACHE_DIR / f"{source.stem}-{_sources(source)}")
    try:
        yield
    finally:
        config.CACHE_DIR = before
    _tell_once()


def kernel(*signatures: Any, fast: bool = False) -> Callable[[F], F]:
    """Compiles a function that Python calls: eagerly for the given signatures (text or Numba's), without the GIL, cached on disk.

    A call with other types raises TypeError instead of compiling in mid-stream. ``fast`` allows reordered sums (FAST).
    """

    def compile_now(function: F) -> F:
        with _cached(function):
            compiled = _njit(list(signatures), cache=True, fastmath=FAST if fast else False, **_LEAN)(function)
        return cast(F, compiled)

    return compile_now


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a row of a plan does: a compiled function, found by its address."""

    name: str
    address: int


def instruction(function: Callable[..., None]) -> Instruction:
    """Compiles what a row of a plan does, by itself: ``function(n, x, y, b, c, f, scratch)`` of addresses and counts.

    n events; x, y, b and c are the addresses of the row; ``i8(f)`` are its fields; scratch as in ``plan.run``.
    """
    with _cached(function):
        compiled: Any = numba.cfunc(types.void(*[types.intp] * 7), cache=True)(function)
    if not compiled.cache_hits:
        _COMPILATIONS.add()
    return Instruction(function.__name__, compiled.address)


def _tell_once() -> None:
    """Says, once, that this machine's cache is being filled: it takes a minute that would be hard to explain."""
    if _COMPILATIONS.count and not _COMPILATIONS.is_told:
        _COMPILATIONS.is_told = True
        lasts = "this happens once" if IS_KEPT else "no cache can be written (ESP_CACHE_DIR names another), so each start does so"
        log.warning("compiling kernels for this machine into %s; %s", CACHE_DIR, lasts)


def part(function: F) -> F:
    """Marks a function that only kernels call: compiled into each of them, never by itself (see ``parts``)."""
    compiled = _njit(pipeline_class=PartCompiler, no_cpython_wrapper=True, **_LEAN)(function)
    return cast(F, compiled)
