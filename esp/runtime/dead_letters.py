"""Dead letters: a record that could not be taken, as it came, with the reason and its origin in its headers, fit to be replayed."""

import logging
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from esp.kernels import letters as kernels
from esp.runtime.events import DeadBlock, RawBlock, joined, raw_block
from esp.runtime.headers import add_headers, decode_headers, encode_headers, shared_headers
from esp.runtime.reasons import Reasons

REASON_BYTES = 500  # a reason may quote the record, which may be of any size
ORIGIN_HEADERS = 6  # how many headers a letter has of ours

Letter = tuple[bytes | None, bytes | None, bytes]  # value, key, headers


log = logging.getLogger("esp.dead_letters")


class DeadLetters(RawBlock):
    """A block of dead letters, so that a sink knows them: they must not stop the engine, whatever their size."""

    __slots__ = ()


def posted(blocks: Sequence[DeadBlock], query: str) -> DeadLetters:
    """The letters of dead blocks of one partition as one, for each is a request to the broker, with a line in the log for each window."""
    line = "query %s window %s: %d dead, the first at %s/%d offset %d: %s"
    for dead in blocks:
        raw, at = dead.raw, dead.raw.offset[dead.row[0]]
        log.warning(line, query, dead.window, len(dead), raw.topic, raw.partition, at, dead.reasons[0])
    return _as_letters(joined([dead_letters(dead, query) for dead in blocks]))


def dead_letters(dead: DeadBlock, query: str) -> DeadLetters:
    """The records of a dead block with the headers esp-reason, esp-query, esp-window, esp-topic, esp-partition, esp-offset behind their own."""
    raw, reasons = dead.raw.take(dead.row), Reasons.of(dead.reasons).column
    origin = {"query": query, "window": dead.window, "topic": raw.topic, "partition": raw.partition}
    others = [(f"esp-{name}", str(value).encode()) for name, value in origin.items()]
    first, rest = shared_headers("esp-reason", others, "esp-offset")
    shared = np.frombuffer(first + rest, np.uint8)
    cuts = np.array([raw.value_at, raw.value_size, raw.key_at, raw.key_size, raw.header_at, raw.header_size, raw.offset], np.int64)
    parts = cuts[[kernels.VALUE_SIZE, kernels.KEY_SIZE, kernels.HEADER_SIZE]]
    most = np.maximum(parts, 0).sum() + len(raw) * (len(shared) + REASON_BYTES + kernels.MOST_OVERHEAD)
    out, buffer = np.empty(most, np.uint8), np.ascontiguousarray(raw.buffer)
    end = kernels.write(buffer, reasons.data, reasons.offsets, shared, len(first), ORIGIN_HEADERS, REASON_BYTES, cuts, out)
    value_at, value_size, key_at, key_size, header_at, header_size, _ = cuts
    return DeadLetters(
        raw.topic, raw.partition, out[:end], value_at, value_size, key_at, key_size, header_at, header_size, raw.offset, raw.ts_ms
    )  # fmt: skip


def _letters(raw: RawBlock, values: list[bytes | None], keys: list[bytes | None], headers: list[bytes]) -> DeadLetters:
    return _as_letters(
        raw_block(values, topic=raw.topic, partition=raw.partition, keys=keys, headers=headers, offsets=raw.offset, ts_ms=raw.ts_ms)
    )


def _as_letters(block: RawBlock) -> DeadLetters:
    return DeadLetters(*(getattr(block, field.name) for field in fields(RawBlock)))


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
