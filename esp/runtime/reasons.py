"""Why events are bad: one text an event, kept as a column of bytes, of which no string is made unless somebody reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from esp.runtime.events import I64, VarColumn


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reasons(Sequence[str]):
    """A sequence of texts over a column of UTF-8; equal to any sequence of the same texts.

    >>> reasons = Reasons.of(["no value", "a"])
    >>> reasons[0], len(reasons), reasons == ("no value", "a")
    ('no value', 2, True)
    """

    column: VarColumn

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Reasons":
        """What has no UTF-8 (half of a pair of surrogates) becomes a question mark."""
        return texts if isinstance(texts, Reasons) else cls(VarColumn.of([text.encode(errors="replace") for text in texts]))

    @classmethod
    def joined(cls, parts: Sequence[Sequence[str]]) -> "Reasons":
        """All the texts of several sequences, in order."""
        columns = [cls.of(part).column for part in parts]
        ends = np.cumsum([0, *(column.offsets[-1] for column in columns)])
        offsets = np.concatenate([np.zeros(1, np.int64), *(column.offsets[1:] + end for column, end in zip(columns, ends))])
        return cls(VarColumn(offsets, np.concatenate([column.data[: column.offsets[-1]] for column in columns])))

    def take(self, rows: I64) -> "Reasons":
        """Some of them, in the order given."""
        return Reasons(self.column.take(rows))

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Reasons": ...
    def __getitem__(self, at: int | slice) -> "str | Reasons":
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        if not -len(self) <= at < len(self):
            raise IndexError(f"there are {len(self)} reasons")
        return self.column.value(at % len(self)).decode()

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __repr__(self) -> str:
        return f"Reasons({tuple(self)})"

    __hash__ = None  # type: ignore[assignment]
