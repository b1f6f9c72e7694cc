"""The numba backend: a graph becomes a table of integers, and one call of one kernel scores a batch."""

from collections.abc import Sequence
from time import perf_counter_ns

import numpy as np

from esp.astore.graph import Array, Graph
from esp.astore.ops.rules import size_of
from esp.astore.validation import flops
from esp.kernels.intake import address
from esp.kernels.lanes import TILE_ROWS
from esp.kernels.plan import score
from esp.kernels.split import LOCKS, PIECE, ROWS, score_split
from esp.runtime.backends.bars import bars_of
from esp.runtime.backends.lowering.assembly import Table, assemble
from esp.runtime.backends.lowering.given import Limits
from esp.runtime.backends.lowering.lowering import lower
from esp.runtime.backends.lowering.rules import CLAMPED, RULES
from esp.runtime.backends.payoff import Payoff
from esp.runtime.backends.places import Ends, Place, Places
from esp.runtime.backends.threads import POOL

FLOPS_NS, BYTES_NS = 100, 4  # what a core does in a nanosecond, about: operations, and bytes of the arena
PART_NS = 100_000  # of work for each thread that helps: to wake one costs some microseconds, here and there
PIECE_NS = 20_000  # that a thread takes at once, at least
PIECES = 4  # for each thread: one that wakes late, or is held up, leaves its pieces to the others


class NumbaBound:
    """A plan with its places. A row's scores are the same bits in whatever batch, in whatever thread and at whatever place it comes.

    Threads may score at the same time. A batch of ``split_rows`` or more is split over ``threads``, as many as are idle, while that
    pays.
    """

    def __init__(self, graph: Graph, table: Table, limits: Limits, threads: int = 1, row_ns: float = 1.0) -> None:
        self.table, self.threads, self.row_ns, ends = table, threads, row_ns, Ends.of(graph)
        shapes = [tuple(size for size in value.shape if isinstance(size, int)) for value in graph.outputs]
        cuts = np.cumsum([0, *(size_of(value.shape) for value in graph.outputs)]).tolist()
        self.cuts, self.size = list(zip(cuts, cuts[1:], shapes)), cuts[-1]
        self.shape = shapes[0] if len(shapes) == 1 else None  # that of the only output
        self.first, self.others = ends.first, [slot for slot in range(ends.inputs) if slot != ends.first]
        self.bars, self.places = bars_of(graph, limits), Places(table, ends, threads - 1)
        self.split_rows = max(2, int(2 * PART_NS / row_ns)) if threads > 1 else None
        self.payoff = Payoff()
        POOL.reserve(threads - 1)

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        n = len(inputs[0])
        for bar in self.bars:
            bar.check(inputs[bar.slot])
        if self.shape is not None:
            out = np.empty((n, *self.shape), np.float32)
            self._score(n, inputs, out.ravel())
            return (out,)
        out = np.empty(n * self.size, np.float32)
        self._score(n, inputs, out)
        return tuple([out[n * start : n * end].reshape(n, *shape) for start, end, shape in self.cuts])

    def _score(self, n: int, inputs: Sequence[Array], out: Array) -> None:
        """Fills ``out`` with the outputs, one after the other."""
        place = self.places.take()
        try:
            for slot in self.others:
                place.arrays[slot] = address(inputs[slot].ravel())
            x = inputs[self.first].ravel() if self.first < len(inputs) else out
            if self.split_rows is None or n < self.split_rows:
                score(place.call, n, x, out)
            else:
                self._large(place, n, x, out)
        finally:
            self.places.give_back(place)

    def _large(self, place: Place, n: int, x: Array, out: Array) -> None:
        """``score`` with helpers, where that has paid of late."""
        started = perf_counter_ns()
        if self.payoff.is_due() and self._split(place, n, x, out):
            self.payoff.split((perf_counter_ns() - started) / n)
        else:
            started = perf_counter_ns()
            score(place.call, n, x, out)
            self.payoff.alone((perf_counter_ns() - started) / n)

    def _split(self, place: Place, n: int, x: Array, out: Array) -> bool:
        """``score`` with as many idle helpers as have enough to do; False where none is idle."""
        helpers, others = POOL.claim(min(self.threads, int(n * self.row_ns / PART_NS), n) - 1), list[Place]()
        try:
            for helper in helpers:
                if (other := self.places.spare()) is None:
                    break
                helper.lend(other.call)
                place.team[len(others)] = helper.address
                others.append(other)
            if not others:
                return False
            place.batch[ROWS], place.batch[PIECE] = n, self._piece(n, 1 + len(others))
            score_split(place.call, n, x, out, place.batch_at, place.team_at, len(others), *LOCKS)
            return True
        finally:
            POOL.give_back(helpers)
            for other in others:
                self.places.give_back(other)

    def _piece(self, n: int, threads: int) -> int:
        """Rows of a piece: some pieces a thread, whole tiles and whole chunks where there are as many rows."""
        rows, chunk, fair = max(-(-n // (PIECES * threads)), int(PIECE_NS / self.row_ns)), self.table.chunk, -(-n // threads)
        if rows > chunk:
            return rows // chunk * chunk
        return min(-(-rows // TILE_ROWS[0]) * TILE_ROWS[0], chunk, fair)


def bind(graph: Graph, max_batch: int, threads: int = 1) -> NumbaBound:
    """Makes the plan of a graph; BackendError for what a plan cannot express."""
    made = lower(graph, RULES, CLAMPED)
    rows, limits = made.rows, made.limits
    del made  # and with it the weights that passes made anew, as each is packed
    table = assemble(rows, max_batch)
    work_ns = flops(graph) / FLOPS_NS + table.arena_bytes / table.chunk / BYTES_NS if threads > 1 else 0.0
    return NumbaBound(graph, table, limits, threads, max(work_ns, 1.0))
