"""The numpy backend: the op table's references, node by node. Slow, and right by being obvious."""

from collections.abc import Sequence

from esp.astore.graph import Array, Graph, run_reference
from esp.astore.validation import validate
from esp.errors import BackendError


class NumpyBound:
    """A graph walked by its references."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        try:
            return tuple(run_reference(self.graph, inputs))
        except MemoryError as err:
            raise BackendError(
                f"a batch of {len(inputs[0])} rows does not fit the memory", mend="score fewer at once (max_batch)"
            ) from err
        except IndexError as err:
            raise BackendError(f"an index is out of bounds: {err}", mend="send numbers that the model can take") from err


def bind(graph: Graph, max_batch: int, threads: int = 1) -> NumpyBound:
    """Binds any valid graph; GraphError when it is not."""
    validate(graph)
    return NumpyBound(graph)
