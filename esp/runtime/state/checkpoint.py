"""Checkpoints on local disk: the state of a task together with the offsets that it equals, full or as a chain of changes.

A partition's files are ``p<partition>-<number>-full.ckpt`` and, after it, ``p<partition>-<number>-more.ckpt``, each of which
names the digest of the one before. A new full one takes the place of the chain.
"""

import fcntl
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from esp.errors import StateError
from esp.files import sync_directory
from esp.runtime.state.segment import TornError, read_segment, write_segment
from esp.runtime.state.tables import Tables

_NAME = re.compile(r"p(\d+)-(\d+)-(full|more)\.ckpt")
_LONGEST_CHAIN = 100


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one task: the next offset of each (source window, partition), and its tables.

    ``tables`` is what ``Tables.dump`` gave: all, or the changes since the checkpoint before. ``identity`` tells the topic of
    the offsets from others that had its name, where that is known.
    """

    offsets: Mapping[tuple[str, int], int]
    tables: Mapping[str, Any]
    identity: str = ""

    @property
    def is_full(self) -> bool:
        return bool(self.tables["full"])


@dataclass(slots=True)
class _Chain:
    """What stands on disk for one partition."""

    number: int = 0
    digest: bytes = b""
    base_bytes: int = 0
    more_bytes: int = 0
    length: int = 0
    is_whole: bool = False  # changes may be chained on


@dataclass(slots=True)
class CheckpointStore:
    """The checkpoints of one source of a query in a folder, a file chain for each partition.

    ``fingerprint`` names what the state depends on, ``source`` where the records come from that the offsets count.

    >>> import tempfile
    >>> store = CheckpointStore(Path(tempfile.mkdtemp()), "digits", "3f2a", "kafka:digits")
    >>> store.save(0, Checkpoint({("digits", 0): 42}, Tables().dump(changed_only=False)))
    >>> store.load(0).offsets
    {('digits', 0): 42}
    """

    path: Path
    query: str
    fingerprint: str
    source: str = ""
    _chains: dict[int, _Chain] = field(default_factory=dict)
    _lock: BinaryIO | None = None

    def lock(self) -> None:
        """Keeps other engines off this query's state until ``unlock``; StateError when one has it."""
        self._make()
        file = (self.path / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            file.close()
            raise StateError(
                f"another engine runs query '{self.query}' on this state", where=str(self.path),
                mend="stop it, or give this one a state directory of its own (--state)",
            ) from err  # fmt: skip
        self._lock = file

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wants_changes(self, partition: int) -> bool:
        """Whether changes are enough for the next checkpoint: ``tables.dump(changed_only=store.wants_changes(partition))``."""
        chain = self._chains.get(partition)
        return chain is not None and chain.is_whole and chain.more_bytes <= chain.base_bytes and chain.length < _LONGEST_CHAIN

    def save(self, partition: int, checkpoint: Checkpoint) -> None:
        """Makes a checkpoint durable; where that fails the next one has to be full, for its changes are lost."""
        chain = self._chains.get(partition, _Chain())
        if not checkpoint.is_full and not chain.is_whole:
            raise StateError("changes without a full checkpoint before them", where=f"{self.path}: partition {partition}")
        self._chains.pop(partition, None)
        number = chain.number + 1 if chain.number else self._newest(partition) + 1
        try:
            self._make()
            kind = "full" if checkpoint.is_full else "more"
            digest, size = write_segment(
                self.path / f"p{partition}-{number:012d}-{kind}.ckpt", self._image(partition, checkpoint, chain.digest)
            )
        except OSError as err:
            raise StateError(
                f"the checkpoint cannot be written: {err.strerror}",
                where=str(self.path),
                mend="make room, or let the engine write there",
            ) from err
        if checkpoint.is_full:
            self._delete(partition, before=number)
            self._chains[partition] = _Chain(number, digest, base_bytes=size, is_whole=True)
        else:
            more, length = chain.more_bytes + size, chain.length + 1
            self._chains[partition] = _Chain(number, digest, chain.base_bytes, more, length, is_whole=True)

    def load(self, partition: int) -> Checkpoint | None:
        """The newest state that is intact, as a full checkpoint; None where there is none.

        Damaged changes at the end are left out (offsets travel with the state, so the stream is read again from there).
        Raises StateError when the full checkpoint is damaged, or belongs to a query of another shape or to another source.
        """
        files = self._files(partition)
        bases = [at for at, (_, kind, _) in enumerate(files) if kind == "full"]
        if not files:
            return None
        try:
            if not bases:
                raise TornError("the full checkpoint is missing", where=str(self.path))
            number, _, path = files[bases[-1]]
            image, digest = read_segment(path)
        except TornError as err:
            raise StateError(err.what, where=err.where, mend="put the file back, or start anew with --fresh") from err
        self._check(image, path)
        return self._follow(partition, image, _Chain(number, digest, path.stat().st_size, is_whole=True), files[bases[-1] + 1 :])

    def _follow(self, partition: int, image: dict[str, Any], chain: _Chain, files: list[tuple[int, str, Path]]) -> Checkpoint:
        """Lays the changes over the base, as far as they are intact."""
        tables = Tables()
        tables.load(image["tables"])
        for number, _, path in files:
            try:
                more, digest = read_segment(path)
            except TornError:
                more = None
            if more is None or number != chain.number + 1 or more["previous"] != chain.digest:
                chain.is_whole = False  # the next one is full, and takes the damaged ones away
                break
            image = more
            tables.load(more["tables"])
            chain.number, chain.digest, chain.length = number, digest, chain.length + 1
            chain.more_bytes += path.stat().st_size
        if not chain.is_whole:
            chain.number = files[-1][0]
        self._chains[partition] = chain
        offsets = {(topic, partition): offset for topic, partition, offset in image["offsets"]}
        return Checkpoint(offsets, tables.dump(changed_only=False), image.get("identity", ""))

    def clear(self, partition: int | None = None) -> None:
        """Forgets the state of a partition, or of all (``--fresh``)."""
        for _, path in self._listed(partition):
            path.unlink()
        self._chains.clear()

    def _check(self, image: dict[str, Any], path: Path) -> None:
        if image["fingerprint"] != self.fingerprint:
            raise StateError(
                f"the checkpoint belongs to query '{image['query']}' with other windows", where=str(path),
                mend="start anew with --fresh, or run the query as it was",
            )  # fmt: skip
        if image.get("source") != self.source:
            raise StateError(
                f"the checkpoint's offsets are those of '{image.get('source')}', the query reads '{self.source}'", where=str(path),
                mend="start anew with --fresh, or give this query another --state",
            )  # fmt: skip

    def _image(self, partition: int, checkpoint: Checkpoint, previous: bytes) -> dict[str, Any]:
        return {
            "query": self.query, "fingerprint": self.fingerprint, "source": self.source, "partition": partition,
            "previous": b"" if checkpoint.is_full else previous,
            "offsets": [[topic, number, offset] for (topic, number), offset in checkpoint.offsets.items()],
            "tables": checkpoint.tables, "identity": checkpoint.identity,
        }  # fmt: skip

    def _make(self) -> None:
        """Makes the directory, or says why it can't be."""
        if self.path.is_dir():
            return
        try:
            self.path.mkdir(parents=True)
            sync_directory(self.path.parent)
        except OSError as err:
            raise StateError(
                f"the state directory cannot be made: {err.strerror}", where=str(self.path),
                mend="let the engine write there, or name another directory",
            ) from err  # fmt: skip

    def _listed(self, partition: int | None) -> list[tuple[re.Match[str], Path]]:
        """The checkpoint files of a partition, or of all."""
        names = sorted(os.listdir(self.path)) if self.path.is_dir() else []
        found = [(_NAME.fullmatch(name), self.path / name) for name in names]
        return [(match, path) for match, path in found if match and partition in (None, int(match[1]))]

    def _files(self, partition: int) -> list[tuple[int, str, Path]]:
        return sorted((int(match[2]), match[3], path) for match, path in self._listed(partition))

    def _newest(self, partition: int) -> int:
        files = self._files(partition)
        return files[-1][0] if files else 0

    def _delete(self, partition: int, before: int) -> None:
        for number, _, path in self._files(partition):
            if number < before:
                path.unlink()
