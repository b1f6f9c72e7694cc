"""What a workload is scored with: its query, its model as an astore and the same graph as an ONNX file, made when a test runs."""

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
from loadtest.events import F32, Rows
from loadtest.workload import Workload

QUERY = Path(__file__).resolve().parents[1] / "windows" / "digits_camera"
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


def scores_of(astore: Astore, rows: Rows) -> F32:
    """What numpy makes of rows as events give them, node by node."""
    return np.asarray(run_reference(event_graph(astore), [rows])[0], np.float32)


WORKLOADS: Mapping[str, Callable[[Path], tuple[Workload, Kit]]] = {
    "digits": digits,
    "sensor": lambda folder: dense("sensor", ARRAYS, 16, (64, 64), 4, folder),
    "crayfish": lambda folder: dense("crayfish", CRAYFISH, 784, (32, 32, 32, 32), 10, folder),
    "crayfish-raw": lambda folder: dense("crayfish-raw", ARRAYS, 784, (32, 32, 32, 32), 10, folder),
}
