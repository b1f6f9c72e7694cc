"""The query under kills: plain, windowed and recurrent scores, tallies by event time, late events and dead letters; and its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.astore.binary import write
from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output

F32 = npt.NDArray[np.float32]
CHANNELS, HIDDEN, UNITS, STEPS = 4, 8, 6, 8
LENGTH, HOP, RING_GAP_MS, STATE_GAP_MS = 4, 2, 800, 1000
WINDOW_MS, DELAY_MS = 1000, 100
LABELS = ("still", "moving", "falling")
OUTPUTS = ("scores", "motions", "steps", "tallies", "late", "dead")
SCORED = {"plain": "scores", "windowed": "motions", "stepped": "steps"}  # score window -> its topic
QUERY = """
[query]
name = "{name}"
checkpoint = "{checkpoint_ms}ms"
dead = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.dead" }}
limits = {{ max_batch = 64 }}
{more}
[models.plain]
path = "plain.astore"

[models.windowed]
path = "windowed.astore"

[models.stepped]
path = "stepped.astore"

[windows.events]
kind = "source"
schema = "device:string, id:int64, ts:stamp(ms), acc:float32[4], load:float64"
time = "ts"
max_delay = "100ms"
partitioned_by = ["device"]
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.events", client = {{ session_timeout_ms = {session_ms}, heartbeat_interval_ms = {beat_ms} }} }}

[windows.plain]
kind = "score"
from = "events"
model = "plain"
backend = "numba"
input = {{ series = "acc" }}
model_field = "model"

[windows.scores]
kind = "sink"
from = "plain"
fields = ["device", "id", "ts", "label", "probability", "model"]
model_header = true
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.scores" }}

[windows.windowed]
kind = "score"
from = "events"
by = ["device"]
model = "windowed"
backend = "numba"
sequence = {{ length = 4, hop = 2, fields = ["acc"], max_gap = "800ms" }}
model_field = "model"

[windows.motions]
kind = "sink"
from = "windowed"
format = "msgpack"
fields = ["device", "id", "ts", "label", "probability", "model"]
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.motions" }}

[windows.stepped]
kind = "score"
from = "events"
by = ["device"]
model = "stepped"
backend = "numba"
stateful = {{ fields = ["acc"], max_gap = "1s" }}
model_field = "model"

[windows.steps]
kind = "sink"
from = "stepped"
fields = ["device", "id", "ts", "label", "probability", "model"]
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.steps" }}

[windows.counts]
kind = "aggregate"
from = "events"
by = ["device"]
size = "1s"
aggregates = {{ n = "count", loads = "count(load)", first = "min(id)", last = "max(id)", total = "sum(id)", mean = "mean(load)", std = "std(load)" }}

[windows.tallies]
kind = "sink"
from = "counts"
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.tallies" }}

[windows.late]
kind = "sink"
from = "counts.late"
fields = ["device", "id", "ts"]
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.late" }}
"""


@dataclass(frozen=True, slots=True)
class Model:
    """One version of the model of a score window: its digest, and its weights for whoever scores without the engine."""

    window: str
    digest: str
    weights: Mapping[str, F32]


def query_text(name: str, brokers: str, *, delivery: str, checkpoint_ms: int, session_ms: int) -> str:
    more = "" if delivery == "at_least_once" else f'delivery = "{delivery}"\n'
    return QUERY.format(
        name=name, brokers=brokers, more=more, checkpoint_ms=checkpoint_ms, session_ms=session_ms, beat_ms=session_ms // 3
    )


def make_model(path: Path, window: str, version: int) -> Model:
    """Writes a version of the model of a score window."""
    rng = np.random.default_rng([version, sorted(SCORED).index(window)])
    graph, weights = _GRAPHS[window](rng)
    shape = tuple(size for size in graph.inputs[0].shape[1:] if isinstance(size, int))
    output = Output("p", "float32", (len(LABELS),), "probabilities", LABELS)
    made = write(Astore(window, graph, (Input("series", "float32", shape),), (output,)), path)
    return Model(window, made.short_digest, weights)


def _draw(rng: Any, **shapes: tuple[int, ...]) -> dict[str, F32]:
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _graph(nodes: tuple[Node, ...], shape: tuple[int, ...], weights: dict[str, F32]) -> Graph:
    inputs, outputs = (Value("series", "float32", (None, *shape)),), (Value("p", "float32", (None, len(LABELS))),)
    return Graph((*nodes, Node("Softmax", ("z",), ("p",), {"axis": -1})), inputs, outputs, weights)


def _plain(rng: Any) -> tuple[Graph, dict[str, F32]]:
    w = _draw(rng, w1=(CHANNELS, HIDDEN), b1=(HIDDEN,), w2=(HIDDEN, len(LABELS)), b2=(len(LABELS),))
    nodes = (
        Node("Gemm", ("series", "w1", "b1"), ("h",)),
        Node("Relu", ("h",), ("r",)),
        Node("Gemm", ("r", "w2", "b2"), ("z",)),
    )
    return _graph(nodes, (CHANNELS,), w), w


def _windowed(rng: Any) -> tuple[Graph, dict[str, F32]]:
    w = _draw(rng, w=(LENGTH * CHANNELS, len(LABELS)), b=(len(LABELS),))
    return _graph((Node("Flatten", ("series",), ("x",)), Node("Gemm", ("x", "w", "b"), ("z",))), (LENGTH, CHANNELS), w), w


def _stepped(rng: Any) -> tuple[Graph, dict[str, F32]]:
    """A GRU with ONNX's gates, in its order: update, reset, hidden."""
    w = _draw(rng, W=(1, 3 * UNITS, CHANNELS), R=(1, 3 * UNITS, UNITS), B=(1, 6 * UNITS), w=(UNITS, len(LABELS)), b=(len(LABELS),))
    w["R"] *= np.float32(0.4)  # so that a wrong state of long ago is still seen, and no unit stands at its end
    nodes = (
        Node("Transpose", ("series",), ("x",), {"perm": (1, 0, 2)}),
        Node("GRU", ("x", "W", "R", "B"), ("", "h"), {"hidden_size": UNITS}),
        Node("Squeeze", ("h", "axis"), ("last",)),
        Node("Gemm", ("last", "w", "b"), ("z",)),
    )
    return _graph(nodes, (STEPS, CHANNELS), {**w, "axis": np.array([0], np.int64)}), w


_GRAPHS = {"plain": _plain, "windowed": _windowed, "stepped": _stepped}
