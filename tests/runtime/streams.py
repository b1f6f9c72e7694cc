"""A small whole query for the engine's tests (sequences, scores, tumbling windows), its events, and what must come of them in plain Python."""

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from esp.astore.binary import write
from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output

DEVICES = 5
LENGTH, HOP, WINDOW_MS, DELAY_MS = 3, 2, 1000, 100
LABELS = ("still", "moving")
TOPICS = ("events", "scores", "tallies", "late", "dead")
Event = dict[str, Any]

QUERY = """
[query]
name = "{name}"
checkpoint = "{checkpoint}"
delivery = "{delivery}"
dead = {{ {dead} }}
limits = {{ max_batch = {max_batch}, queue_events = {queue_events} }}

[models.tiny]
path = "tiny.astore"

[windows.events]
kind = "source"
schema = "device:string, id:int64, ts:stamp(ms), acc:float32[2]"
time = "ts"
max_delay = "100ms"
partitioned_by = ["device"]
connect = {{ {events} }}

[windows.recent]
kind = "sequence"
from = "events"
by = ["device"]
fields = ["acc"]
length = 3
hop = 2
name = "motion"

[windows.scored]
kind = "score"
from = "recent"
model = "tiny"
backend = "numba"
model_field = "model"

[windows.scores]
kind = "sink"
from = "scored"
fields = ["device", "id", "ts", "label", "probability", "model"]
connect = {{ {scores} }}

[windows.counts]
kind = "aggregate"
from = "scored"
by = ["device", "label"]
size = "1s"
aggregates = {{ n = "count", mean_probability = "mean(probability)", last = "max(id)" }}

[windows.tallies]
kind = "sink"
from = "counts"
connect = {{ {tallies} }}

[windows.late]
kind = "sink"
from = "counts.late"
fields = ["device", "id"]
connect = {{ {late} }}
"""


def weights(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2 * LENGTH, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)


def model(path: Path, seed: int = 1) -> Astore:
    """Writes a model of two classes over a sequence of three events."""
    w, b = weights(seed)
    graph = Graph(
        (
            Node("Flatten", ("motion",), ("x",)),
            Node("Gemm", ("x", "w", "b"), ("z",)),
            Node("Softmax", ("z",), ("p",), {"axis": -1}),
        ),
        (Value("motion", "float32", (None, LENGTH, 2)),),
        (Value("p", "float32", (None, 2)),),
        {"w": w, "b": b},
    )
    output = Output("p", "float32", (2,), "probabilities", LABELS)
    return write(Astore("tiny", graph, (Input("motion", "float32", (LENGTH, 2)),), (output,)), path)


def memory(tag: str, partitions: int, max_records: int = 64) -> dict[str, str]:
    """The connectors of the query's topics, in memory."""
    connectors = {name: f'connector = "memory", topic = "{tag}.{name}", partitions = {partitions}' for name in TOPICS}
    return connectors | {"events": f"{connectors['events']}, max_records = {max_records}"}


def kafka(tag: str, brokers: str, source: str = "") -> dict[str, str]:
    """The same on Kafka; ``source`` adds keys to the source's connector."""
    return {
        name: f'connector = "kafka", topic = "{tag}.{name}", brokers = "{brokers}"{source if name == "events" else ""}'
        for name in TOPICS
    }


