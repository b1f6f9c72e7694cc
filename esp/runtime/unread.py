"""Records as a source hands them over, yet to be read: the worker does that, and says where they are damaged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from esp.runtime.events import U8, RawBlock

OnCorrupt = Literal["fail", "dead_letter"]


class Unread(Protocol):
    """Bytes of one partition as they came, with all records from the offset ``wanted`` on.

    ``len`` is a guess of how many there are. ``again`` may be called from any thread: it fetches anew from an offset.
    ``place`` names the topic for whoever reads an error.
    """

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def wanted(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def again(self) -> Callable[[int], None]: ...

    @property
    def on_corrupt(self) -> OnCorrupt: ...

    @property
    def place(self) -> str: ...

    def __len__(self) -> int: ...

    def block(self) -> RawBlock:
        """The records. Raises Damage."""
        ...


@dataclass(frozen=True, slots=True)
class Moved:
    """Stands among the records of a partition where those that follow do not follow on: they begin anew at ``offset``."""

    topic: str
    partition: int
    offset: int
    size_bytes: int = 0

    def __len__(self) -> int:
        return 0


class Unwanted(Exception):
    """Records that are waited for in reading (for their schema, say) go to another engine: this one need not read them any more."""


class Damage(Exception):
    """A record batch that cannot be read: what is wrong, the byte of the fetch where, its offsets, its bytes.

    ``before`` are the records in front of it, ``rest`` is what follows (None = nothing, or nobody can tell where it begins).
    """

    def __init__(self, what: str, at: int, first: int, last: int, data: U8, before: RawBlock, rest: Unread | None) -> None:
        super().__init__(f"offsets {first} to {last}: {what}, at byte {at} of the fetch")
        self.what, self.at, self.first, self.last, self.data, self.before, self.rest = what, at, first, last, data, before, rest
