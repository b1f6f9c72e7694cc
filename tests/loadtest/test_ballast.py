"""Memory that is written to first, and given up as others take it."""

import threading
from types import SimpleNamespace

import pytest

from loadtest import ballast as module
from loadtest.ballast import CHUNK, SPARED, ballast


class Chunk:
    """Stands for written memory; ``given`` counts those that were given up."""

    given = threading.Semaphore(0)

    def close(self) -> None:
        self.given.release()


def test_chunks_are_given_up_as_free_memory_falls_and_the_rest_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, chunks = SimpleNamespace(free=SPARED + 5 * CHUNK), []

    def written() -> Chunk:
        memory.free -= CHUNK
        chunks.append(Chunk())
        return chunks[-1]

    monkeypatch.setattr(module, "_written", written)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: memory)
    with ballast(3 * CHUNK):
        assert len(chunks) == 3  # no more than was asked for
        assert not Chunk.given.acquire(timeout=5 * module.LOOK_S)  # nobody has taken anything
        memory.free -= 2 * CHUNK
        assert Chunk.given.acquire(timeout=240)
        memory.free += 2 * CHUNK
    closed = 1
    while Chunk.given.acquire(blocking=False):
        closed += 1
    assert closed == len(chunks)


def test_some_free_memory_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(free=SPARED - 1))
    monkeypatch.setattr(module, "_written", lambda: pytest.fail("there is none to write to"))
    with ballast(1 << 40):
        pass
