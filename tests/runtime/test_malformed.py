"""Twenty kinds of malformed events among good ones, through a whole query over Kafka: each good one is scored once, each bad one is a dead letter."""

import asyncio
import random
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from esp.astore.binary import write
from esp.runtime.query import load_query
from esp.runtime.runner import QueryRunner
from loadtest.malformed import QUERY, model
from loadtest.networks import scores_of
from loadtest.spoiled import FORMATS, KINDS, SCHEMA, encoded, event
from tests.conftest import Kafka
from tests.runtime.kafka.test_kafka import consume, produce
from tests.runtime.memory_stream import while_running

pytestmark = pytest.mark.kafka
GOOD, OF_EACH = 400, 4
LARGEST = 20_000  # max.message.bytes of the dead letters


def rows_of(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Good records and bad ones; a bad one's key is its number, and it has a header of its own."""
    rng = random.Random(7)
    events = [event(number, rng) for number in range(GOOD)]
    good = [{"value": encoded(name, one)} for one in events]
    spoiled = [kind.spoil(name, event(number, rng), rng) for number, kind in enumerate(KINDS * OF_EACH)]
    bad = [
        {"value": value, "key": b"%d" % number, "headers": [("trace", b"\xff%d" % number)]} for number, value in enumerate(spoiled)
    ]
    assert {row["value"] for row in good}.isdisjoint(row["value"] for row in bad)
    return good, bad


@pytest.mark.parametrize("name", FORMATS)
def test_every_good_event_is_scored_once_and_every_bad_one_is_a_dead_letter_with_its_reason_and_bytes(
    kafka: Kafka, tmp_path: Path, name: str
) -> None:
    good, bad = rows_of(name)
    large = {"value": b"\xc1" * (LARGEST - 200), "key": b"large"}  # with what a letter says of it more than the topic takes
    mixed = [*good, *bad, large]
    random.Random(8).shuffle(mixed)
    names = {"source": kafka.topic(), "out": kafka.topic(), "brokers": kafka.bootstrap}
    names["dead"] = kafka.topic(config={"max.message.bytes": str(LARGEST)})
    (tmp_path / "query.toml").write_text(QUERY.format(run="mixed", schema=SCHEMA, format=name, **names))
    write(model(), tmp_path / "model.astore")
    produce(kafka, names["source"], mixed)
    runner = QueryRunner(load_query(tmp_path / "query.toml"), tmp_path / "state")

    async def work(stopping: asyncio.Event) -> None:
        while runner.meter.windows["events"].events_in < len(mixed):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    asyncio.run(while_running(runner, work))

    found = dict(msgpack.unpackb(record.value()) for record in consume(kafka, names["out"], GOOD))
    rng = random.Random(7)
    features = np.array([event(number, rng)["features"] for number in range(GOOD)], np.float32)
    assert sorted(found) == list(range(GOOD))
    scores = np.array(
        [np.frombuffer(found[number], "<f4") if isinstance(found[number], bytes) else found[number] for number in range(GOOD)]
    )
    np.testing.assert_allclose(scores, scores_of(model(), features), atol=1e-5)

    letters = {record.key(): record for record in consume(kafka, names["dead"], len(bad) + 1)}
    for number, row in enumerate(bad):
        kind, letter = KINDS[number % len(KINDS)], letters[b"%d" % number]
        headers = dict(letter.headers())
        assert letter.value() == row["value"], kind.name
        assert kind.reason_in(name) in headers["esp-reason"].decode(), kind.name
        assert headers["esp-reason"]
        assert headers["trace"] == b"\xff%d" % number
        assert headers["esp-window"] == (b"scored" if kind.name == "no reading" else b"events")
        assert mixed[int(headers["esp-offset"])] is row
    cut = dict(letters[b"large"].headers())
    assert letters[b"large"].value() is None
    assert int(cut["esp-cut"]) == LARGEST - 200
