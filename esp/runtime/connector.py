"""What every connector is: settings that check themselves, a source that hands out raw blocks, a sink that takes them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import ClassVar, Protocol

import pydantic

from esp.runtime.events import RawBlock
from esp.runtime.peer import Peer
from esp.runtime.unread import Moved, Unread

Assigned = Callable[[set[int]], Awaitable[dict[int, int | None]]]
Revoked = Callable[[set[int]], Awaitable[None]]
ELSEWHERE = -1  # in the answer of Assigned: there is a state, but its offset counts another topic that had the same name


class Connection(pydantic.BaseModel):
    """The keys that every connector has. The same table serves a source or a sink; ``source_only`` and ``sink_only`` name keys of one."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    source_only: ClassVar[frozenset[str]] = frozenset()
    sink_only: ClassVar[frozenset[str]] = frozenset()

    connector: str

    @property
    def has_one_partition(self) -> bool:
        """Whether all records stand in one partition, so that any key will do for a keyed window."""
        return False


class Source(Protocol):
    """Hands out the records of one topic; lives on the event loop.

    ``assigned`` is awaited when partitions come (the engine restores state and answers for each the offset to start from;
    None = the group's commit, else the setting ``start``); ``revoked`` before they go (the engine drains and commits).
    ``stop`` calls neither. ``identity`` tells the topic from others that have or had its name; empty where nobody knows.
    ``handover_s`` is how long ``revoked`` may take, None where nobody waits for it.
    """

    bounded: bool
    handover_s: float | None

    @property
    def ended(self) -> bool:
        """Whether a bounded source has handed out its last record."""
        ...

    @property
    def peer(self) -> Peer: ...

    @property
    def identity(self) -> str: ...

    async def start(self, assigned: Assigned, revoked: Revoked) -> None: ...

    async def poll(self, timeout_s: float) -> Sequence[RawBlock | Unread | Moved]:
        """What is there, in order within a partition; waits at most ``timeout_s`` for the first record."""
        ...

    def pause(self, partitions: Set[int]) -> None: ...

    def resume(self, partitions: Set[int]) -> None: ...

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Makes durable the offset that each partition would go on from."""
        ...

    async def unmoved(self, partitions: Set[int]) -> dict[int, int | None]:
        """Of partitions that have come, those that were here just before and that nobody else has had since, with the group's commit."""
        ...

    async def lag(self) -> dict[int, int]:
        """Records that wait in each partition."""
        ...

    async def stop(self) -> None: ...


class Sink(Protocol):
    """Takes records; lives on the event loop."""

    @property
    def peer(self) -> Peer: ...

    async def start(self) -> None: ...

    async def send(self, block: RawBlock) -> None:
        """Hands a block over; waits while too much is in flight."""
        ...

    async def flush(self) -> None:
        """Returns when all that was handed over is acknowledged; TransportError if any of it failed."""
        ...

    async def stop(self) -> None: ...
