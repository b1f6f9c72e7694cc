"""Which backends can take a model, and why not; and what ``auto`` has kept for it on this host."""

from collections.abc import Callable
from typing import Any

from esp.astore.graph import Graph
from esp.astore.model import Astore
from esp.errors import BackendError
from esp.kernels.compile import CACHE_DIR, is_filled

UNKNOWN = "its kernels are not compiled on this machine yet (esp warmup does so)"


def eligibility(astore: Astore) -> dict[str, Any]:
    """``backends``: name -> whether it takes the model (null where that cannot be told here) and the reason if not; ``choices``.

    Nothing is compiled for it, and no backend needs to be installed.
    """
    backends = {"numba": _told(_lower, astore), "onnxruntime": _told(_open, astore), "numpy": {"takes": True, "reason": ""}}
    return {"backends": backends, "choices": _choices(astore.digest)}


def _told(ask: Callable[[Astore], str], astore: Astore) -> dict[str, Any]:
    """What ``ask`` finds out: why it cannot be told, if it cannot; BackendError says why the backend does not take the model."""
    try:
        unknown = ask(astore)
    except BackendError as err:
        return {"takes": False, "reason": f"{err.where}: {err.what}" if err.where else err.what}
    return {"takes": None if unknown else True, "reason": unknown}


def _lower(astore: Astore) -> str:
    if not is_filled(CACHE_DIR):
        return UNKNOWN
    from esp.runtime.backends.intake import lift  # these bring kernels in
    from esp.runtime.backends.lowering.lowering import lower
    from esp.runtime.backends.lowering.rules import CLAMPED, RULES

    graph: Graph = lift(astore)
    lower(graph, RULES, CLAMPED)
    return ""


def _open(astore: Astore) -> str:
    try:
        from esp.runtime.backends import onnxruntime
    except ImportError as err:
        return f"it is not to be had here: {err}"
    onnxruntime.bind(astore.graph, 1)
    return ""


def _choices(digest: str) -> list[dict[str, Any]]:
    from esp.runtime.backends.choice import CHOOSER

    return [
        {"backend": kept.backend, "max_batch": case.max_batch, "threads": case.threads,
         "ratios": {str(size): ratio for size, ratio in kept.ratios.items()}}
        for case, kept in CHOOSER.recall_all(digest).items()
    ]  # fmt: skip
