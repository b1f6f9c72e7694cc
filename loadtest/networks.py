"""What a workload is scored with: its query, its model as an astore and the same graph as an ONNX file, made when a test runs."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esp.astore.binary import read, write
from esp.astore.graph import run_reference
from esp.astore.model import Astore, Input, Output
from esp.astore.onnx import export_onnx
from esp.astore.onnx.prefix import event_graph
from esp.errors import FileError
from esp.train.zoo import build
from loadtest import series
from loadtest.events import F32, Rows
from loadtest.workload import Workload

WINDOWS = Path(__file__).resolve().parents[1] / "windows"
QUERY, SHOULDER = WINDOWS / "digits_camera", WINDOWS / "shoulder_imu"
POOL = 512  # rows that are drawn by chance
ARRAYS = """[query]
name = "{name}"
dead = {{ connector = "kafka", topic = "{name}.dead" }}

[models.net]
path = "model.astore"

[windows.events]
kind = "source"
schema = "id:int64, ts:stamp(ns), features:float32[{features}]"
format = "msgpack"
time = "ts"
connect = {{ connector = "kafka", topic = "{name}.events" }}

[windows.scored]
kind = "score"
from = "events"
model = "net"
backend = "numba"

[windows.scores]
kind = "sink"
from = "scored"
format = "msgpack"
options = {{ layout = "array" }}
fields = ["id", "ts", "scores"]
connect = {{ connector = "kafka", topic = "{name}.scores" }}
"""
CRAYFISH = """[query]
name = "{name}"
dead = {{ connector = "kafka", topic = "{name}.dead" }}

[models.net]
path = "model.astore"

[windows.events]
kind = "source"
schema = "creationTimestamp:int64, dataPointSz1:int64, dataPointSz2:int64, dataPoint:float32[{features}]"
format = "json"
connect = {{ connector = "kafka", topic = "{name}.events" }}

[windows.scored]
kind = "score"
from = "events"
model = "net"
backend = "numba"
input = {{ features = "dataPoint" }}
output = {{ scores = "prediction" }}

[windows.scores]
kind = "sink"
from = "scored"
format = "json"
options = {{ tensors = "text" }}
fields = ["creationTimestamp", "dataPointSz1", "dataPointSz2", "dataPoint", "prediction"]
connect = {{ connector = "kafka", topic = "{name}.scores" }}
"""
AGGREGATE = """[query]
name = "aggregate"
dead = { connector = "kafka", topic = "aggregate.dead" }

[windows.events]
kind = "source"
schema = "device:string, id:int64, ts:stamp(ms), value:float64"
format = "msgpack"
time = "ts"
max_delay = "64ms"
partitioned_by = ["device"]
connect = { connector = "kafka", topic = "aggregate.events" }

[windows.counts]
kind = "aggregate"
from = "events"
by = ["device"]
size = "1024ms"
aggregates = { n = "count", mean = "mean(value)", least = "min(value)", greatest = "max(value)", last = "max(id)" }

