"""The last events of each key, in a state table: what the sequence kind emits and a score window with ``sequence`` scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from esp.errors import QueryError
from esp.kernels import windows as kernels
from esp.runtime.events import I64, EventBlock
from esp.runtime.keys import row_keys
from esp.runtime.kinds.keyed import require_field
from esp.runtime.kinds.window import Context, Stream

NO_GAP_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Full:
    """The sequences that a block completed: the events that did, their tensors [m, length, channels], and of each the row of its key
    and the number of the key's events up to it (since the last gap)."""

    at: I64
    tensors: npt.NDArray[np.float32]
    rows: I64
    counts: I64


class Rings:
    """A ring of the last ``length`` events a key; full at event ``length``, and then at every ``hop``-th."""

    def __init__(self, by: Sequence[str], fields: Sequence[str], shape: tuple[int, int], hop: int, max_gap_ns: int | None) -> None:
        self.by, self.fields, self.shape, self.hop = by, fields, shape, hop
        self.max_gap_ns = NO_GAP_NS if max_gap_ns is None else max_gap_ns

    def open(self, context: Context) -> None:
        self.table = context.table("rings", {"count": ("int64", ()), "last_ns": ("int64", ()), "ring": ("float32", self.shape)})

    def add(self, block: EventBlock) -> Full:
        """Takes the events of a block in."""
        n, table = len(block), self.table
        rows = table.rows(row_keys(block, self.by))
        number, is_full = np.empty(n, np.int64), np.empty(n, np.uint8)
        made = kernels.advance_sequences(
            rows, np.ascontiguousarray(block.ts_ns), self.shape[0], self.hop, self.max_gap_ns, table.column("count"),
            table.column("last_ns"), number, is_full,
        )  # fmt: skip
        out = np.empty((made, *self.shape), np.float32)
        kernels.fill_sequences(rows, number, is_full, stacked(block, self.fields), table.column("ring"), out)
        at = np.flatnonzero(is_full)
        return Full(at, out, rows[at], number[at])


def stacked(block: EventBlock, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Fields side by side, float32[n, channels]; nulls are NaN."""
    parts = []
    for name in names:
        column, valid = block.column(name), block.valid(name)
        assert isinstance(column, np.ndarray)
        part = column.reshape(len(block), prod(column.shape[1:])).astype(np.float32)
        if valid is not None:
            part[~valid] = np.nan
        parts.append(part)
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def channels(stream: Stream, names: Sequence[str], where: str) -> int:
    """How many channels fields side by side make; QueryError for one that cannot be stacked."""
    return sum(_channels(stream, name, where) for name in names)


def _channels(stream: Stream, name: str, where: str) -> int:
    require_field(stream, name, where)
    kind = stream.schema[name].type
    if not (kind.is_number or len(kind.shape) == 1):
        raise QueryError(f"field '{name}' is a {kind}", where=where, mend="take numbers and tensors of one dimension")
    return kind.shape[0] if kind.shape else 1
