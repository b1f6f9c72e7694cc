"""A running query whose record batches are damaged on the way from the broker to it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.errors import TransportError
from esp.runtime.kafka.frames import FrameProtocol
from esp.runtime.query import load_query
from esp.runtime.runner import QueryRunner
from tests.conftest import Kafka
from tests.runtime.kafka.test_kafka import produce

confluent_kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka
QUERY = """
[query]
name = "numbers"
group = "{topic}"
dead = {{ connector = "kafka", topic = "{dead}", brokers = "{brokers}" }}

[windows.numbers]
kind = "source"
schema = "n:int64"
connect = {{ connector = "kafka", topic = "{topic}", brokers = "{brokers}", on_corrupt = "{on_corrupt}" }}

[windows.out]
kind = "sink"
from = "numbers"
connect = {{ connector = "kafka", topic = "{out}", brokers = "{brokers}" }}
"""
Harm = Callable[[bytearray, int], None]


def flip_value(frame: bytearray, at: int) -> None:
    frame[at + 3] ^= 1


def stretch_length(frame: bytearray, at: int) -> None:
    """The batch that the place lies in says that it is longer than all that came."""
    begin = frame.rindex(b"\0\0\0\0\x02", 0, at) - 12  # the leader's first epoch, and the format
    frame[begin + 8] = 0x7F


def harm(monkeypatch: pytest.MonkeyPatch, times: int, how: Harm) -> list[int]:
    """Damages what holds the number 150, so many times; gives the sizes of the frames that were."""
    take, done = FrameProtocol._take, list[int]()

    def taken(self: FrameProtocol, frame: Any) -> None:
        at = frame.tobytes().find(b'{"n":150}')
        if at >= 0 and len(done) < times:
            data = bytearray(frame.tobytes())
            how(data, at)
            frame = np.frombuffer(bytes(data), np.uint8).copy()
            done.append(len(frame))
        take(self, frame)

    monkeypatch.setattr(FrameProtocol, "_take", taken)
    return done


class Case:
    """Three batches of a hundred numbers, and the query over them."""

    def __init__(self, kafka: Kafka, folder: Path, on_corrupt: str) -> None:
        self.kafka, self.topic, self.out, self.dead = kafka, kafka.topic(), kafka.topic(), kafka.topic()
        for first in (0, 100, 200):
            produce(kafka, self.topic, [{"value": b'{"n":%d}' % n} for n in range(first, first + 100)])
        names = {"topic": self.topic, "out": self.out, "dead": self.dead, "brokers": kafka.bootstrap, "on_corrupt": on_corrupt}
        (folder / "query.toml").write_text(QUERY.format(**names))
        self.runner = QueryRunner(load_query(folder / "query.toml"), folder / "state")

    def run(self, count: int) -> list[int]:
        """Runs until so many numbers have come out; gives all that have."""

        async def stream() -> None:
            stopping = asyncio.Event()
            life = asyncio.create_task(self.runner.run(stopping))
            while not life.done() and len(await asyncio.to_thread(self.values, self.out)) < count:
                await asyncio.wait({life}, timeout=0.05)
            stopping.set()
            await life

        asyncio.run(stream())
        return self.numbers()

    def numbers(self) -> list[int]:
        return [json.loads(value)["n"] for value in self.values(self.out)]

    def values(self, topic: str) -> list[bytes]:
        return [record.value() for record in self.records(topic)]

    def records(self, topic: str) -> list[Any]:
        """All that a topic holds."""
        consumer, place = (
            confluent_kafka.Consumer(self.kafka.client(**{"group.id": "r"})),
            confluent_kafka.TopicPartition(topic, 0, 0),
        )
        end, found = consumer.get_watermark_offsets(place, timeout=120)[1], list[Any]()
        consumer.assign([place])
        while len(found) < end:
            found += consumer.consume(end, 0.2)
        consumer.close()
        return found


@pytest.mark.parametrize("how", [flip_value, stretch_length])
def test_damage_on_the_way_is_fetched_once_more_and_every_record_comes_once(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Harm
) -> None:
    case, harmed = Case(kafka, tmp_path, "fail"), harm(monkeypatch, 1, how)
    assert case.run(300) == list(range(300))
    assert len(harmed) == 1
    assert case.records(case.dead) == []


def test_damage_that_stays_ends_the_query_with_its_place_after_all_before_it(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kafka, tmp_path, "fail")
    harm(monkeypatch, 1000, flip_value)
    with pytest.raises(
        TransportError, match=rf"{case.topic}/0/100-199: a record batch is damaged \(its checksum is wrong"
    ) as caught:
        case.run(300)
    assert caught.value.exit_status
    assert set(case.numbers()) <= set(range(100))


def test_damage_that_stays_becomes_one_dead_letter_where_told(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kafka, tmp_path, "dead_letter")
    harm(monkeypatch, 1000, flip_value)
    assert case.run(200) == [*range(100), *range(200, 300)]
    (letter,) = case.records(case.dead)
    assert letter.value().count(b'{"n"') == 99  # the bytes of the batch, one of its numbers damaged
    headers = {name: value.decode() for name, value in letter.headers()}
    assert headers["esp-reason"].startswith("offsets 100 to 199: its checksum is wrong, at byte ")
    assert (headers["esp-topic"], headers["esp-partition"], headers["esp-offset"]) == (case.topic, "0", "100")
    assert case.runner.meter.windows["numbers"].events_dead == 1
