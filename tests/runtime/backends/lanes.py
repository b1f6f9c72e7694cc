"""What the numba backend gives, as digests: a program that is run once for each width of vectors.

python -m tests.runtime.backends.lanes    prints {"lanes": 16, "has_fma": true, "digests": {case: digest}}
"""

import hashlib
import json
from collections.abc import Iterator

import numpy as np

from esp.astore.graph import Array, Graph
from esp.errors import BackendError
from esp.kernels.lanes import HAS_FMA, LANES
from esp.runtime.backends import numba
from esp.train.zoo import SMALL, ZOO, build
from tests.astore.op_cases import CASES
from tests.astore.test_ops import drawn, one_node
from tests.train.zoo.test_zoo import rows_for

SEEDS = range(4)
ROWS = 13  # tiles of every height


def main() -> None:
    digests = {name: _digest(graph, feeds) for name, graph, feeds in _cases()}
    print(json.dumps({"lanes": LANES, "has_fma": HAS_FMA, "digests": {name: one for name, one in digests.items() if one}}))


def _cases() -> Iterator[tuple[str, Graph, list[Array]]]:
    for op in CASES:
        for seed in SEEDS:
            graph, feeds = one_node(drawn(op, seed))
            yield f"{op} {seed}", graph, [np.ascontiguousarray(np.resize(feed, (ROWS, *feed.shape[1:]))) for feed in feeds]
    rng = np.random.default_rng(3)
    for name in ZOO:
        graph = build(name, **SMALL[name])
        feeds = [np.resize(rows_for(value, rng), (ROWS, *value.shape[1:])) for value in graph.inputs]  # type: ignore[arg-type]
        yield name, graph, [_marred(np.ascontiguousarray(feed)) for feed in feeds]


def _marred(feed: Array) -> Array:
    """NaN and infinities in some rows, each at a place of its own."""
    if feed.dtype == np.float32:
        for row, value in ((2, np.nan), (5, np.inf), (9, -np.inf)):
            flat = feed[row].reshape(-1)
            flat[(7 * row) % flat.size] = value
    return feed


def _digest(graph: Graph, feeds: list[Array]) -> str:
    """Of all outputs, a NaN being as good as another; "" where a plan cannot express the graph."""
    try:
        outputs = numba.bind(graph, ROWS).run(feeds)
    except BackendError:
        return ""
    digest = hashlib.sha256()
    for output in outputs:
        digest.update(
            np.where(np.isnan(output), np.float32(np.nan), output).tobytes() if output.dtype.kind == "f" else output.tobytes()
        )
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
