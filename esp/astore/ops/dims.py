"""Sizes that are no number: the batch, several numbers a row of the batch, and what only the data tell."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rows:
    """``times`` numbers for each row of the batch: the size ``times * N``.

    They lie row after row, or, where steps have been merged with the batch behind them, ``outer`` times a part of every row.
    The batch itself is None in a shape, and ``Rows(1)`` among the numbers of a tensor that holds sizes (there ``outer`` says
    nothing). What is no multiple of the batch (N + 1, N * N) is a TypeError.

    >>> print(Rows(1) * 6, Rows(6) // 3, Rows(8, outer=4))
    6N 2N 4*N*2
    """

    times: int
    outer: int = 1

    def __mul__(self, other: Any) -> "Rows":
        whole = _whole(other)
        return Rows(self.times * whole) if whole is not None and whole > 0 else NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> "Rows | int":
        if isinstance(other, Rows):
            return self.times // other.times if self.times % other.times == 0 else NotImplemented
        whole = _whole(other)
        return Rows(self.times // whole) if whole and whole > 0 and self.times % whole == 0 else NotImplemented

    __truediv__ = __floordiv__

    def __str__(self) -> str:
        if self.outer == 1:
            return "N" if self.times == 1 else f"{self.times}N"
        return f"{self.outer}*N" + (f"*{self.times // self.outer}" if self.times > self.outer else "")


class Unknown:
    """A size that depends on the data, such as how many boxes are selected: equal to nothing but itself."""

    def __str__(self) -> str:
        return "?"


Dim = int | None | Rows | Unknown  # None = the batch


def rows_in(dim: Dim) -> int:
    """How many numbers a row of the batch has along an axis of this size; 0 where the size is not the batch's."""
    return 1 if dim is None else dim.times if isinstance(dim, Rows) else 0


def outer_of(dim: Dim) -> int:
    """How often an axis of this size goes through the batch."""
    return dim.outer if isinstance(dim, Rows) else 1


def of_rows(times: int, outer: int = 1) -> Dim:
    """The size of an axis with ``times`` numbers for each row of the batch, a part of them in each of ``outer`` goes."""
    return None if times == 1 else Rows(times, outer)


def _whole(value: Any) -> int | None:
    try:
        return int(value) if int(value) == value else None
    except (TypeError, ValueError):
        return None