[windows.tallies]
kind = "sink"
from = "counts"
format = "msgpack"
options = { layout = "array" }
fields = ["device", "window_start", "n", "mean", "least", "greatest", "last"]
connect = { connector = "kafka", topic = "aggregate.tallies" }
"""


@dataclass(frozen=True, slots=True)
class Kit:
    """The folder with ``query.toml`` and its model, the ONNX file beside it, and the short names of the topics written to."""

    folder: Path
    targets: tuple[str, ...] = ("scores", "dead")

    @property
    def onnx(self) -> Path:
        return self.folder / "model.onnx"


def dense(name: str, query: str, features: int, hidden: tuple[int, ...], classes: int, folder: Path) -> tuple[Workload, Kit]:
    """A network of dense layers over random floats of 0 to 1, such as text with eight decimals holds."""
    graph = build("mlp", seed=1, features=features, hidden=hidden, classes=classes)
    item, output = Input("features", "float32", (features,)), Output("scores", "float32", (classes,))
    astore = Astore(name, graph, (item,), (output,))
    rows = np.random.default_rng(1).random((POOL, features)).round(8).astype(np.float32)
    folder.mkdir()
    (folder / "query.toml").write_text(query.format(name=name, features=features))
    write(astore, folder / "model.astore")
    export_onnx(astore, folder / "model.onnx")
    return Workload(name, rows, scores_of(astore, rows), np.zeros(0, np.int64)), Kit(folder)


def digits(folder: Path, model: Path | None = None) -> tuple[Workload, Kit]:
    """The query of windows/digits_camera as it is there, with its model or another one."""
    model = model or QUERY / "digits.astore"
    if not model.is_file():
        raise RuntimeError(f"{model} is missing; train it: python -m esp train {QUERY}/recipe.toml -o {model}")
    shutil.copytree(QUERY, folder)
    shutil.copyfile(model, folder / "digits.astore")
    astore = read(folder / "digits.astore")
    export_onnx(astore, folder / "model.onnx")
    rows, truth = _images()
    probabilities = scores_of(astore, rows.reshape(-1, 8, 8, 1))
    expected = np.stack([probabilities.argmax(1), probabilities.max(1)], 1).astype(np.float32)
    return Workload("digits", rows, expected, truth, source="images"), Kit(folder, ("scores", "counts", "late", "dead"))


def _images() -> tuple[Rows, Rows]:
    """uint8[n, 64] of 0..16 that the recipe holds out, with what they show; random ones where the package with the data is missing."""
    from esp.train.data import split_fraction
    from esp.train.recipe_file import read_recipe

    recipe = read_recipe(QUERY / "recipe.toml")
    try:
        held = split_fraction(recipe.data.load(QUERY), recipe.data.hold_out, recipe.seed).held_out
    except FileError:
        return np.random.default_rng(1).integers(0, 17, (POOL, 64), np.uint8), np.zeros(0, np.int64)
    return np.ascontiguousarray(held.array, np.uint8).reshape(-1, 64), np.asarray(held.targets, np.int64)


def imu(folder: Path) -> tuple[Workload, Kit]:
    """The query of windows/shoulder_imu as it is there, over its recordings: each device goes round in one, begun elsewhere and with noise."""
    shutil.copytree(SHOULDER, folder)
    astore = read(folder / "shoulder.astore")
    export_onnx(astore, folder / "model.onnx")
    rows = _motion()
    probabilities = scores_of(astore, series.windows_of_motion(rows))
    numbers = np.array([series.label_number(label) for label in astore.outputs[0].labels], np.float32)
    assert len(set(numbers.tolist())) == len(numbers)
    expected = np.stack([numbers[probabilities.argmax(1)], probabilities.max(1)], 1).astype(np.float32)
    return Workload("imu", rows, expected, np.zeros(0, np.int64), source="samples"), Kit(folder, ("activities", "dead"))


def _motion() -> Rows:
    """float32[64 * CYCLE, 6]: reading by reading, one of each device."""
    samples = [json.loads(line)["value"] for line in (SHOULDER / "sample" / "samples.jsonl").read_text().splitlines()]
    names = list(dict.fromkeys(sample["device"] for sample in samples))
    recorded = [np.array([[*s["acc"], *s["gyro"]] for s in samples if s["device"] == name], np.float32) for name in names]
    rng, rows = np.random.default_rng(1), np.empty((series.CYCLE, series.DEVICES, 6), np.float32)
    for device in range(series.DEVICES):
        recording = recorded[device % len(recorded)]
        rows[:, device] = recording[(np.arange(series.CYCLE) + 7 * device) % len(recording)]
    return (rows + rng.normal(0, 0.02, rows.shape).astype(np.float32)).reshape(-1, 6)


def aggregate(folder: Path) -> tuple[Workload, Kit]:
    """Tallies of a value by device and window of event time, whose events come out of order."""
    folder.mkdir()
    (folder / "query.toml").write_text(AGGREGATE)
    rows = np.random.default_rng(1).normal(50, 20, (series.VALUES, 1)).round(3)
    return Workload("aggregate", rows, series.tallies_of(rows), np.zeros(0, np.int64)), Kit(folder, ("tallies", "dead"))


def scores_of(astore: Astore, rows: Rows) -> F32:
    """What numpy makes of rows as events give them, node by node."""
    return np.asarray(run_reference(event_graph(astore), [rows])[0], np.float32)


WORKLOADS: Mapping[str, Callable[[Path], tuple[Workload, Kit]]] = {
    "digits": digits,
    "imu": imu,
    "aggregate": aggregate,
    "sensor": lambda folder: dense("sensor", ARRAYS, 16, (64, 64), 4, folder),
    "crayfish": lambda folder: dense("crayfish", CRAYFISH, 784, (32, 32, 32, 32), 10, folder),
    "crayfish-raw": lambda folder: dense("crayfish-raw", ARRAYS, 784, (32, 32, 32, 32), 10, folder),
}
