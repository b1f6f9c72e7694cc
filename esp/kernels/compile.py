"""How kernels are compiled: eagerly, once a machine, into a cache that is named by everything the result depends on."""

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
from llvmlite import binding
from numba.core import event

log = logging.getLogger("esp.kernels")
F = TypeVar("F", bound=Callable[..., Any])

# Sums may be reordered and contracted; NaN and infinity keep their meaning, for NaN is a missing reading.
FAST = {"contract", "reassoc", "nsz", "arcp"}


def _fingerprint() -> str:
    """Names the cache: kernel sources, compiler versions, CPU and its features (Numba looks at none of the imported sources)."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("**/*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    config: Any = numba.config
    cpu = config.CPU_NAME or binding.get_host_cpu_name()
    features = config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
    for part in (numba.__version__, llvmlite.__version__, cpu, features):
        digest.update(str(part).encode())
    return digest.hexdigest()[:16]


def _cache_dir() -> Path:
    """The first place that can be written: ESP_CACHE_DIR, the user's cache directory, a temporary one."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for root in (os.environ.get("ESP_CACHE_DIR"), os.path.join(home, "esp")):
        if not root:
            continue
        path = Path(root) / "kernels" / _fingerprint()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                return path
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="esp-kernels-"))


CACHE_DIR = _cache_dir()


class _Compilations(event.Listener):
    """Counts what Numba really compiles; a load from the cache is none."""

    def __init__(self) -> None:
        self.lock, self.count, self.is_told = threading.Lock(), 0, False

    def on_start(self, event: Any) -> None:
        with self.lock:
            self.count += 1

    def on_end(self, event: Any) -> None:
        pass


_COMPILATIONS = _Compilations()
_register: Any = event.register
_register("numba:compile", _COMPILATIONS)


def compilations() -> int:
    """How many functions were compiled in this process; after warm-up it must not grow."""
    return _COMPILATIONS.count


def kernel(*signatures: Any, fast: bool = False) -> Callable[[F], F]:
    """Compiles a function that Python calls: eagerly for the given signatures (text or Numba's), without the GIL, cached on disk.

    A call with other types raises TypeError instead of compiling in mid-stream. ``fast`` allows reordered sums (FAST).
    """

    def compile_now(function: F) -> F:
        config: Any = numba.config
        before = config.CACHE_DIR
        config.CACHE_DIR = str(CACHE_DIR)  # the cache of user code stays where it was
        try:
            compiled: Any = numba.njit(list(signatures), nogil=True, cache=True, fastmath=FAST if fast else False)(function)
        finally:
            config.CACHE_DIR = before
        _tell_once()
        return cast(F, compiled)

    return compile_now


def _tell_once() -> None:
    """Says, once, that this machine's cache is being filled: it takes a minute that would be hard to explain."""
    if _COMPILATIONS.count and not _COMPILATIONS.is_told:
        _COMPILATIONS.is_told = True
        log.warning("compiling kernels for this machine into %s; this happens once", CACHE_DIR)


def part(function: F) -> F:
    """Marks a function that only kernels call: compiled into each of them, never by itself."""
    compiled: Any = numba.njit(nogil=True)(function)
    return cast(F, compiled)
