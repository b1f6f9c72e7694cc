"""What events take from the records that they come from, and from event time, in one pass a block: small blocks feel each call."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from esp.kernels.compile import kernel

_NS_OF_MS = 1_000_000
ORIGINS = OWN, KEY_BYTES, WITH_HEADERS = range(3)  # of ``told``
_LONGS = "Array(int64, 1, 'C', True)"


@kernel(f"void({', '.join([_LONGS] * 5)}, int64[::1], int64[::1])")
def origins(row: Any, key_size: Any, header_size: Any, ts_ms: Any, ts_ns: Any, stamps_ms: Any, told: Any) -> None:
    """stamps_ms[n]: the stamp of the record that each event comes from, or its own time where ``row[i]`` is -1.

    told[3]: how many events come from a record, how many bytes their keys have, and how many of them have headers.
    row, ts_ns: int64[n]; key_size, header_size, ts_ms: int64[records].
    """
    own = key_bytes = with_headers = 0
    for i in range(len(row)):
        record = row[i]
        if record < 0:
            stamps_ms[i] = ts_ns[i] // _NS_OF_MS
        else:
            stamps_ms[i] = ts_ms[record]
            own += 1
            key_bytes += max(key_size[record], 0)
            with_headers += header_size[record] > 0
    told[OWN], told[KEY_BYTES], told[WITH_HEADERS] = own, key_bytes, with_headers


@kernel(f"boolean({_LONGS}, int64, int64)")
def lie_between(values: Any, low: int, high: int) -> bool:
    """Whether each is above ``low`` and below ``high``."""
    outside = 0
    for i in range(len(values)):
        outside += (values[i] <= low) | (values[i] >= high)
    return outside == 0


@kernel(f"int64({_LONGS}, int64, int64, int64[::1])")
def watermarks(ts_ns: Any, max_delay: int, before: int, out: Any) -> int:
    """out[n]: the largest event time so far less ``max_delay``, ``before`` at least; the last of them is returned."""
    reached = before
    for i in range(len(ts_ns)):
        reached = max(reached, ts_ns[i] - max_delay)
        out[i] = reached
    return reached


@kernel(f"float64({_LONGS}, float64, Array(float64, 1, 'C', True), int64[::1])")
def tally_ages(stamps_ms: Any, now_ms: float, bounds: Any, counts: Any) -> float:
    """Counts the ages of stamps (0 or less = none) in seconds into buckets with ascending upper ``bounds``, the last without; returns their sum."""
    total, bucket = 0.0, 0
    for i in range(len(stamps_ms)):
        if stamps_ms[i] > 0:
            age = max(now_ms - stamps_ms[i], 0.0) / 1e3
            while bucket < len(bounds) and bounds[bucket] < age:
                bucket += 1
            while bucket > 0 and bounds[bucket - 1] >= age:
                bucket -= 1
            counts[bucket] += 1
            total += age
    return total
