"""Stepping a bound graph of one event over the states of many keys: all rounds in one call on numba, a call a round elsewhere."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Array, Value
from esp.astore.ops.rules import size_of
from esp.kernels import stepping as kernels
from esp.kernels.intake import address
from esp.runtime.backends import Bound
from esp.runtime.backends.numba import NumbaBound
from esp.runtime.events import I64, Bools

NO_GAP_NS = (1 << 63) - 1
SMALLEST = 64  # events that there is room for from the start


class Table(Protocol):
    """A state table, as far as it is asked here."""

    def column(self, name: str) -> npt.NDArray[np.generic]: ...


@dataclass(slots=True)
class Memory:
    """The states of all keys: columns ``count``, ``last_ns`` and ``states`` of a state table, with what kernels want to know of them.

    A key begins with ``initial``, and begins anew after a gap of more than ``max_gap_ns``.
    """

    table: Table
    states: str  # the column's name
    initial: Array
    max_gap_ns: int | None = None
    seen: I64 | None = None
    held: Array | None = None  # the column as it was when ``fields`` was made
    fields: I64 | None = None
    place: int = 0

    def address(self) -> int:
        """Where the kernels' table is; the state table's columns move when it grows."""
        column = self.table.column(self.states)
        if column is not self.held:
            self.held, self.seen = column, np.zeros(len(column), np.int64)
            self.initial = np.ascontiguousarray(self.initial, np.float32)
            gap = NO_GAP_NS if self.max_gap_ns is None else self.max_gap_ns
            columns = self.table.column("count"), self.table.column("last_ns"), column, self.seen, self.initial
            self.fields = np.array([*(one.ctypes.data for one in columns), len(self.initial), gap], np.int64)
            self.place = self.fields.ctypes.data
        return self.place


class Steps(NamedTuple):
    """The outputs of n events, and which of them moved nothing, for their states would not be finite (None = none of them)."""

    outputs: tuple[Array, ...]
    refused: Bools | None = None


class Stepper:
    """A bound graph of one event: inputs (event, states), outputs (what it makes of the event, the new states)."""

    def __init__(self, bound: Bound, inputs: Sequence[Value], outputs: Sequence[Value], max_batch: int) -> None:
        self.bound, self.max_batch = bound, max_batch
        self.outputs = [(tuple(size for size in value.shape if isinstance(size, int)), value.dtype) for value in outputs[:-1]]
        self.width = size_of(inputs[1].shape)

    def advance(self, x: Array, rows: I64, ts_ns: I64, memory: Memory) -> Steps:
        """The outputs for x [n, *event] of the keys in those rows, in stream order; their states are n steps further then.

        An event whose states would not be finite moves nothing: those of its key after it go on from those before it.
        """
        n, place = len(rows), memory.address()
        out = tuple(np.empty((n, *shape), dtype) for shape, dtype in self.outputs)
        order = np.empty(3 * n, np.int64)
        last = kernels.rounds(rows, place, order)
        refused = np.zeros(n, np.bool_)
        begins = [0, *order[n : n + last].tolist()]
        for begin, end in pairwise(begins):
            for first in range(begin, end, self.max_batch):
                at = order[first : min(end, first + self.max_batch)]
                made, refused[at] = self._step(x[at], rows[at], ts_ns[at], place)
                for whole, some in zip(out, made):
                    whole[at] = some
        return Steps(out, refused if refused.any() else None)

    def advance_whole(self, x: Array, rows: I64, ts_ns: I64, memory: Memory) -> Steps | None:
        """The same in less time where it can be, for float32 events; None, and nothing has been done, where not, or for a NaN in x."""
        return None

    def _step(self, x: Array, rows: I64, ts_ns: I64, place: int) -> tuple[tuple[Array, ...], Bools]:
        """One event each of different keys: the outputs, and which events moved nothing."""
        states = np.empty((len(rows), self.width), np.float32)
        kernels.enter(rows, ts_ns, place, states)
        *made, after = self.bound.run([x, states])
        refused = np.empty(len(rows), np.bool_)
        kernels.leave(rows, ts_ns, np.ascontiguousarray(after).reshape(-1), place, refused)
        return tuple(made), refused


class NumbaStepper(Stepper):
    """The same in one nopython call a block, for a plan of float32 alone."""

    def __init__(self, bound: NumbaBound, inputs: Sequence[Value], outputs: Sequence[Value], max_batch: int) -> None:
        super().__init__(bound, inputs, outputs, max_batch)
        self.places, self.lock = bound.places, threading.Lock()  # the room serves one block at a time
        self.sizes = np.array([size_of(value.shape) for value in (inputs[0], *outputs[:-1])], np.int64)
        self.ends = np.cumsum([0, *self.sizes[1:]]).tolist()
        self.shape = self.outputs[0][0] if len(self.outputs) == 1 else None  # that of the only output
        self.row_bytes = 24 + 4 * int(2 * self.width + self.sizes.sum())
        self.fixed = np.array([len(self.outputs), *self.sizes], np.int64)
        self.fixed_at = address(self.fixed)
        self._make_room(SMALLEST)

    def _make_room(self, n: int) -> None:
        self.capacity, self.room = n, np.empty(n * self.row_bytes, np.uint8)
        self.room_at = address(self.room)

    def advance(self, x: Array, rows: I64, ts_ns: I64, memory: Memory) -> Steps:
        steps = self._advance(x, rows, ts_ns, memory, is_whole=False)
        assert steps is not None
        return steps

    def advance_whole(self, x: Array, rows: I64, ts_ns: I64, memory: Memory) -> Steps | None:
        return self._advance(x, rows, ts_ns, memory, is_whole=True)

    def _advance(self, x: Array, rows: I64, ts_ns: I64, memory: Memory, is_whole: bool) -> Steps | None:
        n, ends = len(rows), self.ends
        out, refused = np.empty(n * ends[-1], np.float32), None
        with self.lock:
            if n > self.capacity:
                self._make_room(n)
            place = self.places.take()
            at = memory.address()
            told = kernels.advance(place.call, at, self.fixed_at, self.room_at, is_whole, rows, ts_ns, x.ravel(), out)
            if told > 0:
                refused = self.room[16 * n : 24 * n].view(np.int64) != 0
            self.places.give_back(place)
        if told < 0:
            return None
        if self.shape is not None:
            return Steps((out.reshape(n, *self.shape),), refused)
        return Steps(
            tuple([out[n * a : n * b].reshape(n, *shape) for a, b, (shape, _) in zip(ends, ends[1:], self.outputs)]), refused
        )


def stepper(bound: Bound, inputs: Sequence[Value], outputs: Sequence[Value], max_batch: int) -> Stepper:
    """What steps a bound graph of one event."""
    is_float = all(value.dtype == "float32" for value in (*inputs, *outputs))
    if isinstance(bound, NumbaBound) and is_float and not bound.bars:
        return NumbaStepper(bound, inputs, outputs, max_batch)
    return Stepper(bound, inputs, outputs, max_batch)
