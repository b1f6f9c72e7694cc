"""The records that events come from, for dead letters; an event that comes from none stands as JSON."""

from esp.runtime.codecs import codec
from esp.runtime.events import EventBlock, RawBlock, raw_block


def as_records(block: EventBlock) -> RawBlock:
    """A record for each event, row by row."""
    buffer, at, size = codec("json", block.schema).encode(block)
    values: list[bytes | None] = [buffer[start : start + length].tobytes() for start, length in zip(at, size)]
    keys: list[bytes | None] = [None] * len(block)
    headers, offsets, stamps_ms = [b""] * len(block), [0] * len(block), (block.ts_ns // 1_000_000).tolist()
    raw, rows = block.raw, block.raw_row
    if raw is None or rows is None:
        return raw_block(values, ts_ms=stamps_ms)
    for place, row in enumerate(rows.tolist()):
        if row >= 0:
            values[place], keys[place], headers[place] = raw.value(row), raw.key(row), raw.headers(row)
            offsets[place], stamps_ms[place] = int(raw.offset[row]), int(raw.ts_ms[row])
    return raw_block(values, topic=raw.topic, partition=raw.partition, keys=keys, headers=headers, offsets=offsets, ts_ms=stamps_ms)
