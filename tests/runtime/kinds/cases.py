"""One table of cases for the two laws; a kind that is added brings its cases here."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output
from esp.runtime.events import END_NS, EventBlock, RawBlock, raw_block
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema
from esp.runtime.scorer import Scorer
from esp.runtime.stateful import StatefulScorer
from esp.runtime.windowed import WindowScorer
from tests.runtime.kinds.laws import Case, block_of
from tests.runtime.kinds.series import convolutional_model, recurrent_model

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


def retained_events(seed: int, n: int = 80, keep: int = 25) -> Callable[[], EventBlock]:
    """Inserts, and behind each the delete of the one ``keep`` before it; some deletes come too late for their window."""

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


def json_records_ahead(seed: int, n: int = 60) -> Callable[[], RawBlock]:
    """JSON records of which some bear a time about two seconds, or ten days, ahead of their own stamp, and some no stamp."""

    def made() -> RawBlock:
        rng, values = random.Random(seed), []
        stamps = [-1 if rng.random() < 0.1 else 1_000_000 + 50 * i for i in range(n)]
        for i in range(n):
            ahead_ms = rng.choice([-300, 0, 0, 0, 1999, 2000, 2001, 10 * 86_400_000]) if stamps[i] > 0 else 0
            values.append(json.dumps({"device": rng.choice("ab"), "at": 1_000_000 + 50 * i + ahead_ms, "p": 0.5}).encode())
        return raw_block(values, ts_ms=stamps)

    return made


def tiny_model() -> Astore:
    """Probabilities of two classes from the two channels of acc; events without acc are refused."""
    weights = {"w": np.array([[1.5, -1.0], [0.5, 2.0]], np.float32), "b": np.array([0.1, -0.2], np.float32)}
    graph = Graph(
        (Node("Gemm", ("acc", "w", "b"), ("z",)), Node("Softmax", ("z",), ("p_class",), {"axis": -1})),
        (Value("acc", "float32", (None, 2)),), (Value("p_class", "float32", (None, 2)),), weights,
    )  # fmt: skip
    output = Output("p_class", "float32", (2,), "probabilities", ("still", "moving"))
    return Astore("tiny", graph, (Input("acc", "float32", (2,)),), (output,), digest="0123456789ab" + "0" * 52)


STREAM = Stream(Schema.parse(SENSOR), partitioned_by=("device",))
RETAINED = Stream(Schema.parse(SENSOR), retracts=True, partitioned_by=("device",))
ALL = {
    "n": "count", "there": "count(p)", "notes": "count(note)", "sum_p": "sum(p)", "sum_n": "sum(n)", "mean_p": "mean(p)", "mean_n": "mean(n)",
    "std_p": "std(p)", "std_n": "std(n)",
}  # fmt: skip
EXTREMES = {"min_p": "min(p)", "max_p": "max(p)", "min_n": "min(n)", "max_n": "max(n)", "max_lane": "max(lane)"}
SOURCE = {"kind": "source", "schema": "device*:string, at:stamp(ms), p:float64", "partitioned_by": ["device"]}

ENVIRONMENT = Environment("query.toml: windows.w")
MODELS = Environment("query.toml: windows.w", {"tiny": tiny_model()})


def tiny_scorer() -> dict[str, Any]:
    return {"tiny": Scorer.bind(tiny_model(), "numpy")}


SERIES = Environment(
    "query.toml: windows.w",
    {"waves": convolutional_model(12), "filled": convolutional_model(12, missing="impute"), "course": recurrent_model(4)},
)
BY_CHANNELS = {"fields": ["acc", "p"], "max_gap": "700ms"}


CASES = [
    Case("compute", {"kind": "compute", "fields": {"twice": "p * 2", "named": "device == 'a'"}}, RETAINED, retained_events(12)),
    Case("score", {"kind": "score", "model": "tiny", "model_field": "model"}, STREAM, sensor_events(13), MODELS, tiny_scorer),
    Case("score of deletes", {"kind": "score", "model": "tiny"}, RETAINED, retained_events(14), MODELS, tiny_scorer),
    Case(
        "score of sequences", {"kind": "score", "model": "filled", "sequence": {**BY_CHANNELS, "length": 12, "hop": 2, "max_gap": "3s"}, "model_field": "model"},
        STREAM, sensor_events(17, 200), SERIES, lambda: {"filled": WindowScorer.bind(SERIES.models["filled"], "numba", hop=2)},
    ),
    Case(
        "score of sequences at every event", {"kind": "score", "model": "waves", "sequence": {"length": 12, "fields": ["acc", "p"]}},
        STREAM, sensor_events(23, 500), SERIES, lambda: {"waves": WindowScorer.bind(SERIES.models["waves"], "numba", max_batch=8)},
    ),
    Case(
        "score with states", {"kind": "score", "model": "course", "stateful": BY_CHANNELS, "output": {"p": "scores"}}, STREAM,
        sensor_events(18, 150), SERIES, lambda: {"course": StatefulScorer.bind(SERIES.models["course"], "numba", max_batch=8)},
    ),
    Case(
        "score with states by partition", {"kind": "score", "model": "course", "stateful": BY_CHANNELS, "by": ["lane"], "scope": "partition"},
        STREAM, sensor_events(19), SERIES, lambda: {"course": StatefulScorer.bind(SERIES.models["course"], "numba")},
    ),
    Case("sink of records", {"kind": "sink", "format": "json"}, STREAM, sensor_events(15)),
    Case(
        "sink of deletes", {"kind": "sink", "format": "msgpack", "key": ["device", "lane"], "deletes": "tombstone"}, RETAINED, retained_events(16)
    ),
    Case("source by a field's time", {**SOURCE, "time": "at", "max_delay": "200ms"}, None, json_records(1)),
    Case("source with a bound ahead", {**SOURCE, "time": "at", "max_ahead": "2s"}, None, json_records_ahead(20)),
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
    Case("aggregate that takes back", {"kind": "aggregate", "size": "800ms", "aggregates": ALL}, RETAINED, retained_events(9)),
    Case("filter by a condition with nulls", {"kind": "filter", "where": "p > -0.5 and device != 'b' or lane is None"}, STREAM, sensor_events(20)),
    Case("filter of retractions", {"kind": "filter", "where": "n % 3 != 0"}, RETAINED, retained_events(21)),
    Case(
        "compute that adds, replaces and drops",
        {
            "kind": "compute", "drop": ["note"],
            "fields": {"p": "sqrt(p) + exp(acc[1])", "r": "norm(acc) * n", "name": "upper(device) + '/' + str(lane)", "m": "mean(acc) if n > 0 else None"},
        },
        STREAM, sensor_events(22),
    ),
]  # fmt: skip
