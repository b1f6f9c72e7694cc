"""Sizes that are no number: the batch, several numbers a row of the batch, and what only the data tell."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rows:
    """``times`` numbers for each row of the batch, row after row: the size ``times * N``.

    The batch itself is None in a shape, and ``Rows(1)`` among the numbers of a tensor that holds sizes. What is no multiple
    of the batch (N + 1, N * N) is a TypeError.

    >>> Rows(1) * 6, Rows(6) // 3
    (Rows(times=6), Rows(times=2))
    """

    times: int

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
        return "N" if self.times == 1 else f"{self.times}N"


class Unknown:
    """A size that depends on the data, such as how many boxes are selected: equal to nothing but itself."""

    def __str__(self) -> str:
        return "?"


Dim = int | None | Rows | Unknown  # None = the batch


def rows_in(dim: Dim) -> int:
    """How many numbers a row of the batch has along an axis of this size; 0 where the size is not the batch's."""
    return 1 if dim is None else dim.times if isinstance(dim, Rows) else 0


def of_rows(times: int) -> Dim:
    """The size of an axis with ``times`` numbers for each row of the batch."""
    return None if times == 1 else Rows(times)


def _whole(value: Any) -> int | None:
    try:
        return int(value) if int(value) == value else None
    except (TypeError, ValueError):
        return None
