"""Windows that move by a hop, scored by what is new in them: rings in derived memory, one call of one kernel a batch."""

import threading
from collections.abc import Sequence
from math import lcm

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Array, Graph
from esp.astore.ops.rules import size_of
from esp.astore.validation import flops
from esp.errors import BackendError
from esp.kernels import sliding as kernels
from esp.kernels.dense import BLOCK_ROWS
from esp.kernels.intake import address
from esp.kernels.plan import run
from esp.runtime.backends import numba
from esp.runtime.backends.sliding.layers import Layers
from esp.runtime.backends.sliding.lowering import Rings, lower_step
from esp.runtime.backends.sliding.step import Steps, derive

I64 = npt.NDArray[np.int64]
MOST_BYTES = 256 << 20  # of rings; the windows of further rows are scored whole
WHOLE = "score whole windows"
MOST_WORK = 0.7  # of a whole window's; a step that does more is not worth its memory
PAGE_BYTES = 1 << 20
LINE = 16  # floats of a cache line, at which a row's rings begin


class _Memory:
    """Rings by row of the state table, in pages: they are made when a row comes and never move."""

    def __init__(self, row_floats: int, most_bytes: int) -> None:
        self.row_floats = -(-row_floats // LINE) * LINE
        self.page_rows = max(1, PAGE_BYTES // (4 * self.row_floats))
        self.most_rows = most_bytes // (4 * self.row_floats)
        self.pages: list[npt.NDArray[np.float32]] = []
        self.homes, self.states = np.zeros(0, np.int64), np.zeros((0, kernels.ROW), np.int64)

    def grow(self, rows: int) -> None:
        """Makes room for so many rows, or as many as there may be."""
        rows = min(rows, self.most_rows)
        had = len(self.homes)
        if rows <= had:
            return
        while len(self.pages) * self.page_rows < rows:
            self.pages.append(np.empty(self.page_rows * self.row_floats + LINE, np.float32))
        starts = [-(-page.ctypes.data // (4 * LINE)) * 4 * LINE for page in self.pages]
        homes = np.array(starts, np.int64)[:, None] + 4 * self.row_floats * np.arange(self.page_rows)
        self.homes = np.ascontiguousarray(homes.reshape(-1)[: self.most_rows])
        states = np.full((len(self.homes), kernels.ROW), -1, np.int64)
        states[:, 0] = np.iinfo(np.int64).min  # no count follows it
        states[:had] = self.states
        self.states = states


class Sliding:
    """A graph that scores windows by steps, with the bits of whole windows on the numba backend; one batch at a time."""

    def __init__(self, steps: Steps, hop: int, max_batch: int, most_bytes: int = MOST_BYTES) -> None:
        self.steps, self.max_batch, self.lock = steps, max_batch, threading.Lock()
        self.rings = Rings.of(steps.rings)
        self.memory = _Memory(self.rings.floats, most_bytes)
        self.table = lower_step(steps, self.rings, max_batch)
        self.first = numba.bind(steps.first, max_batch)
        self.shapes = [tuple(size for size in value.shape if isinstance(size, int)) for value in steps.step.outputs]
        self.places, self.steps_at, self.fills_at = (np.zeros(0, np.int64) for _ in range(3))  # room for the windows of a call
        self.found = np.zeros(3, np.int64)
        self._enter(hop)

    def _enter(self, hop: int) -> None:
        """The call of the kernel, as its text says; what grows is entered by ``_make_room``."""
        graph, first = self.steps.step, lcm(1, *(ring.kept.phases for ring in self.steps.rings))
        self.out_at = len(graph.inputs)
        self.arrays = np.zeros(self.out_at + len(graph.outputs), np.int64)
        sizes = [size_of(value.shape) for value in (*graph.inputs, *graph.outputs)]
        self.bytes, self.scratch = 4 * np.array(sizes, np.int64), np.zeros(BLOCK_ROWS, np.int64)
        self.bytes[1] = 8 * kernels.PLACE
        ends = (self.table.rows.ctypes.data, len(self.table.rows))
        self.plan = (self.table.chunk, *(array.ctypes.data for array in (self.arrays, self.bytes, self.scratch)))
        found = self.found.ctypes.data
        most = self.memory.most_rows
        self.call = np.array((*ends, *self.plan, 0, 0, 0, hop, first, 0, 0, 0, 0, found, self.out_at, most), np.int64)
        self.called, self.ends = self.call.ctypes.data, ends

    def score(self, windows: npt.NDArray[np.float32], rows: I64, counts: I64) -> tuple[Array, ...]:
        """The scores of windows [m, length, channels], oldest event first, in stream order.

        ``rows``: the row of each window's key in the state table; ``counts``: events of that key up to the window's last. A window
        whose count is not the last one's and a hop begins its row anew: it is scored whole, and so are as many after it as
        the strides have phases.
        """
        m = len(rows)
        outputs = tuple([np.empty((m, *shape), np.float32) for shape in self.shapes])
        if m:
            with self.lock:
                if m > len(self.steps_at):
                    self._make_room(m)
                self._score(windows, rows, counts, outputs)
        return outputs

    def _make_room(self, m: int) -> None:
        """Lists for the windows of a call."""
        self.places, self.steps_at, self.fills_at = (np.zeros(size, np.int64) for size in (2 * kernels.PLACE * m, m, m))
        self.call[12:15] = [array.ctypes.data for array in (self.places, self.steps_at, self.fills_at)]

    def _grow(self, row: int) -> None:
        """Memory for a row and those before it."""
        memory = self.memory
        memory.grow(row + 1)
        self.call[6:9] = len(memory.homes), memory.homes.ctypes.data, memory.states.ctypes.data

    def _score(self, windows: npt.NDArray[np.float32], rows: I64, counts: I64, outputs: Sequence[Array]) -> None:
        if len(outputs) > 1:
            for at, array in enumerate(outputs[1:], self.out_at + 1):
                self.arrays[at] = address(array.reshape(-1))
        done = kernels.advance(self.called, windows.reshape(-1), rows, counts, outputs[0].reshape(-1))
        if done == kernels.DONE:
            return
        if done == kernels.FULL:
            self._grow(int(rows.max()))
            self._score(windows, rows, counts, outputs)
            return
        seen, stepped, filled = self.found.tolist()
        self._fill(windows, self.fills_at[:filled], kernels.PLACE * len(rows), outputs)
        self._step(windows, self.steps_at[:stepped], outputs)
        if seen < len(rows):
            self._score(windows[seen:], rows[seen:], counts[seen:], [output[seen:] for output in outputs])

    def _fill(self, windows: npt.NDArray[np.float32], which: I64, place: int, outputs: Sequence[Array]) -> None:
        """Scores windows whole and fills their rings; their places begin at number ``place`` of the list."""
        for at in range(0, len(which), self.max_batch):
            some = which[at : at + self.max_batch]
            made = self.first.run([windows[some]])
            for output, scores in zip(outputs, made):
                output[some] = scores
            places = self.places.ctypes.data + 8 * (place + kernels.PLACE * at)
            for ring, array in zip(self.steps.rings, made[len(outputs) :]):
                kept = ring.kept
                sizes = (self.rings.at[ring.name], kept.phases, kept.size, kept.shift, ring.inner)
                kernels.fill(len(some), *sizes, address(array.reshape(-1)), places)

    def _step(self, windows: npt.NDArray[np.float32], which: I64, outputs: Sequence[Array]) -> None:
        """Scores windows by steps; their places begin the list."""
        if not len(which):
            return
        some = windows[which]
        made = [np.empty((len(which), *output.shape[1:]), np.float32) for output in outputs]
        arrays = [address(array.reshape(-1)) for array in (some, *made)]
        self.arrays[0], self.arrays[1], self.arrays[self.out_at :] = arrays[0], self.places.ctypes.data, arrays[1:]
        run(*self.ends, len(which), *self.plan)
        for output, scores in zip(outputs, made):
            output[which] = scores


def slide(graph: Graph, length: int, hop: int, max_batch: int) -> Sliding:
    """Scores windows of ``length`` events that move by ``hop``; BackendError, in a line, where the graph or the hop does not allow it."""
    layers = Layers.of(graph, length, hop)
    steps = derive(layers)
    if not steps.rings:
        raise BackendError("no layer of the graph slides along time so that a window shares work with the one before", mend=WHOLE)
    work = flops(steps.step) / max(flops(layers.graph), 1)
    if work > MOST_WORK:
        raise BackendError(f"{work:.0%} of a window's work changes with a hop of {hop}, more than {MOST_WORK:.0%}", mend=WHOLE)
    return Sliding(steps, hop, max_batch)
