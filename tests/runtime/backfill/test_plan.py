"""From what is asked to offsets, over topics of Apache Kafka; and what these cannot give."""

import asyncio
import logging
from typing import Any

import pytest

from esp.errors import StartError, UsageError
from esp.runtime.backfill.asked import Asked
from esp.runtime.backfill.plan import plan
from esp.runtime.kafka.offsets import create_like
from esp.runtime.kafka.spans import Span
from tests.conftest import Kafka
from tests.runtime.backfill.ranges import KEPT
from tests.runtime.kafka.test_bounded import deleted, in_transactions, settings
from tests.runtime.kafka.test_kafka import produce

confluent_kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka
TOPICS_OWN = 1  # where Kafka says that a setting is the topic's own
NOON_MS = 1_764_763_200_000  # 2025-12-03T12:00Z


@pytest.fixture(scope="module")
def topic(kafka: Kafka) -> str:
    """Three partitions: a record a second from noon on, one every two seconds, none."""
    name = kafka.topic(partitions=3, config=KEPT)
    produce(kafka, name, [{"value": b"x", "timestamp": NOON_MS + 1000 * n} for n in range(100)], 0)
    produce(kafka, name, [{"value": b"x", "timestamp": NOON_MS + 2000 * n} for n in range(100)], 1)
    return name


def spans(kafka: Kafka, name: str, more: dict[str, Any] | None = None, **options: Any) -> dict[int, Span]:
    return asyncio.run(plan(Asked(**options), settings(kafka, name, **(more or {})), "g", f"q: in: {name}"))


def test_all_that_is_there_now(kafka: Kafka, topic: str) -> None:
    assert spans(kafka, topic, until="end") == {0: Span(0, 0, 100), 1: Span(0, 0, 100), 2: Span(0, 0, 0)}


def test_times_are_the_first_records_that_are_not_before_them(kafka: Kafka, topic: str) -> None:
    made = spans(kafka, topic, from_time="2025-12-03T12:00:09.5Z", until="2025-12-03T13:01:00+01:00")
    assert made == {0: Span(10, 10, 60), 1: Span(5, 5, 30), 2: Span(0, 0, 0)}
    made = spans(kafka, topic, from_time="2025-12-03T12:02:00Z", until="2025-12-03T23:00Z")
    assert made == {0: Span(100, 100, 100), 1: Span(60, 60, 100), 2: Span(0, 0, 0)}


def test_offsets_name_the_partitions_that_are_read(kafka: Kafka, topic: str) -> None:
    assert spans(kafka, topic, from_offset="0=10,1=20") == {0: Span(10, 10, 100), 1: Span(20, 20, 100)}
    assert spans(kafka, topic, until="1=20") == {1: Span(0, 0, 20)}
    assert spans(kafka, topic, from_offset="0=10,1=20", until="40") == {0: Span(10, 10, 40), 1: Span(20, 20, 40)}
    assert spans(kafka, topic, from_offset="0=10", until="0=10") == {0: Span(10, 10, 10)}


def test_a_warm_up_begins_earlier_by_the_stamps_of_the_records(kafka: Kafka, topic: str) -> None:
    made = spans(kafka, topic, from_time="2025-12-03T12:00:30Z", warm_up="10s")
    assert made == {0: Span(20, 30, 100), 1: Span(10, 15, 100), 2: Span(0, 0, 0)}
    made = spans(kafka, topic, from_offset="0=30,1=30", warm_up="10s")
    assert made == {0: Span(20, 30, 100), 1: Span(25, 30, 100)}
    assert spans(kafka, topic, from_offset="0=3,1=100", warm_up="1h") == {0: Span(0, 3, 100), 1: Span(100, 100, 100)}
    assert spans(kafka, topic, from_offset="0=30", until="0=40", warm_up="all") == {0: Span(0, 30, 40)}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"from_offset": "0=101"}, "--from-offset: offset 101 is beyond the end of partition 0, which is 100 (q: in: "),
        ({"until": "0=5000"}, "--until: offset 5000 is beyond the end of partition 0"),
        ({"from_offset": "50"}, "--from-offset: offset 50 is beyond the end of partition 2, which is 0"),
        ({"from_offset": "7=1"}, "--from-offset: there is no partition 7 (q: in: "),
        ({"until": "3=1"}, "--until: there is no partition 3 (q: in: "),
        ({"from_offset": "0=1,1=1", "until": "0=5"}, "--until: partition 1 is in one of --from-offset and --until alone"),
        ({"from_offset": "0=50", "until": "0=40"}, "backfill: partition 0 would begin at offset 50, behind its end 40"),
        ({"from_time": "2025-12-03T12:00:50Z", "until": "0=40"}, "backfill: partition 0 would begin at offset 50, behind"),
    ],
)
def test_what_the_topic_cannot_give_is_refused(kafka: Kafka, topic: str, options: dict[str, str], line: str) -> None:
    with pytest.raises(UsageError) as err:
        spans(kafka, topic, **options)
    assert str(err.value).startswith(line)


