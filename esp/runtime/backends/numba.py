"""The numba backend: a graph becomes a table of integers, and one call of one kernel scores a batch."""

import threading
from collections.abc import Sequence

import numpy as np

from esp.astore.graph import Array, Graph
from esp.astore.ops.rules import size_of
from esp.kernels.dense import SCRATCH
from esp.kernels.intake import address
from esp.kernels.plan import run, run_pair
from esp.runtime.backends.bars import bars_of
from esp.runtime.backends.lowering.assembly import Table, assemble
from esp.runtime.backends.lowering.given import Limits
from esp.runtime.backends.lowering.lowering import lower
from esp.runtime.backends.lowering.rules import CLAMPED, RULES


class NumbaBound:
    """A plan with its arena. A row's scores are the same bits in whatever batch, and at whatever place in it, it comes."""

    def __init__(self, graph: Graph, table: Table, limits: Limits) -> None:
        self.table, self.lock = table, threading.Lock()  # the arena serves one batch at a time
        self.placed = table.place()
        self.shapes = [tuple(size for size in value.shape if isinstance(size, int)) for value in graph.outputs]
        ends = (*graph.inputs, *graph.outputs)
        self.arrays, self.scratch = np.zeros(len(ends), np.int64), np.zeros(SCRATCH, np.int64)
        self.steps = np.array([np.dtype(value.dtype).itemsize * size_of(value.shape) for value in ends], np.int64)
        self.ends = (self.placed.rows.ctypes.data, len(table.rows))
        self.places = (self.arrays.ctypes.data, self.steps.ctypes.data, self.scratch.ctypes.data)

        self.bars = bars_of(graph, limits)
        self.is_pair = len(graph.inputs) == len(graph.outputs) == 1 and graph.inputs[0].dtype == "float32" and not self.bars
        self.whole = np.array((*self.ends, table.chunk, *self.places), np.int64)
        self.call = self.whole.ctypes.data

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        n = len(inputs[0])
        if self.is_pair:
            out = np.empty((n, *self.shapes[0]), np.float32)
            with self.lock:
                run_pair(self.call, n, inputs[0].reshape(-1), out.reshape(-1))
            return (out,)
        for bar in self.bars:
            bar.check(inputs[bar.slot])
        outputs = tuple(np.empty((n, *shape), np.float32) for shape in self.shapes)
        with self.lock:
            for at, array in enumerate((*inputs, *outputs)):
                self.arrays[at] = address(array.reshape(-1))
            run(*self.ends, n, self.table.chunk, *self.places)
        return outputs


def bind(graph: Graph, max_batch: int) -> NumbaBound:
    """Makes the plan of a graph; BackendError for what a plan cannot express."""
    made = lower(graph, RULES, CLAMPED)
    return NumbaBound(graph, assemble(made.rows, max_batch), made.limits)
