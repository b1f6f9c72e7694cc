"""Files written whole or not at all, so that they outlive a loss of power."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"  # the suffix of a file that is not yet whole


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into beside its place, which is flushed to the disk and renamed there at the end.

    What is there stays until then, and may be read; on an error, and on Ctrl-C, nothing is left behind. A link stays: the file that
    it leads to is replaced. OSError where the file cannot be written, and where something is there that is no regular file.
    """
    place = Path(os.path.realpath(path))
    _refuse_special(place)
    part = place.with_name(f".{place.name}.{secrets.token_hex(6)}{PART}")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(place.parent)


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Writes a file out of parts, as ``whole_file`` does."""
    with whole_file(path) as file:
        for data in parts:
            file.write(data)


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_special(path: Path) -> None:
    """Raises OSError for a folder, a device, a pipe or a socket: renaming a file there would put it in their place."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder is there", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "what is there is no regular file", str(path))