def query_file(
    folder: Path, connectors: Mapping[str, str], name: str = "motion", checkpoint: str = "20ms", max_batch: int = 64,
    queue_events: int = 4096, delivery: str = "at_least_once",
) -> Path:  # fmt: skip
    """Writes the query with its model, and gives the path of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    model(folder / "tiny.astore")
    path = folder / "query.toml"
    settings = {"name": name, "checkpoint": checkpoint, "max_batch": max_batch, "queue_events": queue_events, "delivery": delivery}
    path.write_text(QUERY.format(**settings, **connectors))
    return path


def partition_of(device: str, partitions: int) -> int:
    return int(device.removeprefix("d")) % partitions


def events(seed: int, n: int, step_ms: float = 20, first: int = 0) -> list[Event]:
    """Events of all devices in the order of their numbers; a few come later than the windows wait."""
    return list(islice(endless(seed, step_ms, first), n))


def endless(seed: int, step_ms: float = 20, first: int = 0) -> Iterator[Event]:
    """The same without an end."""
    rng = random.Random(seed)
    for number in count(first):
        late_ms = rng.choice([0] * 20 + [30, 60, 90, 1500])
        ts = 1_700_000_000_000 + int(number * step_ms) - late_ms
        acc = [round(rng.uniform(-1, 1), 3) for _ in range(2)]
        yield {"device": f"d{rng.randrange(DEVICES)}", "id": number, "ts": ts, "acc": acc}


def value(event: Event) -> bytes:
    return json.dumps(event).encode()


@dataclass
class Expected:
    """What must come of events: scores by event number, rows of windows by their key, numbers of late events."""

    scores: dict[int, tuple[str, str, float]]
    tallies: dict[tuple[str, str, int], tuple[int, float, int]]
    late: Counter[int]


def expected(made: Iterable[Event], partitions: int, is_ended: bool, seed: int = 1) -> Expected:
    """The query in plain Python, event by event; windows that are open at the end close only if the stream has ended."""
    w, b = weights(seed)
    rings: dict[str, list[list[float]]] = {}
    seen: Counter[str] = Counter()
    watermark: dict[int, float] = {}
    scores: dict[int, tuple[str, str, float]] = {}
    open_windows: dict[tuple[str, str, int], list[tuple[float, int]]] = {}
    late: Counter[int] = Counter()
    for event in made:
        device, partition = event["device"], partition_of(event["device"], partitions)
        watermark[partition] = max(watermark.get(partition, -math.inf), event["ts"] - DELAY_MS)
        ring = rings.setdefault(device, [])
        ring.append(event["acc"])
        seen[device] += 1
        if seen[device] < LENGTH or (seen[device] - LENGTH) % HOP:
            continue
        z = np.float64(w).T @ np.array(ring[-LENGTH:]).reshape(-1) + b
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        label, probability = LABELS[int(p.argmax())], float(p.max())
        scores[event["id"]] = device, label, probability
        start = event["ts"] // WINDOW_MS * WINDOW_MS
        if start + WINDOW_MS <= watermark[partition]:
            late[event["id"]] += 1
        else:
            open_windows.setdefault((device, label, start), []).append((probability, event["id"]))
    tallies = {
        key: (len(rows), sum(p for p, _ in rows) / len(rows), max(number for _, number in rows))
        for key, rows in open_windows.items()
        if is_ended or key[2] + WINDOW_MS <= watermark[partition_of(key[0], partitions)]
    }
    return Expected(scores, tallies, late)


def distinct(values: Iterable[bytes | None], *key: str) -> dict[tuple[Any, ...], Any]:
    """Records by their key; what comes twice must be the same to the byte."""
    found: dict[tuple[Any, ...], bytes] = {}
    for each in values:
        assert each is not None
        record = json.loads(each)
        place = tuple(record[name] for name in key)
        assert found.setdefault(place, each) == each, f"what comes twice differs: {found[place]!r} and {each!r}"
    return {place: json.loads(each) for place, each in found.items()}


def check(
    wanted: Expected, scores: Sequence[bytes | None], tallies: Sequence[bytes | None], late: Sequence[bytes | None],
    is_once: bool = False,
) -> None:  # fmt: skip
    """Compares what came out, doubles taken away, with what must; ``is_once``: and there are no doubles."""
    got = distinct(scores, "id")
    assert {number: (row["device"], row["label"]) for (number,), row in got.items()} == {
        number: (device, label) for number, (device, label, _) in wanted.scores.items()
    }
    np.testing.assert_allclose(
        [row["probability"] for _, row in sorted(got.items())], [wanted.scores[n][2] for n in sorted(wanted.scores)], atol=1e-5
    )
    rows = distinct(tallies, "device", "label", "window_start")
    assert {key: (row["n"], row["last"]) for key, row in rows.items()} == {
        key: (n, last) for key, (n, _, last) in wanted.tallies.items()
    }
    for key, row in rows.items():
        assert abs(row["mean_probability"] - wanted.tallies[key][1]) < 1e-5
    assert set(distinct(late, "id")) == {(number,) for number in wanted.late}
    if is_once:
        assert (len(scores), len(tallies), len(late)) == (len(got), len(rows), len(wanted.late))
