"""The backends of the score window: each binds a graph to something that runs it, and one plain table names them."""

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

from esp.astore.graph import Array, Graph
from esp.errors import BackendError


class Bound(Protocol):
    """A graph bound to a backend: it may be called from any thread, by several at the same time."""

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The outputs of a batch; ``inputs[i]`` is ``[n, *shape]`` of the graph's input i, C-contiguous and of its dtype, n > 0."""
        ...


# Name -> the module whose ``bind(graph, max_batch, threads)`` gives a Bound; imported when first asked for, for each is heavy.
BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "numba": "esp.runtime.backends.numba",
        "onnxruntime": "esp.runtime.backends.onnxruntime",
        "numpy": "esp.runtime.backends.numpy",
    }
)


def bind(backend: str, graph: Graph, max_batch: int, threads: int = 1) -> Bound:
    """Binds a graph to the backend of that name; BackendError when there is none, or it cannot take the graph.

    A batch of at most ``max_batch`` rows is scored by at most so many ``threads``.
    """
    if backend not in BACKENDS:
        raise BackendError(f"there is no backend '{backend}'", mend=f"use one of auto, {', '.join(BACKENDS)}")
    try:
        module: Any = importlib.import_module(BACKENDS[backend])
    except ImportError as err:
        raise BackendError(f"the backend {backend} is not to be had: {err}", mend="install it, or use another") from err
    return cast(Bound, module.bind(graph, max_batch, threads))
