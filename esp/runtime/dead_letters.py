"""Dead letters: a record that could not be taken, as it came, with the reason and its origin in its headers, fit to be replayed."""

import numpy as np

from esp.runtime.events import DeadBlock, RawBlock, raw_block
from esp.runtime.headers import add_headers, decode_headers, encode_headers

REASON_BYTES = 500  # a reason may quote the record, which may be of any size
ORIGIN_HEADERS = 6  # how many headers a letter has of ours

Letter = tuple[bytes | None, bytes | None, bytes]  # value, key, headers


class DeadLetters(RawBlock):
    """A block of dead letters, so that a sink knows them: they must not stop the engine, whatever their size."""

    __slots__ = ()


def dead_letters(dead: DeadBlock, query: str) -> DeadLetters:
    """The records of a dead block with the headers esp-reason, esp-query, esp-window, esp-topic, esp-partition, esp-offset behind their own."""
    raw = dead.raw.take(dead.row)
    headers = [_headers(raw, row, dead.reasons[row], query, dead.window) for row in range(len(dead))]
    return _letters(raw, [raw.value(row) for row in range(len(dead))], [raw.key(row) for row in range(len(dead))], headers)


def _letters(raw: RawBlock, values: list[bytes | None], keys: list[bytes | None], headers: list[bytes]) -> DeadLetters:
    block = raw_block(
        values, topic=raw.topic, partition=raw.partition, keys=keys, headers=headers, offsets=raw.offset, ts_ms=raw.ts_ms
    )
    return DeadLetters(
        block.topic, block.partition, block.buffer, block.value_at, block.value_size, block.key_at, block.key_size, block.header_at,
        block.header_size, block.offset, block.ts_ms,
    )  # fmt: skip


def _headers(raw: RawBlock, row: int, reason: str, query: str, window: str) -> bytes:
    origin = {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset[row]}
    added = {"reason": _cut_text(reason), "query": query, "window": window, **origin}
    return add_headers(raw.headers(row), [(f"esp-{name}", str(value).encode()) for name, value in added.items()])


def _cut_text(text: str) -> str:
    """The text, or as much of it as fits with an ellipsis at its end."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= REASON_BYTES:
        return encoded.decode()
    return encoded[: REASON_BYTES - 3].decode(errors="ignore") + "\u2026"


def fitted(letters: DeadLetters, limit: int) -> tuple[DeadLetters, int, int]:
    """The letters with none of more than ``limit`` bytes of key, value and headers; how many were cut, and how many left out.

    A letter that is too large loses its value and tells the size in the header esp-cut; if that is not enough, its key and the
    headers that are not of this death as well.
    """
    whole = [(letters.value(row), letters.key(row), letters.headers(row)) for row in range(len(letters))]
    parts = [letter if _size(letter) <= limit else _cut(letter, limit) for letter in whole]
    rows = [row for row, letter in enumerate(parts) if _size(letter) <= limit]
    cut = sum(parts[row] is not whole[row] for row in rows)
    values, keys, headers = ([parts[row][0] for row in rows], [parts[row][1] for row in rows], [parts[row][2] for row in rows])
    return _letters(letters.take(np.array(rows, np.int64)), values, keys, headers), cut, len(letters) - len(rows)


def _cut(letter: Letter, limit: int) -> Letter:
    value, key, headers = letter
    told: list[tuple[str, bytes | None]] = [("esp-cut", str(len(value or b"")).encode())]
    shorter: Letter = (None, key, add_headers(headers, told))
    if _size(shorter) <= limit:
        return shorter
    return None, None, encode_headers(decode_headers(headers)[-ORIGIN_HEADERS:] + told)


def _size(letter: Letter) -> int:
    return sum(len(part or b"") for part in letter)
