"""A query between Confluent's own serializers and deserializers, over Apache Kafka and a schema registry with a password over TLS."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.runtime.query import load_query
from esp.runtime.runner import QueryRunner
from tests.certificates import Authority
from tests.conftest import Kafka
from tests.registry_server import PASSWORD, USER, RegistryServer, basic, serving
from tests.runtime.memory_stream import until

pytest.importorskip("fastavro")
confluent_kafka = pytest.importorskip("confluent_kafka")
schema_registry = pytest.importorskip("confluent_kafka.schema_registry")
pytestmark = pytest.mark.kafka
QUERY = """
[query]
name = "{topic}"
dead = {{ connector = "kafka", brokers = "{brokers}", topic = "{dead}" }}

[windows.readings]
kind = "source"
schema = "id*:int64, ts:stamp(ms), acc:float32[3], side:string"
time = "ts"
format = "{format}"
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{topic}" }}

[windows.readings.options.registry]
url = "{url}"
username = "{user}"
password_env = "REGISTRY_PASSWORD"
cafile = "{cafile}"

[windows.out]
kind = "sink"
from = "readings"
format = "{format}"
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{out}" }}
options = {{ name = "plant.Copied", registry = {{ url = "{url}", username = "{user}", password_env = "REGISTRY_PASSWORD", cafile = "{cafile}", register = true }} }}
"""
AVRO = """{"type": "record", "name": "Reading", "namespace": "plant", "fields": [
  {"name": "side", "type": {"type": "enum", "name": "Side", "symbols": ["LEFT", "RIGHT"]}}, {"name": "id", "type": "int"}, {"name": "more", "type": "string"},
  {"name": "acc", "type": {"type": "array", "items": "double"}}, {"name": "ts", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]}]}"""
PROTO = """syntax = "proto3"; package plant; import "google/protobuf/timestamp.proto";
  message Other { int32 x = 1; } message Outer { message Reading { enum Side { LEFT = 0; RIGHT = 1; }
  Side side = 1; int32 id = 2; string more = 3; repeated double acc = 4; google.protobuf.Timestamp ts = 5; } }"""
NOON_S = 1_709_208_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    with serving(Authority(tmp_path)) as server:
        server.auth = basic()
        yield server


def client(server: RegistryServer) -> Any:
    return schema_registry.SchemaRegistryClient(
        {"url": server.url, "basic.auth.user.info": f"{USER}:{PASSWORD}", "ssl.ca.location": str(server.cafile)}
    )


def context(topic: str) -> Any:
    from confluent_kafka.serialization import MessageField, SerializationContext

    return SerializationContext(topic, MessageField.VALUE)


def run(
    kafka: Kafka, folder: Path, server: RegistryServer, format: str, topic: str, values: list[bytes]
) -> tuple[list[Any], list[Any], str]:
    """Sends values through the query; gives what came out, the dead letters, and the name of the topic out."""
    out, dead = kafka.topic(), kafka.topic()
    text = QUERY.format(
        topic=topic, out=out, dead=dead, brokers=kafka.bootstrap, format=format, url=server.url, user=USER, cafile=server.cafile
    )
    (folder / "query.toml").write_text(text)
    producer = confluent_kafka.Producer(kafka.client())
    for value in values:
        producer.produce(topic, value, key=b"k")
    assert producer.flush(120) == 0

    async def main() -> None:
        runner, stopping = QueryRunner(load_query(folder), folder / "state"), asyncio.Event()
        running = asyncio.create_task(runner.run(stopping))
        meter = runner.meter.windows["readings"]
        await until(lambda: running.done() or meter.events_in == len(values))
        stopping.set()
        await running

    asyncio.run(main())
    return read(kafka, out), read(kafka, dead), out


def read(kafka: Kafka, topic: str, partition: int = 0) -> list[Any]:
    consumer = confluent_kafka.Consumer(kafka.client(**{"group.id": "reader", "enable.auto.commit": False}))
    place = confluent_kafka.TopicPartition(topic, partition, 0)
    consumer.assign([place])
    found: list[Any] = []
    while len(found) < consumer.get_watermark_offsets(place, timeout=120)[1]:
        found += [record for record in consumer.consume(100, 0.2) if record.error() is None]
    consumer.close()
    return found


def test_avro_of_confluents_serializer_comes_out_for_its_deserializer(
    kafka: Kafka, tmp_path: Path, server: RegistryServer, caplog: pytest.LogCaptureFixture
) -> None:
    from datetime import UTC, datetime

    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer

    caplog.set_level(logging.DEBUG, "esp")
    topic, noon = kafka.topic(), datetime.fromtimestamp(NOON_S, UTC)
    write = AvroSerializer(client(server), AVRO)
    rows = [
        {"side": "RIGHT", "id": i, "more": "x" * i, "acc": [0.5, -i, 2.0], "ts": noon.replace(microsecond=1000 * i)}
        for i in range(20)
    ]
    short = {**rows[0], "acc": [1.0]}
    values = [write(row, context(topic)) for row in [*rows[:10], short, *rows[10:]]]
    found, dead, out = run(kafka, tmp_path, server, "avro", topic, values)
    reads = AvroDeserializer(client(server))
    assert [reads(record.value(), context(out)) for record in found] == [
        {key: row[key] for key in ("id", "ts", "acc", "side")} for row in rows
    ]
    assert server.subjects[f"{out}-value"][0].body["schema"].count("plant.Copied") == 1
    assert PASSWORD not in caplog.text
    assert basic().partition(" ")[2] not in caplog.text
    assert [(record.value(), dict(record.headers())["esp-reason"]) for record in dead] == [
        (values[10], b"field 'acc': wanted float32[3], got an array of 1")
    ]


def test_protobuf_of_confluents_serializer_comes_out_for_its_deserializer(
    kafka: Kafka, tmp_path: Path, server: RegistryServer
) -> None:
    from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer

    from tests.runtime.codecs.test_protobuf import messages

    topic, reading = kafka.topic(), messages(tmp_path, PROTO)["plant.Outer"].Reading
    write = ProtobufSerializer(reading, client(server), {"use.deprecated.format": False})
    rows = [reading(side=1, id=i, more="x" * i, acc=[0.5, -i, 2.0], ts={"seconds": NOON_S, "nanos": 1000 * i}) for i in range(20)]
    values = [write(row, context(topic)) for row in [*rows[:10], reading(id=1, acc=[1.0]), *rows[10:]]]
    assert values[0][5:8] == b"\4\2\0"  # two levels: the second message, the first in it
    found, dead, out = run(kafka, tmp_path, server, "protobuf", topic, values)
    copied = messages(tmp_path, server.subjects[f"{out}-value"][0].body["schema"])["plant.Copied"]
    reads = ProtobufDeserializer(copied, {"use.deprecated.format": False})
    shown = [reads(record.value(), context(out)) for record in found]
    assert [[row.id, row.ts.ToNanoseconds(), list(row.acc), row.side] for row in shown] == [
        [i, NOON_S * 10**9 + 1000 * i, [0.5, -i, 2.0], "RIGHT"] for i in range(20)
    ]
    assert [(record.value(), dict(record.headers())["esp-reason"]) for record in dead] == [
        (values[10], b"field 'acc': wanted float32[3], got an array of 1")
    ]


def test_a_rebalance_while_the_registry_is_away_is_not_held_up_by_it_and_no_event_is_lost(
    kafka: Kafka, tmp_path: Path, server: RegistryServer
) -> None:
    from tests.runtime.codecs.test_avro import bytes_of

    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "id", "type": "long"}, {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}],
    }
    number, topic, out, dead = server.add("other", schema), kafka.topic(4), kafka.topic(4), kafka.topic()
    text = QUERY.format(
        topic=topic, out=out, dead=dead, brokers=kafka.bootstrap, format="avro", url=server.url, user=USER, cafile=server.cafile
    )
    text = text.replace(
        f'topic = "{topic}" }}', f'topic = "{topic}", handover_s = 25.0 }}'
    )  # that long a registry that is away would hold it up
    (tmp_path / "query.toml").write_text(text)
    producer = confluent_kafka.Producer(kafka.client())
    for i in range(200):
        value = b"\0" + number.to_bytes(4, "big") + bytes_of(schema, {"id": i, "ts": 1000 * NOON_S})
        producer.produce(topic, value, partition=i % 4)
    first, second = (QueryRunner(load_query(tmp_path), tmp_path / name) for name in ("a", "b"))

    def is_away(runner: QueryRunner) -> bool:
        return any(peer.trouble for peer in runner.query.registries.peers().values())

    async def main() -> None:
        stopping = asyncio.Event()
        running = [asyncio.create_task(first.run(stopping))]
        await until(lambda: first.is_ready)
        server.away = "/schemas/ids/"
        assert await asyncio.to_thread(producer.flush, 120) == 0
        await until(lambda: is_away(first))
        running.append(asyncio.create_task(second.run(stopping)))
        await until(lambda: [len(runner.assigned["readings"]) for runner in (first, second)] == [2, 2])
        await until(lambda: is_away(first) and is_away(second))
        server.away = None
        await until(lambda: sum(runner.meter.windows["readings"].events_out for runner in (first, second)) >= 200)
        stopping.set()
        await asyncio.gather(*running)

    asyncio.run(main())
    found = {record.value()[5:] for partition in range(4) for record in read(kafka, out, partition)}
    assert len(found) == 200
    assert [runner.meter.revoked["unsaved"] for runner in (first, second)] == [0, 0]
    assert read(kafka, dead) == []
