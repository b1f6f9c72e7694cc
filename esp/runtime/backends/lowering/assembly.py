"""From rows to a table: buffers share an arena by liveness, constants are packed together, all gets an address."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.kernels import plan
from esp.runtime.backends.lowering.lowering import Row
from esp.runtime.backends.lowering.packed import Packed
from esp.runtime.backends.lowering.values import Buffer

ALIGN = 64  # bytes: a cache line, a vector
LINE = ALIGN // 4  # floats
SLACK = 256  # floats that a masked tile may read past the end
ARENA_BYTES = 512 << 10  # what a chunk of events may take: so much stays in the second cache
# But as much as the weights take, and no more than this, for a few events: reading the weights once for them saves as much.
LARGE_BYTES, FEW = 64 << 20, 8


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A plan with its packed constants. Numbers at ``spots`` (of the rows as one run) are bytes into an arena that is yet to be made.

    ``chunk`` events fit the arena.
    """

    rows: npt.NDArray[np.int64]
    chunk: int
    arena_bytes: int
    spots: npt.NDArray[np.int64]
    packed: npt.NDArray[np.uint8]

    def place(self) -> "Placed":
        """The rows over an arena of their own: as many may run at the same time as were made."""
        (arena, at), rows = _memory(self.arena_bytes), self.rows.copy()
        rows.reshape(-1)[self.spots] += at
        return Placed(rows, arena)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The rows of a plan, all their addresses good, and the arena that they point into."""

    rows: npt.NDArray[np.int64]
    arena: npt.NDArray[np.uint8]


def assemble(plan_rows: list[Row], max_batch: int) -> Table:
    """Addresses for everything; the arena holds as many events as pay, at most ``max_batch``.

    Takes the rows out of the list, and each constant out of its row: a model's weights are not held twice.
    """
    places, row_floats = _place(plan_rows)
    cells = [[one.does.address, one.x, one.y, one.b, one.c, one.x_at, one.y_at, one.times, *one.fields] for one in plan_rows]
    plan_rows.clear()
    constants = _Constants.for_all(cells)
    chunk = max(1, min(max_batch, _chunk(max(4 * row_floats, 1), constants.memory.nbytes)))

    def number(item: Any) -> int:
        if item is None:
            return 0
        if isinstance(item, Buffer):
            return item.slot or 4 * chunk * places[item]
        if isinstance(item, np.ndarray | Packed):
            return constants.put(item)
        return plan.bits(item) if isinstance(item, float) else int(item)

    rows, spots = np.zeros((len(cells), plan.WIDTH), np.int64), []
    for at, line in enumerate(cells):
        rows[at, : len(line)] = [number(item) for item in line]
        spots += [at * plan.WIDTH + spot for spot, item in enumerate(line) if isinstance(item, Buffer) and not item.slot]
        line.clear()
    return Table(rows, chunk, 4 * (row_floats * chunk + SLACK), np.array(spots, np.int64), constants.memory)


def _chunk(row_bytes: int, weights_bytes: int) -> int:
    """How many events at once: as many as stay in cache, or a few over which the weights are worth more than that."""
    return max(ARENA_BYTES // row_bytes, min(FEW, min(weights_bytes, LARGE_BYTES) // row_bytes))


def _memory(size_bytes: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Zeroed bytes and the first aligned address in them."""
    memory = np.zeros(size_bytes + ALIGN, np.uint8)
    return memory, -(-memory.ctypes.data // ALIGN) * ALIGN


@dataclass(frozen=True, slots=True, eq=False)
class _Constants:
    """All constants in one run of memory: the address of each by the id of its array, and which are there already."""

    memory: npt.NDArray[np.uint8]
    addresses: dict[int, int]
    done: set[int]

    @classmethod
    def for_all(cls, cells: list[list[Any]]) -> "_Constants":
        """Room for all arrays among the cells; what is not written yet takes no memory."""
        addresses, size = {}, 0
        for array in {id(item): item for line in cells for item in line if isinstance(item, np.ndarray | Packed)}.values():
            addresses[id(array)] = size
            size += -(-array.nbytes // ALIGN) * ALIGN
        memory, start = _memory(size)
        return cls(memory, {key: start + offset for key, offset in addresses.items()}, set())

    def put(self, array: npt.NDArray[Any] | Packed) -> int:
        """The address of a constant, which is written there the first time."""
        address = self.addresses[id(array)]
        if id(array) not in self.done:
            at = address - self.memory.ctypes.data
            room = self.memory[at : at + array.nbytes]
            if isinstance(array, Packed):
                array.write(room)
            else:
                room[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self.done.add(id(array))
        return address


def _place(plan_rows: list[Row]) -> tuple[dict[Buffer, int], int]:
    """For each buffer how many floats an event it lies into the arena, and the floats an event of the whole arena.

    A buffer has room for the rows an event of what fills it, which is what names it first.
    """
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for at, one in enumerate(plan_rows):
        for buffer in one.buffers:
            if not buffer.slot:
                first.setdefault(buffer, at)
                last[buffer] = at
    rooms = {buffer: -(-buffer.size * plan_rows[at].times // LINE) * LINE for buffer, at in first.items()}
    places: dict[Buffer, int] = {}
    busy: list[Buffer] = []
    for buffer, begin in first.items():  # in the order of their first use
        busy = [other for other in busy if last[other] >= begin]
        places[buffer] = _gap(rooms[buffer], sorted((places[other], rooms[other]) for other in busy))
        busy.append(buffer)
    return places, max((place + rooms[buffer] for buffer, place in places.items()), default=0)


def _gap(room: int, busy: list[tuple[int, int]]) -> int:
    """The first place from which on so much room is free; ``busy`` are places in use and their rooms, in order."""
    at = 0
    for place, taken in busy:
        if place >= at + room:
            break
        at = max(at, place + taken)
    return at
