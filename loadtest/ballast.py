"""Memory that the machine has in hand: a virtual machine may get each page from its host only when it is first written, and slowly."""

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil

CHUNK = 64 << 20
PAGE = 4096
SPARED = 1 << 30  # of free memory
LOOK_S = 0.02


@contextmanager
def ballast(size: int) -> Iterator[None]:
    """Writes to ``size`` bytes of memory, and gives up of it what others take, so that it is these pages that they get."""
    chunks = [_written() for _ in range(min(size, psutil.virtual_memory().free - SPARED) // CHUNK)]
    stop, level = threading.Event(), psutil.virtual_memory().free - CHUNK

    def give_up() -> None:
        while chunks and not stop.wait(LOOK_S):
            if psutil.virtual_memory().free < level:
                chunks.pop().close()

    giving = threading.Thread(target=give_up, daemon=True)
    giving.start()
    try:
        yield
    finally:
        stop.set()
        giving.join()
        for chunk in chunks:
            chunk.close()


def _written() -> mmap.mmap:
    chunk = mmap.mmap(-1, CHUNK)
    np.frombuffer(chunk, np.uint8)[::PAGE] = 1
    return chunk
