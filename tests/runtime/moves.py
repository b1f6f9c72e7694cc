"""A small query over topics in memory (source, score, sink, dead letters), for tests of what surrounds a running query."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from esp.astore.binary import write
from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output
from esp.runtime.admin import Local
from esp.runtime.connect import MemoryTopic
from esp.runtime.connect.memory import TOPICS
from esp.runtime.query import load_query
from esp.runtime.runner import QueryRunner
from esp.runtime.server import build_app
from tests.runtime.memory_stream import until

LABELS = ("still", "moving")
QUERY = """
[query]
name = "moves"
checkpoint = "1h"
dead = { connector = "memory", topic = "moves.dead" }

[models.tiny]
path = "tiny.astore"

[windows.samples]
kind = "source"
schema = "device:string, ts:stamp(ms), acc:float32[2]"
time = "ts"
partitioned_by = ["device"]
connect = { connector = "memory", topic = "moves.samples" }

[windows.scored]
kind = "score"
from = "samples"
model = "tiny"
backend = "numpy"
model_field = "model"

[windows.scores]
kind = "sink"
from = "scored"
connect = { connector = "memory", topic = "moves.scores" }
"""


def tiny(bias: float = 0.0, labels: tuple[str, ...] = LABELS, name: str = "acc", width: int = 2) -> Astore:
    """Probabilities of the classes from one input; another bias is another model."""
    weights = {
        "w": np.linspace(-1, 1, width * len(labels), dtype=np.float32).reshape(width, -1),
        "b": np.full(len(labels), bias, np.float32),
    }
    graph = Graph(
        (Node("Gemm", (name, "w", "b"), ("z",)), Node("Softmax", ("z",), ("p",), {"axis": -1})),
        (Value(name, "float32", (None, width)),),
        (Value("p", "float32", (None, len(labels))),),
        weights,
    )
    output = Output("p", "float32", (len(labels),), "probabilities", labels)
    return Astore("tiny", graph, (Input(name, "float32", (width,)),), (output,))


def event(number: int, ts_ms: int = 1000) -> bytes:
    return json.dumps({"device": f"d{number}", "ts": ts_ms + number, "acc": [number / 10, -1.0]}).encode()


def write_query(folder: Path, text: str = QUERY, model: Astore | None = None) -> Path:
    """The query with its model in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write(model if model is not None else tiny(), folder / "tiny.astore")
    (folder / "query.toml").write_text(text)
    return folder


def topic(name: str) -> MemoryTopic:
    return TOPICS.setdefault(f"moves.{name}", MemoryTopic(f"moves.{name}"))


@dataclass
class Engine:
    """A query that runs, and a client of the server over it."""

    runner: QueryRunner
    client: httpx.AsyncClient

    async def worked_off(self) -> None:
        """Returns when all records that are there have come out."""
        position = self.runner.sources["samples"]
        await until(lambda: not any(position._lags().values()))  # type: ignore[attr-defined]
        await self.runner.checkpoint()

    async def scored_by(self, *numbers: int) -> list[str]:
        """Sends events, and gives the digests of the models that scored them."""
        seen = len(topic("scores").values())
        topic("samples").append([event(number) for number in numbers])
        await self.worked_off()
        return [json.loads(value or b"")["model"] for value in topic("scores").values()[seen:]]


@contextlib.asynccontextmanager
async def running(
    folder: Path, token: str | None = None, max_upload_bytes: int = 1 << 20, trusted: Sequence[bytes] = ()
) -> AsyncIterator[Engine]:
    """Runs the query of a folder with its state beside it, until the block ends."""
    runner, stopping = QueryRunner(load_query(folder, trusted=trusted), folder / "state"), asyncio.Event()
    app = build_app(Local({"moves": runner}), token, max_upload_bytes)
    life = asyncio.create_task(runner.run(stopping))
    async with asyncio.timeout(300), client_of(app) as client:
        try:
            await until(lambda: runner.is_ready or life.done())
            yield Engine(runner, client)
        finally:
            stopping.set()
            await life


def client_of(app: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://engine")
