"""A source with an end against Apache Kafka: whatever stands at the end (markers, aborted records, gaps, nothing), it ends there."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from esp.errors import TransportError
from esp.runtime.connect import connection
from esp.runtime.events import RawBlock
from esp.runtime.kafka import bounded
from esp.runtime.kafka.bounded import BoundedKafkaSource
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.spans import Span
from esp.runtime.unread import Moved
from tests.conftest import Kafka
from tests.engine_process import wait_until
from tests.runtime.backfill.ranges import ends_of
from tests.runtime.kafka.members import Record, rows
from tests.runtime.kafka.test_kafka import produce

confluent_kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka


def settings(kafka: Kafka, topic: str, **more: Any) -> KafkaConnection:
    made = connection({"connector": "kafka", "topic": topic, "brokers": kafka.bootstrap, **more}, "q.toml")
    assert isinstance(made, KafkaConnection)
    return made


async def drain(source: BoundedKafkaSource, known: dict[int, int] | None = None) -> list[Record]:
    """All that the spans of a source hold, read to its end; ``known`` are the offsets that state has come to."""
    found: list[Record] = []

    async def assigned(partitions: set[int]) -> dict[int, int | None]:
        return {partition: (known or {}).get(partition) for partition in partitions}

    async def revoked(_: set[int]) -> None:
        raise AssertionError("nobody takes partitions from a source that is in no group")

    await source.start(assigned, revoked)
    try:
        async with asyncio.timeout(300):
            while not source.ended:
                for some in await source.poll(0.2):
                    if isinstance(some, Moved):
                        continue
                    block = some if isinstance(some, RawBlock) else some.block()
                    warming, counting = source.spans[block.partition].cut(block)
                    found += rows(warming) + rows(counting)
        assert set((await source.lag()).values()) <= {0}
    finally:
        await source.stop()
    return found


def offsets(found: list[Record], partition: int = 0) -> list[int]:
    return [record[1] for record in found if record[0] == partition]


def source_of(kafka: Kafka, topic: str, spans: dict[int, Span], **more: Any) -> BoundedKafkaSource:
    return BoundedKafkaSource(settings(kafka, topic, **more), "group-of-its-own", "q: in", spans)


def in_transactions(kafka: Kafka, topic: str, ends: list[bool]) -> None:
    """Three records a transaction and its marker, which comes a moment after its end; True = committed."""
    producer = confluent_kafka.Producer(kafka.client(**{"transactional.id": topic}))
    producer.init_transactions(120)
    for number, is_committed in enumerate(ends):
        producer.begin_transaction()
        for record in range(3):
            producer.produce(topic, f"{number}.{record}".encode(), partition=0)
        producer.flush(120)
        if is_committed:
            producer.commit_transaction(120)
        else:
            producer.abort_transaction(120)
        assert ends_of(kafka.bootstrap, topic, 1) == [4 * (number + 1)]


@pytest.mark.parametrize("records", ["columns", "client"])
def test_a_range_is_read_to_its_end_and_no_record_more(kafka: Kafka, records: str) -> None:
    topic = kafka.topic(partitions=3)
    for partition in (0, 1):
        produce(kafka, topic, [{"value": b"%d" % n} for n in range(500)], partition)
    spans = {0: Span(20, 100, 480), 1: Span(0, 0, 500), 2: Span(0, 0, 0)}
    found = asyncio.run(drain(source_of(kafka, topic, spans, records=records)))
    assert offsets(found, 0) == list(range(20, 480))
    assert offsets(found, 1) == list(range(500))
    assert len(found) == 960


def test_state_that_is_there_goes_on_from_its_own_offset(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=2)
    for partition in (0, 1):
        produce(kafka, topic, [{"value": b"%d" % n} for n in range(50)], partition)
    source = source_of(kafka, topic, {0: Span(0, 10, 40), 1: Span(0, 10, 40)})
    found = asyncio.run(drain(source, {0: 25, 1: 40}))
    assert offsets(found, 0) == list(range(25, 40))
    assert offsets(found, 1) == []


def test_nothing_to_read_ends_at_once(kafka: Kafka) -> None:
    assert asyncio.run(drain(source_of(kafka, kafka.topic(), {0: Span(0, 0, 0)}))) == []


@pytest.mark.parametrize("records", ["columns", "client"])
@pytest.mark.parametrize("level", ["read_committed", "read_uncommitted"])
def test_markers_and_aborted_records_at_the_end_do_not_hold_it_up(kafka: Kafka, records: str, level: str) -> None:
    topic = kafka.topic()
    in_transactions(kafka, topic, [True, False, True, False])  # a transaction and its marker take four offsets
    for end, wanted in ((16, [0, 1, 2, 8, 9, 10]), (12, [0, 1, 2, 8, 9, 10]), (8, [0, 1, 2]), (4, [0, 1, 2])):
        source = source_of(kafka, topic, {0: Span(0, 0, end)}, records=records, client={"isolation_level": level})
        if level == "read_uncommitted":
            wanted = [offset for offset in range(end) if offset % 4 < 3]
        assert offsets(asyncio.run(drain(source))) == wanted


def test_a_gap_that_compaction_left_at_the_end_does_not_hold_it_up(kafka: Kafka) -> None:
    admin = confluent_kafka.admin.AdminClient(kafka.client())
    (number,) = admin.list_topics(timeout=120).brokers
    sooner = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ResourceType.BROKER, str(number))
    change = confluent_kafka.admin.AlterConfigOpType.SET
    sooner.add_incremental_config(confluent_kafka.admin.ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=change))
    admin.incremental_alter_configs([sooner])[sooner].result(120)
    config = {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "200"}
    topic = kafka.topic(config=config)
    for _ in range(40):
        produce(kafka, topic, [{"key": b"same", "value": b"x" * 100}])
    time.sleep(0.3)  # Kafka rolls a segment by its clock, and compacts none but those that are rolled
    produce(kafka, topic, [{"key": b"other", "value": b"y"}])

    def compacted() -> bool:
        produce(kafka, topic, [{"key": b"other", "value": b"y"}])
        return len(asyncio.run(drain(source_of(kafka, topic, {0: Span(0, 0, 40)})))) == 1

    wait_until(compacted, "compaction")
    assert offsets(asyncio.run(drain(source_of(kafka, topic, {0: Span(5, 5, 30)})))) == []
    assert offsets(asyncio.run(drain(source_of(kafka, topic, {0: Span(5, 5, 40)})))) == [39]


def deleted(kafka: Kafka, topic: str, before: int) -> None:
    """Takes the records before an offset away, as retention would."""
    place, admin = confluent_kafka.TopicPartition(topic, 0, before), confluent_kafka.admin.AdminClient(kafka.client())
    admin.delete_records([place])[place].result(120)


def test_what_retention_takes_away_before_it_is_read_ends_it_with_its_place_or_is_passed_over(kafka: Kafka) -> None:
    topic = kafka.topic()
    produce(kafka, topic, [{"value": b"%d" % n} for n in range(50)])
    deleted(kafka, topic, 30)
    span = {0: Span(10, 10, 40)}
    with pytest.raises(TransportError, match=rf"{topic}/0/10: offset 10 is no longer"):
        asyncio.run(drain(source_of(kafka, topic, span)))
    assert offsets(asyncio.run(drain(source_of(kafka, topic, span, on_lost="earliest")))) == list(range(30, 40))
    assert offsets(asyncio.run(drain(source_of(kafka, topic, span, on_lost="latest")))) == []


class Said:
    """A consumer whose broker answers again and again that it has nothing; every answer has a stamp of its own."""

    def __init__(self, end: int, stable: int) -> None:
        self.end, self.stable, self.answers = end, stable, 0

    async def getmany(self, *_: Any, **__: Any) -> dict[Any, Any]:
        self.answers += 1
        return {}

    async def position(self, _: Any) -> int:
        return 70

    def last_poll_timestamp(self, _: Any) -> int:
        return self.answers

    def highwater(self, _: Any) -> int:
        return self.end

    def last_stable_offset(self, _: Any) -> int:
        return self.stable

    def seek(self, *_: Any) -> None: ...

    def pause(self, *_: Any) -> None: ...


def silent(said: Said, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> BoundedKafkaSource:
    monkeypatch.setattr(bounded, "monotonic", clock)
    source = BoundedKafkaSource(KafkaConnection(connector="kafka", topic="t"), "g", "q: in", {0: Span(0, 0, 100)})
    source._consumer, source._position, source._has_columns = said, {0: 70}, True
    source._ready.set()
    return source


def test_a_broker_that_has_nothing_up_to_the_end_ends_it_after_some_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for end, stable in ((100, -1), (150, 100)):
        now = 0.0
        source = silent(said := Said(end, stable), monkeypatch, lambda: now)  # noqa: B023
        for _ in range(2 * bounded.EMPTY_ANSWERS):
            asyncio.run(source.poll(0))
        assert not source.ended  # too soon to tell
        now = bounded.EMPTY_S
        asyncio.run(source.poll(0))
        assert source.ended
        assert said.answers == 2 * bounded.EMPTY_ANSWERS + 1


def test_a_partition_that_has_become_shorter_is_waited_for_and_then_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    source = silent(Said(150, 90), monkeypatch, lambda: now)
    for _ in range(10):
        asyncio.run(source.poll(0))
    now = bounded.SHRUNK_S
    asyncio.run(source.poll(0))
    assert not source.ended
    now = bounded.SHRUNK_S + 1
    with pytest.raises(TransportError, match=r"t/0: the partition ends at offset 90 now, before the range does \(100\)"):
        asyncio.run(source.poll(0))
