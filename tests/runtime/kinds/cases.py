"""One table of cases for the two laws; a kind that is added brings its cases here."""

import json
import random
from collections.abc import Callable
from typing import Any

from esp.runtime.events import END_NS, EventBlock, RawBlock, raw_block
from esp.runtime.kinds.window import Stream
from esp.runtime.schema import Schema
from tests.runtime.kinds.laws import Case, block_of

SENSOR = "device*:string, lane:int32, p:float64, n:int64, acc:float32[2], note:blob"


def sensor_rows(seed: int, n: int) -> tuple[list[list[Any]], list[float]]:
    """Rows of SENSOR with nulls, NaN and infinities among them, and times out of order by up to a second."""
    rng, rows, times = random.Random(seed), [], []
    for i in range(n):
        p = rng.choice([None, float("nan"), float("inf"), 1e16, -1e16, *[rng.uniform(-1, 1)] * 12])
        device, lane = rng.choice([None, "a", "b", "long name of a device"]), rng.choice([0, 1, None])
        acc = None if rng.random() < 0.1 else [rng.random(), rng.random()]
        rows.append([device, lane, p, rng.choice([None, rng.randrange(-(10**12), 10**12)]), acc, rng.randbytes(rng.randrange(5))])
        times.append(max(0.0, i * 0.1 - rng.random()))
    return rows, times


def sensor_events(seed: int, n: int = 90, opcode: list[int] | None = None, delay_s: float = 0.4) -> Callable[[], EventBlock]:
    def made() -> EventBlock:
        rows, times = sensor_rows(seed, n)
        raw = raw_block([b"%d" % i for i in range(n)], offsets=[100 + 2 * i for i in range(n)])
        return block_of(SENSOR, rows, ts_s=times, delay_s=delay_s, opcode=opcode, end_ns=END_NS, raw=raw)

    return made


def retained_events(seed: int, n: int = 60, keep: int = 7) -> Callable[[], EventBlock]:
    """Inserts, and from the eighth on behind each the delete of the one seven before it."""

    def made() -> EventBlock:
        rows, times = sensor_rows(seed, n)
        out = [(rows[i], times[i], 0) for i in range(keep)]
        for i in range(keep, n):
            out += [(rows[i], times[i], 0), (rows[i - keep], times[i - keep], 3)]
        return block_of(
            SENSOR, [row for row, _, _ in out], ts_s=[time for _, time, _ in out], delay_s=2, opcode=[code for _, _, code in out], end_ns=END_NS
        )  # fmt: skip

    return made


def json_records(seed: int, n: int = 60) -> Callable[[], RawBlock]:
    """JSON records, some broken, some without a time."""

    def made() -> RawBlock:
        rng, values = random.Random(seed), []
        for i in range(n):
            event = {"device": rng.choice(["a", "b"]), "at": i * 100 - rng.randrange(400), "p": rng.random()}
            if rng.random() < 0.15:
                del event["at"]
            values.append(b"{broken" if rng.random() < 0.15 else json.dumps(event).encode())
        return raw_block(values, offsets=[5 + 3 * i for i in range(n)], ts_ms=[1000 * (i // 2) for i in range(n)])

    return made


STREAM = Stream(Schema.parse(SENSOR), partitioned_by=("device",))
RETAINED = Stream(Schema.parse(SENSOR), retracts=True, partitioned_by=("device",))
ALL = {
    "n": "count", "there": "count(p)", "notes": "count(note)", "sum_p": "sum(p)", "sum_n": "sum(n)", "mean_p": "mean(p)", "mean_n": "mean(n)",
    "std_p": "std(p)", "std_n": "std(n)",
}  # fmt: skip
EXTREMES = {"min_p": "min(p)", "max_p": "max(p)", "min_n": "min(n)", "max_n": "max(n)", "max_lane": "max(lane)"}
SOURCE = {"kind": "source", "schema": "device*:string, at:stamp(ms), p:float64", "partitioned_by": ["device"]}

CASES = [
    Case("source by a field's time", {**SOURCE, "time": "at", "max_delay": "200ms"}, None, json_records(1)),
    Case("source by the record's time", SOURCE, None, json_records(2)),
    Case("copy of the last three", {"kind": "copy", "keep": 3}, STREAM, sensor_events(3)),
    Case("copy of the last one by lane", {"kind": "copy", "keep": 1, "by": ["device", "lane"]}, STREAM, sensor_events(4)),
    Case("sequence of five", {"kind": "sequence", "fields": ["acc", "p"], "length": 5, "hop": 2}, STREAM, sensor_events(5)),
    Case(
        "sequence broken by gaps", {"kind": "sequence", "fields": ["n"], "length": 3, "max_gap": "600ms", "by": ["device"]}, STREAM,
        sensor_events(6),
    ),
    Case("aggregate of all functions", {"kind": "aggregate", "size": "1s", "aggregates": ALL | EXTREMES}, STREAM, sensor_events(7)),
    Case(
        "aggregate by partition", {"kind": "aggregate", "size": "700ms", "offset": "50ms", "by": ["lane"], "scope": "partition", "aggregates": ALL},
        STREAM, sensor_events(8),
    ),
    Case("aggregate that takes back", {"kind": "aggregate", "size": "2s", "aggregates": ALL}, RETAINED, retained_events(9)),
]  # fmt: skip
