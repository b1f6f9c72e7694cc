"""Checkpoints on local disk: the state of a task together with the offsets that it equals, full or as a chain of changes.

A partition's files are ``p<partition>-<number>-full.ckpt`` and, after it, ``p<partition>-<number>-more.ckpt``, each of which
names the digest of the one before. A new full one takes the place of the chain.
"""

import fcntl
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from esp.errors import StateError
from esp.files import sync_directory, write_whole
from esp.runtime.state.chain import Chain, Checkpoint, Link, Owner, Restored, Stored
from esp.runtime.state.progress import Restore
from esp.runtime.state.segment import read_segment, write_segment

_NAME = re.compile(r"p(\d+)-(\d+)-(full|more)\.ckpt")


@dataclass(slots=True)
class CheckpointStore:
    """The checkpoints of one source of a query in a folder, a file chain for each partition.

    ``fingerprint`` names what the state depends on, ``source`` where the records come from that the offsets count.

    >>> import tempfile
    >>> store = CheckpointStore(Path(tempfile.mkdtemp()), "digits", "3f2a", "kafka:digits")
    >>> store.save(0, Checkpoint({("digits", 0): 42}, {"full": True, "windows": {}}))
    >>> store.load(0).offsets
    {('digits', 0): 42}
    """

    path: Path
    query: str
    fingerprint: str
    source: str = ""
    _chains: dict[int, Chain] = field(default_factory=dict)
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

    @property
    def owner(self) -> Owner:
        return Owner(self.query, self.fingerprint, self.source)

    def wants_changes(self, partition: int) -> bool:
        """Whether changes are enough for the next checkpoint: ``tables.dump(changed_only=store.wants_changes(partition))``."""
        return self._chains.get(partition, Chain()).wants_changes

    def save(self, partition: int, checkpoint: Checkpoint) -> None:
        """Makes a checkpoint durable; where that fails the next one has to be full, for its changes are lost."""
        chain = self._chains.get(partition, Chain())
        if not checkpoint.is_full and not chain.is_whole:
            raise StateError("changes without a full checkpoint before them", where=f"{self.path}: partition {partition}")
        self._chains.pop(partition, None)
        number = chain.number + 1 if chain.number else self.newest(partition) + 1
        link = self.owner.link(chain, number, partition, checkpoint)
        self.keep(partition, link)
        self._chains[partition] = chain.followed_by(link)

    def keep(self, partition: int, link: Link) -> None:
        """Writes a link; a full one takes away what is older."""
        try:
            self._make()
            write_segment(self._path(partition, link.number, link.is_full), link.packed)
        except OSError as err:
            raise self._unwritable(err) from err
        if link.is_full:
            self._delete_all_but(partition, link.number)

    def mirror(self, partition: int, link: Link) -> None:
        """Keeps a link of a chain that is kept elsewhere too; changes without what they follow are left out."""
        chain = self._chains.pop(partition, Chain())
        if link.is_full or (chain.is_whole and chain.number == link.number - 1):
            self.keep(partition, link)
            self._chains[partition] = chain.followed_by(link)

    def adopt(self, partition: int, chain: Chain, links: Iterable[tuple[int, bool, Any]]) -> None:
        """Takes over a chain that is kept elsewhere, by the number, kind and bytes of its links, in the place of what is there."""
        self._chains.pop(partition, None)
        kept = set()
        try:
            self._make()
            for number, is_full, data in links:
                path = self._path(partition, number, is_full)
                write_whole(path, [data])
                kept.add(path)
        except OSError as err:
            raise self._unwritable(err) from err
        for _, path in self._listed(partition):
            if path not in kept:
                path.unlink()
        self._chains[partition] = chain

    def _path(self, partition: int, number: int, is_full: bool) -> Path:
        return self.path / f"p{partition}-{number:012d}-{'full' if is_full else 'more'}.ckpt"

    def _unwritable(self, err: OSError) -> StateError:
        what, mend = f"the checkpoint cannot be written: {err.strerror}", "make room, or let the engine write there"
        return StateError(what, where=str(self.path), mend=mend)

    def forget(self, partition: int) -> None:
        """What is there is not what stands elsewhere: nothing is chained on to it."""
        self._chains.pop(partition, None)

    def load(self, partition: int) -> Checkpoint | None:
        """The newest state that is intact, as a full checkpoint; None where there is none. Raises what ``restore`` does."""
        found = self.restore(partition)
        return None if found is None else Checkpoint(found.offsets, found.tables.dump(changed_only=False))

    def restore(self, partition: int, progress: Restore | None = None) -> Restored | None:
        """The newest state that is intact; None where there is none. ``progress`` is told how far it is read.

        Damaged changes at the end are left out (offsets travel with the state, so the stream is read again from there).
        Raises StateError when the full checkpoint is damaged, or belongs to a query of another shape or to another source.
        """
        files = self._files(partition)
        bases = [at for at, (_, kind, _) in enumerate(files) if kind == "full"]
        if not files:
            return None
        if not bases:
            mend = "put the file back, or start anew with --fresh"
            raise StateError("the full checkpoint is missing", where=str(self.path), mend=mend)
        files, progress = files[bases[-1] :], progress or Restore()
        progress.done_bytes, progress.total_bytes = 0, sum(path.stat().st_size for _, _, path in files)
        found = self.owner.follow(partition, [_stored(*file, progress) for file in files], str(files[0][2]))
        self._chains[partition] = found.chain
        return found

    def clear(self, partition: int | None = None) -> None:
        """Forgets the state of a partition, or of all (``--fresh``)."""
        for _, path in self._listed(partition):
            path.unlink()
        self._chains.clear()

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

    def _delete_all_but(self, partition: int, kept: int) -> None:
        for number, _, path in self._files(partition):
            if number != kept:
                path.unlink()

    def newest(self, partition: int) -> int:
        """The number of the newest checkpoint; 0 where there is none."""
        files = self._files(partition)
        return files[-1][0] if files else 0


def _stored(number: int, kind: str, path: Path, progress: Restore) -> Stored:
    def read() -> tuple[Any, bytes, int]:
        image, digest = read_segment(path)
        progress.add(size := path.stat().st_size)
        return image, digest, size

    return Stored(number, kind == "full", read)
