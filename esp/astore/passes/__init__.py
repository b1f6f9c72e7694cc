"""Passes over a graph before it is scored: each gives a smaller graph that computes the same, and one plain table names them."""

from collections.abc import Callable, Mapping, Sequence

from esp.astore.graph import Graph
from esp.astore.passes.activations import fuse_activations
from esp.astore.passes.cleanup import drop_identities, drop_unused
from esp.astore.passes.constants import constant_nodes, fold_constants, fold_sizes
from esp.astore.passes.folding import fold_bias, fold_normalisation
from esp.astore.passes.net import Net

Pass = Callable[[Net], None]

# In the order in which they help one another. Outputs stay the same to the bit, but where a comment says how far they may move.
PASSES: Mapping[str, Pass] = {
    "fold_constants": fold_constants,
    "fold_sizes": fold_sizes,
    "drop_identities": drop_identities,
    "fuse_activations": fuse_activations,  # the same function in one step: float32 rounding of a few numbers
    "fold_normalisation": fold_normalisation,  # scales move into weights: float32 rounding of each product
    "fold_bias": fold_bias,
    "drop_unused": drop_unused,
}

__all__ = ["PASSES", "Net", "has_costly_constants", "simplify"]


def simplify(graph: Graph, passes: Sequence[str] = tuple(PASSES)) -> Graph:
    """The graph after the passes named: inputs and outputs as they were. Raises GraphError when it is not valid."""
    net = Net.of(graph)
    for name in passes:
        PASSES[name](net)
    return net.graph()


def has_costly_constants(graph: Graph) -> bool:
    """Whether nodes that no event bears on make so much that nobody should compute them ahead. Raises GraphError when it is not valid."""
    return bool(constant_nodes(Net.of(graph))[1])
