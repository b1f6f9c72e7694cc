"""Dead letters: a record that could not be taken, as it came, with the reason and its origin in its headers, fit to be replayed."""

import numpy as np

from esp.runtime.events import I64, DeadBlock, RawBlock, raw_block
from esp.runtime.headers import Stamp, add_headers, decode_headers, encode_headers

REASON_BYTES = 500  # a reason may quote the record, which may be of any size
ORIGIN_HEADERS = 6  # how many headers a letter has of ours

Letter = tuple[bytes | None, bytes | None, bytes]  # value, key, headers


class DeadLetters(RawBlock):
    """A block of dead letters, so that a sink knows them: they must not stop the engine, whatever their size."""

    __slots__ = ()


def dead_letters(dead: DeadBlock, query: str) -> DeadLetters:
    """The records of a dead block with the headers esp-reason, esp-query, esp-window, esp-topic, esp-partition, esp-offset behind their own."""
    raw = dead.raw.take(dead.row)
    origin = {"query": query, "window": dead.window, "topic": raw.topic, "partition": raw.partition}
    stamp = Stamp("esp-reason", [(f"esp-{name}", str(value).encode()) for name, value in origin.items()], "esp-offset")
    data = raw.buffer.data
    values, keys, own = (
        _cut(data, at, size)
        for at, size in ((raw.value_at, raw.value_size), (raw.key_at, raw.key_size), (raw.header_at, raw.header_size))
    )
    reasons = map(_cut_text, dead.reasons)
    headers = [
        stamp.add(before or b"", reason, offset) for before, reason, offset in zip(own, reasons, raw.offset.tolist(), strict=True)
    ]
    return _letters(raw, values, keys, headers)


def _cut(data: memoryview, at: I64, size: I64) -> list[bytes | None]:
    """Parts of records as bytes."""
    begins = at.tolist()
    return [None if length < 0 else bytes(data[begin : begin + length]) for begin, length in zip(begins, size.tolist())]


def _letters(raw: RawBlock, values: list[bytes | None], keys: list[bytes | None], headers: list[bytes]) -> DeadLetters:
    block = raw_block(
        values, topic=raw.topic, partition=raw.partition, keys=keys, headers=headers, offsets=raw.offset, ts_ms=raw.ts_ms
    )
    return DeadLetters(
        block.topic, block.partition, block.buffer, block.value_at, block.value_size, block.key_at, block.key_size, block.header_at,
        block.header_size, block.offset, block.ts_ms,
    )  # fmt: skip


def _cut_text(text: str) -> bytes:
    """The text, or as much of it as fits with an ellipsis at its end."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= REASON_BYTES:
        return encoded
    return (encoded[: REASON_BYTES - 3].decode(errors="ignore") + "\u2026").encode()


def fitted(letters: DeadLetters, limit: int) -> tuple[DeadLetters, int, int]:
    """The letters with none of more than ``limit`` bytes of key, value and headers; how many were cut, and how many left out.

    A letter that is too large loses its value and tells the size in the header esp-cut; if that is not enough, its key and the
    headers that are not of this death as well.
    """
    whole = [(letters.value(row), letters.key(row), letters.headers(row)) for row in range(len(letters))]
    parts = [letter if _size(letter) <= limit else _shortened(letter, limit) for letter in whole]
    rows = [row for row, letter in enumerate(parts) if _size(letter) <= limit]
    cut = sum(parts[row] is not whole[row] for row in rows)
    values, keys, headers = ([parts[row][0] for row in rows], [parts[row][1] for row in rows], [parts[row][2] for row in rows])
    return _letters(letters.take(np.array(rows, np.int64)), values, keys, headers), cut, len(letters) - len(rows)


def _shortened(letter: Letter, limit: int) -> Letter:
    value, key, headers = letter
    told: list[tuple[str, bytes | None]] = [("esp-cut", str(len(value or b"")).encode())]
    shorter: Letter = (None, key, add_headers(headers, told))
    if _size(shorter) <= limit:
        return shorter
    return None, None, encode_headers(decode_headers(headers)[-ORIGIN_HEADERS:] + told)


def _size(letter: Letter) -> int:
    return sum(len(part or b"") for part in letter)
