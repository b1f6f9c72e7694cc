"""Windows that move by a hop, scored by what is new in them: one call of one kernel a batch."""

import threading
from math import lcm

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Array, Graph
from esp.astore.ops.rules import size_of
from esp.astore.validation import flops
from esp.errors import BackendError
from esp.kernels import sliding as kernels
from esp.kernels.intake import address
from esp.runtime.backends import numba
from esp.runtime.backends.places import Ends, Place
from esp.runtime.backends.sliding.layers import WHOLE, Layers
from esp.runtime.backends.sliding.lowering import Rings, lower_step
from esp.runtime.backends.sliding.memory import MOST_BYTES, Memory
from esp.runtime.backends.sliding.step import Steps, derive

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
_F4 = np.dtype(np.float32)
MOST_WORK = 0.7  # of a whole window's; a step that does more is not worth its memory


class Sliding:
    """A graph that scores windows by steps, with the bits of whole windows on the numba backend; one batch at a time.

    What windows hand on lies in memory of its own, at most ``most_bytes``: it is no state, for whole windows make it again.
    """

    def __init__(self, steps: Steps, hop: int, max_batch: int, most_bytes: int = MOST_BYTES) -> None:
        self.steps, self.max_batch, self.lock = steps, max_batch, threading.Lock()
        self.rings = Rings.of(steps.rings)
        self.memory = Memory(self.rings.floats, most_bytes)
        self.first = numba.bind(steps.first, max_batch)
        shapes = [tuple(size for size in value.shape if isinstance(size, int)) for value in steps.step.outputs]
        cuts = np.cumsum([0, *(size_of(value.shape) for value in steps.step.outputs)]).tolist()
        self.cuts, self.size = list(zip(cuts, cuts[1:], shapes)), cuts[-1]  # of a window's outputs
        self.shape = shapes[0] if len(shapes) == 1 else (self.size,)
        ends = Ends.of(steps.step)
        ends.steps[1] = 8 * kernels.PLACE  # the plan finds places where the graph's first ring is
        self.table = lower_step(steps, self.rings, max_batch)
        self.place = Place(self.table, ends, 0)
        self.found, self.call = np.zeros(3, np.int64), np.zeros(kernels.FIELDS, np.int64)
        first = lcm(1, *(ring.kept.phases for ring in steps.rings))
        self._enter(PLAN=self.place.call, MOST=self.memory.most_rows, HOP=hop, FIRST=first, FOUND=self.found.ctypes.data)
        self.called = self.call.ctypes.data
        self._make_room(max_batch)

    def _enter(self, **fields: int) -> None:
        for name, number in fields.items():
            self.call[getattr(kernels, name)] = number

    def _make_room(self, m: int) -> None:
        """Lists for the windows of a call."""
        self.places, self.stepped, self.filled = (np.zeros(size, np.int64) for size in (2 * kernels.PLACE * m, m, m))
        places, stepped, filled = (array.ctypes.data for array in (self.places, self.stepped, self.filled))
        self._enter(PLACES=places, STEPPED=stepped, FILLED=filled)

    def _grow(self, rows: int) -> None:
        """Memory for so many rows."""
        self.memory.grow(rows)
        homes, states = self.memory.homes, self.memory.states
        self._enter(CAPACITY=len(homes), HOMES=homes.ctypes.data, STATES=states.ctypes.data)

    def score(self, windows: F32, rows: I64, counts: I64) -> tuple[Array, ...]:
        """The scores of windows [m, length, channels], oldest event first, in stream order.

        ``rows``: the row of each window's key in the state table; ``counts``: events of that key up to the window's last. A window
        whose count is not the last one's and a hop begins its row anew: it is scored whole, and so are as many after it as
        the strides have phases. A count below 0 says that a window is refused: its scores are zeros, and its row begins anew.
        """
        outputs = self.score_sound(windows, rows, counts, 0)
        assert outputs is not None  # nothing was looked at
        return outputs

    def score_sound(self, windows: F32, rows: I64, counts: I64, new: int) -> tuple[Array, ...] | None:
        """``score``; None, and nothing is done, where a NaN is among the last ``new`` numbers of a window.

        One that does not follow another of its row is looked at as a whole; so all are free of NaN as long as all are scored here,
        or without NaN.
        """
        m = len(rows)
        if not m:
            return self._outputs(np.empty(0, np.float32), 0)
        with self.lock:
            if m > len(self.stepped):
                self._make_room(m)
            out = np.empty((m, *self.shape), _F4)
            done = kernels.advance(self.called, new, windows.ravel(), rows, counts, out.ravel())
            if done == kernels.MISSING:
                return None
            if done != kernels.DONE:
                return self._score_surely(windows, rows, counts, done)
        return (out,) if len(self.cuts) == 1 else self._outputs(out.ravel(), m)

    def _outputs(self, out: F32, m: int) -> tuple[Array, ...]:
        """The outputs, that lie one after the other."""
        return tuple([out[m * start : m * end].reshape(m, *shape) for start, end, shape in self.cuts])

    def _score_surely(self, windows: F32, rows: I64, counts: I64, done: int) -> tuple[Array, ...]:
        """``_score_mixed``; after a failure, which leaves rings unfilled, all rows begin anew."""
        try:
            return self._score_mixed(windows, rows, counts, done)
        except BaseException:
            self.memory.states[:] = kernels.NEVER
            raise

    def _score_mixed(self, windows: F32, rows: I64, counts: I64, done: int) -> tuple[Array, ...]:
        """Goes on from what ``advance`` found last, until all windows are scored."""
        start, m = 0, len(rows)
        outputs = self._outputs(np.zeros(m * self.size, np.float32), m)
        while start < m:
            if done == kernels.FULL:
                self._grow(int(rows.max()) + 1)
            else:
                seen, stepped, filled = self.found.tolist()
                self._fill(windows, start + self.filled[:filled], kernels.PLACE * (m - start), outputs)
                self._step(windows, start + self.stepped[:stepped], outputs)
                start += seen
            done = kernels.sort(self.called, rows[start:], counts[start:])
        return outputs

    def _fill(self, windows: F32, which: I64, place: int, outputs: tuple[Array, ...]) -> None:
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
                kernels.fill(len(some), *sizes, address(array.ravel()), places)

    def _step(self, windows: F32, which: I64, outputs: tuple[Array, ...]) -> None:
        """Scores windows by steps; their places begin the list."""
        if len(which):
            out = np.empty(len(which) * self.size, np.float32)
            kernels.step(self.called, len(which), windows[which].ravel(), out)
            for output, scores in zip(outputs, self._outputs(out, len(which))):
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
    size = 4 * Rings.of(steps.rings).floats
    if size > MOST_BYTES:
        raise BackendError(f"what a window hands on takes {size >> 20} MiB a key, at most {MOST_BYTES >> 20} are kept", mend=WHOLE)
    return Sliding(steps, hop, max_batch)