def test_a_range_of_which_retention_has_taken_some_is_refused_unless_on_lost_says_otherwise(
    kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    name = kafka.topic(config=KEPT)
    produce(kafka, name, [{"value": b"x", "timestamp": NOON_MS + 1000 * n} for n in range(100)])
    deleted(kafka, name, 30)
    lost: list[dict[str, Any]] = [{"from_offset": "10"}, {"from_time": "2025-12-03T12:00:10Z"}]
    for options in lost:
        with pytest.raises(UsageError, match="partition 0 holds nothing before offset 30 any more, and the range may begin there"):
            spans(kafka, name, **options)
        with caplog.at_level(logging.WARNING):
            assert spans(kafka, name, {"on_lost": "earliest"}, **options) == {0: Span(30, 30, 100)}
        assert "on_lost = earliest" in caplog.text
        caplog.clear()
        assert spans(kafka, name, {"on_lost": "latest"}, **options) == {0: Span(100, 100, 100)}
    assert spans(kafka, name, from_offset="earliest") == {0: Span(30, 30, 100)}
    assert spans(kafka, name, from_offset="30") == {0: Span(30, 30, 100)}
    assert spans(kafka, name, from_time="2025-12-03T12:00:31Z") == {0: Span(31, 31, 100)}
    with caplog.at_level(logging.WARNING):
        assert spans(kafka, name, from_offset="35", warm_up="10s") == {0: Span(30, 35, 100)}
    assert "the warm-up of partition 0 begins at offset 30, with what is left there" in caplog.text


def test_the_end_is_before_transactions_that_are_open_where_only_committed_records_are_read(kafka: Kafka) -> None:
    name = kafka.topic()
    in_transactions(kafka, name, [True])
    producer = confluent_kafka.Producer(kafka.client(**{"transactional.id": f"{name}-open"}))
    producer.init_transactions(120)
    producer.begin_transaction()
    producer.produce(name, b"open", partition=0)
    producer.flush(120)
    committed = {"client": {"isolation_level": "read_committed"}}
    assert spans(kafka, name, until="now") == {0: Span(0, 0, 5)}
    assert spans(kafka, name, committed, until="now") == {0: Span(0, 0, 4)}
    with pytest.raises(UsageError, match="offset 5 is beyond the end of partition 0, which is 4"):
        spans(kafka, name, committed, until="5")
    producer.abort_transaction(120)


def test_a_topic_that_is_not_there_is_not_made(kafka: Kafka) -> None:
    with pytest.raises(StartError, match="there is no topic 'nowhere'"):
        spans(kafka, "nowhere", {"create": {"partitions": 1}}, until="end")


def test_an_output_is_made_with_the_partitions_and_the_settings_of_the_one_it_stands_for(kafka: Kafka, topic: str) -> None:
    made, admin = f"{topic}-redo", confluent_kafka.admin.AdminClient(kafka.client())
    for _ in range(2):  # one that is there stays
        asyncio.run(create_like(settings(kafka, made), settings(kafka, topic), "q"))
    assert len(admin.list_topics(made, timeout=120).topics[made].partitions) == 3
    asked = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ResourceType.TOPIC, made)
    found = admin.describe_configs([asked])[asked].result(120)
    assert {name: entry.value for name, entry in found.items() if entry.source == TOPICS_OWN} == KEPT
