"""Delivery and changelog in the query file: what exactly-once changes, and what it refuses, in one line each."""

from pathlib import Path

import pytest

from esp.errors import QueryError
from esp.runtime.connect import KafkaConnection
from esp.runtime.ledgers import ledgers
from esp.runtime.query import Query, load_query
from esp.runtime.state.checkpoint import CheckpointStore

QUERY = """
[query]
name = "rooms"
{query}

[windows.readings]
kind = "source"
schema = "room:string, heat:float64"
partitioned_by = ["room"]
connect = {{ {source} }}

[windows.{middle}]
{settings}
from = "readings"

[windows.alerts]
kind = "sink"
from = "{middle}"
connect = {{ {sink} }}
"""
KAFKA = 'connector = "kafka", topic = "t"'
STATELESS = {"middle": "hot", "settings": 'kind = "filter"\nwhere = "heat > 30"'}
STATEFUL = {"middle": "counts", "settings": 'kind = "aggregate"\nby = ["room"]\nsize = "1s"\naggregates = { n = "count" }'}
EXACTLY = 'delivery = "exactly_once"'


def loaded(folder: Path, query: str = "", source: str = KAFKA, sink: str = KAFKA, middle: dict[str, str] = STATELESS) -> Query:
    path = folder / "query.toml"
    path.write_text(QUERY.format(query=query, source=source, sink=sink, **middle))
    return load_query(path)


REFUSED = [
    ({"sink": 'connector = "file", path = "out.jsonl"'}, r"alerts.connect: exactly_once needs Kafka, and this is connector 'file'; take a"),
    ({"source": 'connector = "memory", topic = "t"'}, r"readings.connect: exactly_once needs Kafka, and this is connector 'memory'"),
    ({"query": f'{EXACTLY}\ndead = {{ connector = "memory", topic = "d" }}'}, r"query.dead: exactly_once needs Kafka, and this is"),
    ({"sink": f'{KAFKA}, brokers = "far:9092"'}, r"alerts.connect.brokers: exactly_once needs one cluster, and far:9092 is another than 127.0.0.1:9092"),
    ({"source": f'{KAFKA}, isolation = "read_uncommitted"'}, r"readings.connect.isolation: exactly_once reads what is committed"),
    ({"source": f'{KAFKA}, client = {{ isolation_level = "read_uncommitted" }}'}, r"exactly_once reads what is committed"),
    ({"query": f'{EXACTLY}\ncheckpoint = "40s"'}, r"query.transaction_timeout: a transaction of 40s \(checkpoint\) may not outlast 1min; let it be"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_exactly_once_cannot_have_is_one_line(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        loaded(tmp_path, **{"query": EXACTLY, **changes})
    assert "\n" not in str(caught.value)
    if "transaction" not in message and "isolation" not in message:
        loaded(tmp_path, **{name: text for name, text in changes.items() if name != "query"})  # at least once takes it


def test_exactly_once_reads_what_is_committed_and_sinks_are_as_they_were(tmp_path: Path) -> None:
    windows = loaded(tmp_path, EXACTLY, sink=f'{KAFKA}, brokers = "127.0.0.1:9092,b:9092"').windows
    source, sink = windows["readings"].connection, windows["alerts"].connection
    assert isinstance(source, KafkaConnection)
    assert isinstance(sink, KafkaConnection)
    assert (source.isolation, sink.isolation) == ("read_committed", None)
    plain = loaded(tmp_path).windows["readings"].connection
    assert isinstance(plain, KafkaConnection)
    assert plain.isolation is None


KEPT = [
    (STATELESS, "", None),
    (STATELESS, EXACTLY, (None, True)),
    (STATELESS, "changelog = { enabled = true }", ("rooms-readings-changelog", False)),
    (STATEFUL, "", ("rooms-readings-changelog", False)),
    (STATEFUL, EXACTLY, ("rooms-readings-changelog", True)),
    (STATEFUL, 'group = "g"\nchangelog = { topic = "own" }', ("own", False)),
    (STATEFUL, "changelog = { enabled = false }", None),
]


@pytest.mark.parametrize(("middle", "text", "wanted"), KEPT)
def test_tasks_are_kept_in_kafka_where_windows_keep_state_or_outputs_are_in_transactions(
    tmp_path: Path, middle: dict[str, str], text: str, wanted: tuple[str | None, bool] | None
) -> None:
    query = loaded(tmp_path, text, middle=middle)
    found = ledgers(query, {}, {}, {"readings": CheckpointStore(tmp_path, "rooms", "f")}, lambda key: None)
    if wanted is None:
        assert found == {}
        return
    settings = found["readings"].settings
    changelog = None if settings.changelog is None else settings.changelog.topic
    assert (changelog, settings.sinks_too) == wanted
    assert settings.transactional_id(7) == f"{query.settings.group or 'rooms'}-readings-7"


def test_exactly_once_without_a_changelog_is_refused_where_windows_keep_state(tmp_path: Path) -> None:
    query = loaded(tmp_path, f"{EXACTLY}\nchangelog = {{ enabled = false }}", middle=STATEFUL)
    with pytest.raises(
        QueryError, match=r"changelog.enabled: exactly_once needs the changelog where windows keep state; take the key out"
    ):
        ledgers(query, {}, {}, {}, lambda key: None)
