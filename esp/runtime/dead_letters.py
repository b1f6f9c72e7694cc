"""Dead letters: a record that could not be taken, as it came, with the reason and its origin in its headers, fit to be replayed."""

from esp.runtime.events import DeadBlock, RawBlock, raw_block
from esp.runtime.headers import add_headers


def dead_letters(dead: DeadBlock, query: str) -> RawBlock:
    """The records of a dead block with the headers esp-reason, esp-query, esp-window, esp-topic, esp-partition, esp-offset behind their own."""
    raw = dead.raw.take(dead.row)
    rows = range(len(dead))
    return raw_block(
        [raw.value(row) for row in rows],
        topic=raw.topic,
        partition=raw.partition,
        keys=[raw.key(row) for row in rows],
        headers=[_headers(raw, row, dead.reasons[row], query, dead.window) for row in rows],
        offsets=raw.offset,
        ts_ms=raw.ts_ms,
    )


def _headers(raw: RawBlock, row: int, reason: str, query: str, window: str) -> bytes:
    origin = {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset[row]}
    added = {"reason": reason, "query": query, "window": window, **origin}
    return add_headers(raw.headers(row), [(f"esp-{name}", str(value).encode()) for name, value in added.items()])
