"""Free memory given to the page cache, as on a machine that is up for long: what a virtual machine has not used yet can be slow to come."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

CHUNK = 4 << 20
DISK = "/var/tmp"  # /tmp may be a tmpfs, which keeps no pages of holes


@contextmanager
def filled_memory() -> Iterator[None]:
    """Reads a file of holes as large as free memory, and keeps it open."""
    with tempfile.TemporaryFile(dir=DISK) as holes:
        size = psutil.virtual_memory().free // CHUNK * CHUNK
        holes.truncate(size)
        buffer = bytearray(CHUNK)
        for at in range(0, size, CHUNK):
            os.preadv(holes.fileno(), [buffer], at)
        yield
