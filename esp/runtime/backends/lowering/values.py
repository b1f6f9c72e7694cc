"""Values in a plan: where they lie, and in which order of axes. Most changes of shape are changes of this note alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esp.astore.ops.rules import size_of

Index = npt.NDArray[np.int64]
Shape = tuple[int | None, ...]  # a plan knows the batch (None) and fixed sizes


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Room for ``size`` floats an event: in the arena, or an array of the caller (``slot``: -1 the first)."""

    size: int
    slot: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Scattered:
    """Numbers of a row at places of their own (in the row's shape) among ``room`` floats, which hold others too.

    ``window``: of the pool that follows, where there is one plane for each place under it.
    """

    places: Index
    room: int
    window: tuple[int, ...] = ()

    def positions(self) -> Index:
        return self.places


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in a buffer. ``order`` lists its axes as they lie in memory, the batch first.

    ``flat``: the tensor that this one was reshaped from while its order was another than it says; its rows then hold that
    one's numbers, in that one's order. Or the places where the numbers are scattered.
    """

    buffer: Buffer
    shape: Shape
    order: tuple[int, ...]
    flat: "Value | Scattered | None" = None

    @property
    def batch(self) -> int:
        return self.shape.index(None)

    @property
    def dims(self) -> tuple[int, ...]:
        """The sizes of the axes but the batch."""
        return tuple(size for size in self.shape if size is not None)

    @property
    def size(self) -> int:
        return size_of(self.shape)

    @property
    def room(self) -> int:
        """The floats of a row as it lies."""
        return self.size if self.flat is None else self.flat.room

    @property
    def physical(self) -> tuple[int, ...]:
        """The sizes as they lie in memory, the batch left out."""
        return tuple(self.shape[axis] or 0 for axis in self.order[1:])

    def positions(self) -> Index:
        """Where each number of a row lies in the buffer, in the shape ``dims``."""
        if self.flat is not None:
            return self.flat.positions().reshape(self.dims)
        return np.transpose(np.arange(self.size, dtype=np.int64).reshape(self.physical), np.argsort(self.order[1:]))

    def lies_as(self, order: tuple[int, ...]) -> bool:
        """Whether the numbers already lie as that order of axes says (axes of one do not count)."""
        return self.flat is None and _solid(self.shape, self.order) == _solid(self.shape, order)


def _solid(shape: Shape, order: tuple[int, ...]) -> list[int]:
    return [axis for axis in order[1:] if shape[axis] != 1]


def plain(shape: Shape) -> tuple[int, ...]:
    """The order in which axes are written, the batch brought to the front."""
    batch = shape.index(None)
    return (batch, *(axis for axis in range(len(shape)) if axis != batch))


def lying(positions: Index, shape: Shape, order: tuple[int, ...]) -> Index:
    """An array of the shape ``dims`` turned to how the axes lie, as one run."""
    batch = shape.index(None)
    axes = [axis - (axis > batch) for axis in order[1:]]
    return np.ascontiguousarray(np.transpose(positions, axes)).reshape(-1)
