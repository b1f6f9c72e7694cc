"""Where plans run: a place is what one thread needs to run a plan, and a plan has as many as threads run it at once."""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Graph
from esp.astore.ops.rules import size_of
from esp.kernels import plan, split
from esp.kernels.dense import SCRATCH
from esp.runtime.backends.lowering.assembly import Table

MOST_CALLERS = 8  # of one plan at the same time; more wait for one another


class Place:
    """An arena with a plan's rows over it, scratch, and room for the addresses of a batch and of its helpers."""

    __slots__ = ("arrays", "batch", "batch_at", "call", "kept", "team", "team_at")

    def __init__(self, table: Table, ends: "Ends", helpers: int) -> None:
        placed, scratch = table.place(), np.zeros(SCRATCH, np.int64)
        self.arrays = np.zeros(len(ends.steps) + 1, np.int64)
        call = np.zeros(plan.CALL, np.int64)
        call[plan.TABLE], call[plan.LENGTH], call[plan.CHUNK] = placed.rows.ctypes.data, len(placed.rows), table.chunk
        call[plan.ARRAYS], call[plan.STEPS], call[plan.SCRATCH] = (one.ctypes.data for one in (self.arrays, ends.steps, scratch))
        call[plan.FIRST], call[plan.INPUTS], call[plan.SLOTS] = ends.first, ends.inputs, len(ends.steps)
        self.batch, self.team = np.zeros(split.SIZE, np.int64), np.zeros(max(helpers, 1), np.int64)
        self.batch_at, self.team_at, self.call = self.batch.ctypes.data, self.team.ctypes.data, call.ctypes.data
        self.kept = (placed, ends, scratch, call)  # what the call points into


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """The inputs and outputs of a plan: bytes of an event in each, how many are inputs, and which input ``plan.score`` takes.

    Where no input is float32, that is none of them.
    """

    steps: npt.NDArray[np.int64]
    inputs: int
    first: int

    @classmethod
    def of(cls, graph: Graph) -> "Ends":
        ends = (*graph.inputs, *graph.outputs)
        steps = np.array([np.dtype(value.dtype).itemsize * size_of(value.shape) for value in ends], np.int64)
        first = next((slot for slot, value in enumerate(graph.inputs) if value.dtype == "float32"), len(ends))
        return cls(steps, len(graph.inputs), first)


class Places:
    """The places of one plan: made when first needed, so many that MOST_CALLERS may score at once, each with helpers."""

    def __init__(self, table: Table, ends: Ends, helpers: int) -> None:
        self.table, self.ends, self.helpers = table, ends, helpers
        self.changed, self.waiting, self.made = threading.Condition(), 0, 1
        self.free = [self._new()]

    def take(self) -> Place:
        """A place that nobody uses, once there is one; give it back."""
        try:
            return self.free.pop()  # one step, whoever else does the same: it needs no lock
        except IndexError:
            return self.spare() or self._wait()

    def spare(self) -> Place | None:
        """A place that nobody uses, if there may be one more."""
        try:
            return self.free.pop()
        except IndexError:
            with self.changed:
                if self.made == MOST_CALLERS + self.helpers:
                    return None
                place = self._new()
                self.made += 1
                return place

    def give_back(self, place: Place) -> None:
        self.free.append(place)
        if self.waiting:
            with self.changed:
                self.changed.notify()

    def _wait(self) -> Place:
        with self.changed:
            self.waiting += 1
            try:
                while True:
                    try:
                        return self.free.pop()
                    except IndexError:
                        self.changed.wait()
            finally:
                self.waiting -= 1

    def _new(self) -> Place:
        return Place(self.table, self.ends, self.helpers)
