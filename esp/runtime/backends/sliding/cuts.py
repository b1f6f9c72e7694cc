"""What of a layer a window computes, and what it takes from the window before it: ranges of positions along time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Marks = npt.NDArray[np.bool_]
Range = tuple[int, int]  # first position, and past the last
NONE: Range = (0, 0)


@dataclass(frozen=True, slots=True)
class Kept:
    """Positions that a window hands on: those of ``ring`` come from the window ``phases`` windows ago, where they lay ``shift`` further.

    Of them only those before ``head`` and from ``tail`` on are asked for; the rest wait until they are, further left.
    """

    ring: Range
    head: int
    tail: int
    shift: int
    phases: int

    @property
    def size(self) -> int:
        return self.ring[1] - self.ring[0]

    @property
    def asked(self) -> int:
        """How many positions of the ring are asked for."""
        return self.head - self.ring[0] + self.ring[1] - self.tail

    @property
    def handed_on(self) -> Range:
        """The positions of a window that are the ring of the next one."""
        return self.ring[0] + self.shift, self.ring[1] + self.shift


@dataclass(frozen=True, slots=True)
class Cut:
    """The ranges of a layer: ``left`` and ``right`` are computed anew, ``kept`` lies between them; ``right`` begins with what is handed on."""

    left: Range
    right: Range
    kept: Kept | None = None

    @property
    def computed(self) -> list[Range]:
        return [one for one in (self.left, self.right) if one[0] < one[1]]


def cut(need: Marks, same: Marks, shift: int, phases: int) -> Cut:
    """``need``: the positions asked for; ``same``: those that are equal to what lay ``shift`` further ``phases`` windows ago."""
    first = int(same.argmax()) if same.any() else len(same)
    stops = np.flatnonzero(~same[first:])
    end = first + int(stops[0]) if stops.size else len(same)
    asked = first + np.flatnonzero(need[first:end])
    left = _hull(need, 0, first)
    if not asked.size:
        return Cut(left, _hull(need, end, len(need)))
    right = end, max(end + shift, _hull(need, end, len(need))[1])
    head, tail = _parts(asked.tolist(), end)
    return Cut(left, right, Kept((int(asked[0]), end), head, tail, shift, phases))


def _hull(marks: Marks, first: int, end: int) -> Range:
    spots = first + np.flatnonzero(marks[first:end])
    return (int(spots[0]), int(spots[-1]) + 1) if spots.size else NONE


def _parts(asked: list[int], end: int) -> Range:
    """Where the largest gap between the positions asked for (and the end) begins and ends."""
    gaps = [(after - before - 1, before + 1, after) for before, after in zip(asked, [*asked[1:], end])]
    _, head, tail = max(gaps)
    return head, tail
