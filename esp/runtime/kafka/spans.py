"""The part of a partition that a backfill reads: from where it warms up, from where it counts, and where it ends."""

from dataclasses import dataclass

import numpy as np

from esp.runtime.events import RawBlock


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets ``first <= begin <= end``: reading begins at ``first``, what comes of records counts from ``begin`` on, ``end`` is not read."""

    first: int
    begin: int
    end: int

    def cut(self, raw: RawBlock) -> tuple[RawBlock, RawBlock]:
        """The records of a block that only warm up, and those that count; what lies behind the end is left out."""
        begin, end = np.searchsorted(raw.offset, (self.begin, self.end))
        return raw.take(slice(0, int(begin))), raw.take(slice(int(begin), int(end)))


Spans = dict[int, Span]  # by partition
