"""The numpy backend: the op table's references, node by node. Slow, and right by being obvious."""

from collections.abc import Sequence

from esp.astore.graph import Array, Graph, run_reference
from esp.astore.validation import validate


class NumpyBound:
    """A graph walked by its references."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(run_reference(self.graph, inputs))


def bind(graph: Graph, max_batch: int) -> NumpyBound:
    """Binds any valid graph; GraphError when it is not."""
    validate(graph)
    return NumpyBound(graph)
