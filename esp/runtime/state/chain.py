"""Chains of checkpoints: a full image of a task's state, then changes, each of which names the digest of the one before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esp.errors import StateError
from esp.runtime.state.segment import Packed, TornError, pack_segment
from esp.runtime.state.tables import Tables

LONGEST = 100  # changes after a full image


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one task: the next offset of each (source window, partition), and its tables.

    ``tables`` is what ``Tables.dump`` gave: all, or the changes since the checkpoint before. ``identity`` tells the topic of
    the offsets from others that had its name, where that is known. ``models`` are the marks of those that scored, by window.
    """

    offsets: Mapping[tuple[str, int], int]
    tables: Mapping[str, Any]
    identity: str = ""
    models: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return bool(self.tables["full"])


@dataclass(frozen=True, slots=True)
class Chain:
    """What stands of one partition: the number and digest of its newest link, the bytes of each (none = the next one must be full)."""

    number: int = 0
    digest: bytes = b""
    sizes: tuple[int, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether changes may be chained on."""
        return bool(self.sizes)

    @property
    def wants_changes(self) -> bool:
        """Whether changes are enough for the next link: a full one is due when they outweigh the one before, or are many."""
        return self.is_whole and sum(self.sizes[1:]) <= self.sizes[0] and len(self.sizes) <= LONGEST

    def followed_by(self, link: "Link") -> "Chain":
        before = () if link.is_full else self.sizes
        return Chain(link.number, link.packed.digest, (*before, link.packed.size_bytes))

    def cut(self) -> "Chain":
        """The same, to be followed by a full link."""
        return Chain(self.number, self.digest)


@dataclass(frozen=True, slots=True)
class Link:
    """A checkpoint on its way into a chain."""

    number: int
    is_full: bool
    packed: Packed


@dataclass(frozen=True, slots=True)
class Stored:
    """A link where it is kept; ``read`` gives its image, digest and size, and raises TornError when it is damaged."""

    number: int
    is_full: bool
    read: Callable[[], tuple[Any, bytes, int]]


@dataclass(frozen=True, slots=True)
class Restored:
    """The state that a chain comes to, the offsets that it equals, those of which topic, and the chain as far as it is intact."""

    tables: Tables
    offsets: Mapping[tuple[str, int], int]
    chain: Chain
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose state it is: the query, what the state depends on, where the records come from that the offsets count."""

    query: str
    fingerprint: str
    source: str

    def link(self, chain: Chain, number: int, partition: int, checkpoint: Checkpoint) -> Link:
        """A checkpoint as the next link of a chain."""
        image = {
            "query": self.query, "fingerprint": self.fingerprint, "source": self.source, "partition": partition,
            "previous": b"" if checkpoint.is_full else chain.digest,
            "offsets": [[topic, each, offset] for (topic, each), offset in checkpoint.offsets.items()],
            "tables": checkpoint.tables, "identity": checkpoint.identity,
        }  # fmt: skip
        return Link(number, checkpoint.is_full, pack_segment(image))

    def follow(self, partition: int, links: Sequence[Stored], where: str) -> Restored:
        """Lays changes over a full image, as far as they are intact. Raises StateError when that one is damaged or another's."""
        chain, tables, image = Chain(), Tables(), dict[str, Any]()
        for link in links:
            found = self._read(link, chain, where)
            if found is None:  # the next one is full, and takes the damaged ones away
                chain = Chain(links[-1].number, chain.digest)
                break
            image, digest, size = found
            tables.load(image["tables"], is_last=False)
            chain = Chain(link.number, digest, (*chain.sizes, size))
        tables.index()
        offsets = {(source, partition): offset for source, _, offset in image["offsets"]}
        return Restored(tables, offsets, chain, image.get("identity", ""))

    def _read(self, link: Stored, chain: Chain, where: str) -> tuple[Any, bytes, int] | None:
        """The image, digest and size of the next link; None where it does not follow."""
        try:
            image, digest, size = link.read()
        except TornError as err:
            if chain.is_whole:
                return None
            raise StateError(err.what, where=err.where, mend="put the file back, or start anew with --fresh") from err
        if chain.is_whole:
            return (image, digest, size) if (link.number, image["previous"]) == (chain.number + 1, chain.digest) else None
        self.check(image, where)
        return image, digest, size

    def check(self, image: Mapping[str, Any], where: str) -> None:
        """StateError when an image belongs to a query of another shape or to another source."""
        if image["fingerprint"] != self.fingerprint:
            raise StateError(
                f"the checkpoint belongs to query '{image['query']}' with other windows", where=where,
                mend="start anew with --fresh, or run the query as it was",
            )  # fmt: skip
        if image.get("source") != self.source:
            raise StateError(
                f"the checkpoint's offsets are those of '{image.get('source')}', the query reads '{self.source}'", where=where,
                mend="start anew with --fresh, or give this query another --state",
            )  # fmt: skip
