"""Damaged record batches between two pages that nobody may touch: a read outside the buffer ends this process by a signal.

python -m tests.kernels.guarded_batches [COUNT]     prints how many fetches were read and how many refused
"""

import sys

import numpy as np

from esp.kernels import records as r
from esp.runtime.events import U8, RawBlock
from esp.runtime.kafka.fetched import Fetched, kernels
from esp.runtime.unread import Damage
from tests.kernels.guarded import PAGE, PAGES, Guarded
from tests.kernels.test_records import batch_of, drawn, marked


def read(frame: U8, wanted: int, has_crc: bool) -> bool:
    """Goes through a fetch as the engine does, and looks where the columns point to; whether it was read to its end."""
    told = np.zeros(4, np.int64)
    r.walk(frame, wanted, told)
    batches, count, following, is_old = told.tolist()
    aborted = np.array([[3, 0], [7, 5]], np.int64)
    once = Fetched("t", 0, frame, wanted, following, batches, count, bool(is_old), aborted, lambda offset: None, "fail", "")
    try:
        block, is_whole = once.block() if has_crc else unchecked(once), True
    except Damage as damage:
        block, is_whole = damage.before, False
    size = len(block.buffer)
    for at, length in ((block.value_at, block.value_size), (block.key_at, block.key_size), (block.header_at, block.header_size)):
        outside = (length > 0) & ((at < 0) | (at + length > size))
        assert not outside.any(), f"a part at {at[outside][0]} of {length[outside][0]} bytes in {size}"
    return is_whole


def unchecked(once: Fetched) -> RawBlock:
    """The records, whatever their checksums say, so that damage comes through to every check behind them."""
    scan = kernels.scan
    try:
        kernels.scan = lambda data, has_crc, *rest: scan(data, False, *rest)
        return once.block()
    finally:
        kernels.scan = scan


def damaged(rng: np.random.Generator, whole: list[bytes]) -> bytes:
    """Some batches, with bytes of one set to others, its checksum made right again at times, and the end cut off at times."""
    batches = [whole[number] for number in rng.integers(0, len(whole), int(rng.integers(1, 4)))]
    at = int(rng.integers(0, len(batches)))
    batch = bytearray(batches[at])
    extremes = (0x00, 0x7F, 0x80, 0xFF, 0x01, 0xFE)
    for _ in range(int(rng.integers(1, 6))):
        byte = int(rng.choice(extremes)) if rng.random() < 0.5 else int(rng.integers(0, 256))
        begin = int(rng.integers(0, len(batch))) if rng.random() < 0.5 else int(rng.integers(0, min(len(batch), 90)))
        batch[begin : begin + int(rng.integers(1, 12))] = bytes([byte])  # the batch may become shorter than it says
    batches[at] = marked(bytes(batch), 7 * at, 0) if rng.random() < 0.5 and len(batch) > r.HEADER else bytes(batch)
    frame = b"".join(batches)
    return frame[: int(rng.integers(1, len(frame)))] if rng.random() < 0.3 else frame


def main(count: int) -> tuple[int, int]:
    """How many damaged fetches were read to their end, and how many were refused."""
    rng, guarded = np.random.default_rng(11), Guarded()
    whole = [batch_of(drawn(int(n), seed)[0], 10 * seed) for seed, n in enumerate((1, 2, 3, 4, 5))]
    assert all(len(batch) * 3 + 100 < PAGES * PAGE for batch in whole)
    read_to_end = 0
    for number in range(count):
        frame = damaged(rng, whole)
        wanted = int(rng.integers(0, 12))
        for is_last in (False, True):
            is_read = read(guarded.place(frame, is_last), wanted, has_crc=number % 3 == 0)
        read_to_end += is_read
    return read_to_end, count - read_to_end


if __name__ == "__main__":
    print(*main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000))
