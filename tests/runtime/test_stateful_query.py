"""A whole query that scores by key: a recurrent network step by step, through a deployment and a restart, against whole histories."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.astore.binary import write
from esp.astore.graph import run_reference
from esp.astore.model import Astore, Input, Output
from esp.runtime.connect import memory as memory_connector
from esp.runtime.query import Query, load_query
from esp.runtime.runner import QueryRunner
from tests.astore.stepping.stacks import recurrent
from tests.runtime import streams
from tests.runtime.backends.nets import Maker
from tests.runtime.memory_stream import PARTITIONS, Stream, until, while_running

QUERY = """
[query]
name = "course"
checkpoint = "20ms"
limits = {{ max_batch = 8 }}

[models.course]
path = "course.astore"

[windows.events]
kind = "source"
schema = "device:string, id:int64, ts:stamp(ms), acc:float32[2]"
time = "ts"
max_delay = "100ms"
partitioned_by = ["device"]
connect = {{ {events} }}

[windows.scored]
kind = "score"
from = "events"
by = ["device"]
model = "course"
backend = "{backend}"
stateful = true
input = {{ series = "acc" }}
model_field = "model"

[windows.scores]
kind = "sink"
from = "scored"
fields = ["device", "id", "p", "model"]
connect = {{ {scores} }}
"""


def course(length: int, seed: int, units: int) -> Astore:
    m = Maker(seed, (length, 2))
    h = recurrent(m, "LSTM", m.add("Transpose", "x0", perm=(1, 0, 2)), 2, units, every=False)
    graph = m.graph(m.add("Sigmoid", m.add("Gemm", h, m.weight(units, 3), m.weight(3))))
    return Astore("course", graph, (Input("series", "float32", (length, 2)),), (Output("p", "float32", (3,)),))


class Course(Stream):
    """The events of the small query, scored by an LSTM of each device's whole past."""

    backend = "numba"

    def query(self) -> Query:
        write(course(9, 1, 6), self.folder / "course.astore")
        path = self.folder / "query.toml"
        path.write_text(QUERY.format(backend=self.backend, **streams.memory(self.tag, PARTITIONS)))
        return load_query(path)


@pytest.fixture(autouse=True)
def topics() -> Iterator[None]:
    memory_connector.TOPICS.clear()
    yield
    memory_connector.TOPICS.clear()


def by_history(sent: list[streams.Event], of: dict[int, tuple[int, int]]) -> dict[int, Any]:
    """Each event's score by the model (seed, units) that ``of`` names for it, over the events of its device that this model saw."""
    pasts: dict[tuple[str, tuple[int, int]], list[Any]] = {}
    wanted = {}
    for event in sent:
        past = pasts.setdefault((event["device"], of[event["id"]]), [])
        past.append(event["acc"])
        (wanted[event["id"]],) = run_reference(course(len(past), *of[event["id"]]).graph, [np.array([past], np.float32)])
    return wanted


def check(stream: Course, scorers: dict[str, tuple[int, int]]) -> None:
    scores = streams.distinct(stream.values("scores"), "id")
    assert len(scores) == len(stream.values("scores")) == len(stream.sent)
    wanted = by_history(stream.sent, {number: scorers[row["model"]] for (number,), row in scores.items()})
    for (number,), row in scores.items():
        np.testing.assert_allclose(row["p"], wanted[number][0], atol=2e-6)
    assert {row["model"] for row in scores.values()} == set(scorers)


@pytest.mark.parametrize("backend", ["numba", "onnxruntime"])
def test_scores_are_those_of_whole_histories_through_restarts(tmp_path: Path, backend: str) -> None:
    stream = Course(tmp_path, name="course")
    stream.backend = backend
    for seed in range(3):
        stream.send(streams.events(seed, n=60, first=60 * seed))
        asyncio.run(while_running(stream.runner(), stream.all_committed))
    check(stream, {stream.query().models["course"].short_digest: (1, 6)})


def test_a_deployment_begins_all_histories_anew_and_a_restart_goes_on_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Course(tmp_path, name="course")
    runner = stream.runner()
    old = runner.query.models["course"]
    new = write(course(9, 2, 11), tmp_path / "new.astore")

    async def deploy(stopping: asyncio.Event) -> None:
        stream.send(streams.events(seed=1, n=90))
        await until(lambda: stream.committed == stream.ends)
        with caplog.at_level(logging.INFO):
            await runner.deploy("scored", (tmp_path / "new.astore").read_bytes(), new.digest)
        stream.send(streams.events(seed=2, n=60, first=90))
        await until(lambda: stream.committed == stream.ends)

    asyncio.run(while_running(runner, deploy))
    assert "numba, one step an event" in caplog.text
    stream.send(streams.events(seed=3, n=60, first=150))
    stream.topic("events").end()
    asyncio.run(QueryRunner(stream.query(), tmp_path / "state").run(asyncio.Event()))
    check(stream, {old.short_digest: (1, 6), new.short_digest: (2, 11)})
    models = [json.loads(value or b"")["model"] for value in stream.values("scores")]
    assert models.count(old.short_digest) == 90
