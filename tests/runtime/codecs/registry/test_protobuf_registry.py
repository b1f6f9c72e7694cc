"""Protobuf by a schema registry: messages by number and place in their schema, texts and descriptors, imports, and what a sink registers."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import QueryError
from esp.runtime.codecs import codec
from esp.runtime.codecs.registry.registries import Registries
from esp.runtime.events import raw_block
from esp.runtime.schema import Schema
from tests.registry_server import RegistryServer, serving
from tests.runtime.codecs.schemas import events, place, rows_of, written
from tests.runtime.codecs.test_protobuf import HEAD, STAMP, compiled, messages

TWO = (
    HEAD
    + STAMP
    + "message A { int64 id = 1; message B { double p = 1; message C { string id = 2; } } } message D { google.protobuf.Timestamp ts = 1; int32 id = 2; }"
)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with serving() as server:
        yield server


def made(
    server: RegistryServer, fields: str, *, is_sink: bool = False, registries: Registries | None = None, **options: Any
) -> Any:
    registry = {"url": server.url, **options.pop("registry", {})}
    return codec("protobuf", Schema.parse(fields), place(is_sink=is_sink, registries=registries), registry=registry, **options)


def framed(number: int, path: bytes, data: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + path + data


def descriptor(folder: Path, text: str) -> str:
    """The base64 of protoc's descriptor of a text, as a registry gives it with format=serialized."""
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorSet.FromString(compiled(folder, text)).file[-1]
    return base64.b64encode(file.SerializeToString()).decode()


@pytest.mark.parametrize("form", ["text", "serialized", "registered as base64"])
def test_a_message_is_found_by_its_place_whatever_form_its_schema_comes_in(
    server: RegistryServer, tmp_path: Path, form: str
) -> None:
    code = descriptor(tmp_path, TWO)
    number = server.add(
        "t-value",
        code if form.startswith("registered") else TWO,
        "PROTOBUF",
        **({"serialized": code} if form == "serialized" else {}),
    )
    kinds = messages(tmp_path, TWO)
    values = [
        framed(number, b"\0", kinds["plant.A"](id=5).SerializeToString()),
        framed(number, b"\2\0", kinds["plant.A"](id=6).SerializeToString()),
        framed(number, b"\4\0\0", kinds["plant.A"].B(p=0.5).SerializeToString()),
        framed(number, b"\2\2", kinds["plant.D"](id=7).SerializeToString()),
    ]
    found = made(server, "id:int64, p:float64").decode(raw_block(values))
    assert found.reasons == ()
    assert rows_of(found) == [[5, None], [6, None], [None, 0.5], [7, None]]
    assert server.asked == [f"GET /schemas/ids/{number}?format=serialized"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\0\0\0\0\1", "the record ends inside the place of its message"),
        (b"\0\0\0\0\1\x80", "the record ends inside the place of its message"),
        (b"\0\0\0\0\1\xff\xff\xff\xff\xff\xff", "the place of the message is no number"),
        (b"\0\0\0\0\1\1", "wanted the place of a message in its schema, got one of -1 levels"),
        (b"\0\0\0\0\1\xfe\xff\xff\xff\x0f", "wanted the place of a message in its schema, got one of 2147483647 levels"),
        (b"\0\0\0\0\1\x04\0", "the record ends inside the place of its message"),
        (b"\0\0\0\0\1\x02\x0a", "its schema has no message at 5"),
        (b"\0\0\0\0\1\x02\x01", "its schema has no message at -1"),
        (b"\0\0\0\0\1\x06\0\0\0\x12\1\1", "field 'id': wanted int64, got Protobuf's string"),
        (b"\0\0\0\0\1\0\x08", "wanted a Protobuf message, got bytes that are none"),
        (b"\0\0\0\0\2\0\x08\1", "schema 2: it is AVRO, not PROTOBUF"),
        (b"\0\0\0\0\3\0\x08\1", "schema 3: it is no Protobuf schema"),
        (b"\0\0\0\0\4\0\x08\1", "schema 4: this is no .proto text"),
        (b"\0\0\0\0\x09\0\x08\1", "schema 9: the registry refuses (404): Schema not found"),
        (b"\2\0\0\0\1\0\x08\1", "wanted a zero before the number of a schema, got byte 2: this is no record of a schema registry"),
    ],
)
def test_a_record_that_cannot_be_read_has_its_reason(server: RegistryServer, value: bytes, reason: str) -> None:
    server.add("a", TWO, "PROTOBUF")
    server.add("a", {"type": "record", "name": "R", "fields": []})
    server.add("a", HEAD + 'import "confluent/type/decimal.proto"; message A { confluent.type.Decimal id = 1; }', "PROTOBUF")
    server.add("a", "\x01\x02", "PROTOBUF")
    good = b"\0\0\0\0\1\0\x08\5"
    found = made(server, "id:int64").decode(raw_block([good, value, good]))
    assert rows_of(found) == [[5], [5]]
    assert found.reasons[0].startswith(reason)


