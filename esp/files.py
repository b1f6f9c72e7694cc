"""Files written whole or not at all, so that they outlive a loss of power."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

PART = ".part"  # the suffix of a file that is not yet whole


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Writes a file beside its place, flushes it to the disk and renames it there; on an error nothing is left behind (OSError)."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")
    try:
        with part.open("xb") as file:
            for data in parts:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
