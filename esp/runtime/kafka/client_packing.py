"""Record batches as aiokafka makes them: record by record, where columns cannot be had."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any

from esp.runtime.events import I64, RawBlock
from esp.runtime.headers import decode_headers

YIELD_RECORDS = 1024  # records packed before the event loop gets its turn

Headers = list[tuple[str, bytes | None]]
Record = tuple[int | None, bytes | None, bytes | None, Headers]  # stamp, key, value, headers


class ClientPacking:
    """Appends record after record to batches of aiokafka's, each new one of ``create``."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self.create = create
        self.waiting: deque[Iterator[Record]] = deque()

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def add(self, block: RawBlock, size: int) -> None:
        self.waiting.append(records_of(block))

    async def pack(self) -> Any:
        batch, packed = self.create(), 0
        while self.waiting:
            records = self.waiting[0]
            for record in records:
                stamp, key, value, headers = record
                if batch.append(timestamp=stamp, key=key, value=value, headers=headers) is None:
                    self.waiting[0] = chain((record,), records)
                    return batch
                packed += 1
                if packed % YIELD_RECORDS == 0:
                    await asyncio.sleep(0)
            self.waiting.popleft()
        batch.close()
        return batch

    async def taken(self) -> None:
        """Nothing is added to a batch that is packed."""


def records_of(block: RawBlock) -> Iterator[Record]:
    """The records of a block one after another, cut lazily and without a Python statement for each in the usual case."""
    data = block.buffer.tobytes()
    stamps: Iterable[int | None] = block.ts_ms.tolist()
    if (block.ts_ms <= 0).any():  # no time: the client takes the present
        stamps = [stamp if stamp > 0 else None for stamp in block.ts_ms.tolist()]
    return zip(
        stamps, _cut(data, block.key_at, block.key_size), _cut(data, block.value_at, block.value_size), _headers(data, block)
    )


def _cut(data: bytes, at: I64, size: I64) -> Iterable[bytes | None]:
    if (size < 0).all():
        return repeat(None)
    pieces = map(data.__getitem__, map(slice, at.tolist(), (at + size).tolist()))
    if (size < 0).any():
        return (piece if there else None for piece, there in zip(pieces, (size >= 0).tolist()))
    return pieces


def _headers(data: bytes, block: RawBlock) -> Iterable[Headers]:
    """Headers of each record; those that lie at one place, as the engine's own do, are decoded once."""
    if (block.header_size <= 0).all():
        return repeat([])
    known: dict[tuple[int, int], Headers] = {}
    places = list(zip(block.header_at.tolist(), block.header_size.tolist()))
    for at, size in places:
        if (at, size) not in known:
            known[at, size] = [(_text(name), value) for name, value in decode_headers(data[at : at + max(size, 0)])]
    return map(known.__getitem__, places)


def _text(name: str) -> str:
    """The name of a header as aiokafka can write it: a "?" for each byte that is no UTF-8."""
    return name if name.isascii() else name.encode(errors="replace").decode()