def test_other_messages_than_the_one_that_is_named_are_bad_events(server: RegistryServer, tmp_path: Path) -> None:
    number = server.add("t-value", TWO, "PROTOBUF")
    found = made(server, "id:int64", name="plant.D").decode(
        raw_block([framed(number, b"\2\2", b"\x10\4"), framed(number, b"\0", b"\x08\5")])
    )
    assert rows_of(found) == [[4]]
    assert found.reasons == ("it is a message plant.A, not plant.D",)


def test_imports_are_the_references_of_a_schema(server: RegistryServer, tmp_path: Path) -> None:
    server.add("side", HEAD + "enum Side { LEFT = 0; RIGHT = 1; }", "PROTOBUF")
    text = HEAD + 'import "lib/side.proto"; message M { Side side = 1; }'
    number = server.add("t-value", text, "PROTOBUF", references=[{"name": "lib/side.proto", "subject": "side", "version": 1}])
    found = made(server, "side:string").decode(raw_block([framed(number, b"\0", b"\x08\1")]))
    assert rows_of(found) == [[b"RIGHT"]]


def test_an_import_that_only_options_come_from_is_not_missed(server: RegistryServer) -> None:
    text = HEAD + 'import "confluent/meta.proto"; message A { int64 id = 1 [(confluent.field_meta) = { doc: "the number" }]; }'
    number = server.add("t-value", text, "PROTOBUF")
    assert rows_of(made(server, "id:int64").decode(raw_block([framed(number, b"\0", b"\x08\5")]))) == [[5]]


def test_files_that_import_each_other_are_no_schema(server: RegistryServer) -> None:
    text = 'syntax = "proto3"; import "b.proto"; message A { int64 id = 1; }'
    other = server.add("b", 'syntax = "proto3"; import "schema.proto"; message B { A a = 1; }', "PROTOBUF")
    number = server.add("t-value", text, "PROTOBUF", references=[{"name": "b.proto", "subject": "b", "version": 1}])
    assert other != number
    found = made(server, "id:int64").decode(raw_block([framed(number, b"\0", b"\x08\1")]))
    assert found.reasons[0].startswith(f"schema {number}: it is no Protobuf schema")


def test_a_sink_registers_its_text_and_puts_number_and_place_in_front(server: RegistryServer, tmp_path: Path) -> None:
    registries, fields = Registries(), "id*:int64, p:float32, ts:stamp(ms)"
    sink = made(
        server, fields, is_sink=True, registries=registries, registry={"register": True, "subject": "scores"}, name="plant.Scored"
    )
    registries.start()
    entry = server.subjects["scores"][0]
    assert entry.body["schemaType"] == "PROTOBUF"
    (data,) = written(sink, events(fields, [[7, 0.5, 10**9]]))
    assert data[:6] == b"\0" + entry.number.to_bytes(4, "big") + b"\0"
    found = messages(tmp_path, entry.body["schema"])["plant.Scored"].FromString(data[6:])
    assert [found.id, found.p, found.ts.seconds] == [7, 0.5, 1]


def test_a_sink_writes_by_the_newest_schema_and_the_message_in_it_that_is_named(server: RegistryServer, tmp_path: Path) -> None:
    number, registries = server.add("t-value", TWO, "PROTOBUF"), Registries()
    sink = made(server, "p:float32", is_sink=True, registries=registries, name="plant.A.B")
    registries.start()
    (data,) = written(sink, events("p:float32", [[0.5]]))
    assert data[:8] == b"\0" + number.to_bytes(4, "big") + b"\4\0\0"
    assert messages(tmp_path, TWO)["plant.A"].B.FromString(data[8:]).p == 0.5
    unclear = Registries()
    made(server, "p:float32", is_sink=True, registries=unclear)
    with pytest.raises(QueryError, match="not clear which message is meant"):
        unclear.start()


def test_the_newest_schema_is_held_against_the_fields_of_a_source_at_the_start(server: RegistryServer) -> None:
    server.add("t-value", HEAD + "message M { string id = 1; }", "PROTOBUF")
    registries = Registries()
    made(server, "id:int64", registries=registries)
    with pytest.raises(QueryError, match=r"windows.w.schema: schema 1 of t-value: field 'id': wanted int64, got Protobuf's string"):
        registries.start()
