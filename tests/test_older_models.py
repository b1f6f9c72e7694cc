"""Engines started apart, of which one has a model that the other has not: the partition goes back to the older one aloud."""

import uuid
from pathlib import Path

import pytest

from esp.client import AdminClient
from tests.conftest import Kafka
from tests.engine_process import EngineProcess, Topics, wait_until
from tests.runtime import streams
from tests.test_workers import value

pytestmark = pytest.mark.kafka
PARTITIONS = 2
PLAIN = """
[query]
name = "{name}"
checkpoint = "100ms"

[models.tiny]
path = "tiny.astore"

[windows.events]
kind = "source"
schema = "motion:float32[3, 2]"
connect = {{ {events} }}

[windows.scored]
kind = "score"
from = "events"
model = "tiny"
backend = "numba"

[windows.scores]
kind = "sink"
from = "scored"
fields = ["label"]
connect = {{ {scores} }}
"""


def _query(folder: Path, name: str, connectors: dict[str, str], kind: str) -> Path:
    path = streams.query_file(folder, connectors, name=name, checkpoint="100ms")
    if kind == "exactly_once":
        path.write_text(path.read_text().replace("at_least_once", kind))
    if kind == "stateless":
        path.write_text(PLAIN.format(name=name, **connectors))
    return path


def _records(kind: str, first: int) -> list[tuple[int, bytes]]:
    if kind == "stateless":
        return [(number % PARTITIONS, b'{"motion": [[1, 2], [3, 4], [5, 6]]}') for number in range(20)]
    made = streams.events(1, n=40, first=first)
    return [(streams.partition_of(event["device"], PARTITIONS), streams.value(event)) for event in made]


def _is_ready_with(engine: EngineProcess, reasons: dict[str, list[str]]) -> bool:
    is_ready, told = engine.ready()
    return is_ready and told["reasons"] == reasons


@pytest.mark.parametrize("kind", ["stateless", "at_least_once", "exactly_once"])
def test_an_engine_that_takes_partitions_over_with_an_older_model_says_so_until_it_has_the_newer(
    kafka: Kafka, tmp_path: Path, kind: str
) -> None:
    tag = f"t{uuid.uuid4().hex[:10]}"
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = _query(tmp_path, tag, streams.kafka(tag, kafka.bootstrap), kind)
    old, new = streams.model(tmp_path / "tiny.astore"), streams.model(tmp_path / "new.astore", seed=2)
    with EngineProcess(query, tmp_path / "first") as engine:
        wait_until(lambda: engine.ready()[0], "the first engine")
        AdminClient(engine.url).deploy(tmp_path / "new.astore", f"{tag}/scored")
        topics.send("events", (sent := _records(kind, 0)))
        wait_until(lambda: sum(topics.committed("events", tag).values()) == len(sent), "commits")
        wait_until(lambda: _is_ready_with(engine, {}), "no reason against it")
        assert engine.stop() == 0
    with EngineProcess(query, tmp_path / "second") as engine:
        engine.wait_for(f"by {new.short_digest}, a newer deployment than {old.short_digest}, which goes on; deploy it here too")
        told = f"scored: {PARTITIONS} partitions came from an engine with a newer model; deploy it here too"
        wait_until(lambda: _is_ready_with(engine, {tag: [told]}), "its being ready in spite of it")
        assert value(engine, "esp_model_mismatch_partitions", window="scored") == PARTITIONS
        AdminClient(engine.url).deploy(tmp_path / "new.astore", f"{tag}/scored")
        assert engine.ready()[1]["reasons"] == {}
        assert value(engine, "esp_model_mismatch_partitions", window="scored") == 0
        assert engine.stop() == 0
    with EngineProcess(query, tmp_path / "second") as engine:  # what was deployed stands, and is that of the offsets
        wait_until(lambda: engine.ready()[0], "the second engine again")
        assert "newer deployment" not in engine.text
        assert engine.stop() == 0
