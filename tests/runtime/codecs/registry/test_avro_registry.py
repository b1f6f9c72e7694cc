"""Avro by a schema registry: the schema of each record by its number, and what a sink registers or looks up."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from esp.errors import QueryError, StartError
from esp.runtime.codecs import codec
from esp.runtime.codecs.registry.registries import Registries
from esp.runtime.events import raw_block
from esp.runtime.schema import Schema
from tests.registry_server import PASSWORD, USER, RegistryServer, basic, serving
from tests.runtime.codecs.schemas import events, place, rows_of, written
from tests.runtime.codecs.test_avro import bytes_of, read_back, record

pytest.importorskip("fastavro")
V1 = {"type": "record", "name": "S", "fields": [{"name": "id", "type": "int"}, {"name": "p", "type": "float"}]}
V2 = {
    "type": "record",
    "name": "S",
    "fields": [{"name": "p", "type": ["null", "double"]}, {"name": "id", "type": "long"}, {"name": "more", "type": "string"}],
}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with serving() as server:
        yield server


def framed(number: int, schema: Any, value: Any) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + bytes_of(schema, value)


def made(
    server: RegistryServer, fields: str, *, is_sink: bool = False, registries: Registries | None = None, **options: Any
) -> Any:
    registry = {"url": server.url, **options.pop("registry", {})}
    return codec("avro", Schema.parse(fields), place(is_sink=is_sink, registries=registries), registry=registry, **options)


def test_each_record_is_read_by_the_schema_that_it_names_fetched_once(server: RegistryServer) -> None:
    one, two = server.add("t-value", V1), server.add("t-value", V2)
    values = [
        framed(one, V1, {"id": 1, "p": 0.5}),
        framed(two, V2, {"id": 2, "p": None, "more": "x"}),
        framed(two, V2, {"id": 3, "p": 2.5, "more": ""}),
    ]
    source = made(server, "id*:int64, p:float64")
    for _ in range(3):
        found = source.decode(raw_block(values))
        assert rows_of(found) == [[1, 0.5], [2, None], [3, 2.5]]
        assert found.reasons == ()
    assert server.asked == [f"GET /schemas/ids/{one}", f"GET /schemas/ids/{two}"]


def test_a_field_that_a_version_has_not_is_null_or_the_default_of_the_schema_file(server: RegistryServer, tmp_path: Any) -> None:
    number = server.add("t-value", V1)
    data = raw_block([framed(number, V1, {"id": 1, "p": 0.5})])
    assert rows_of(made(server, "id:int64, more:string").decode(data)) == [[1, None]]
    reader = record() | {"fields": [
        {"name": "id", "type": "long"}, {"name": "more", "type": "string", "default": "none"},
        {"name": "power", "type": "double", "aliases": ["p"]}, {"name": "raw", "type": "bytes", "default": "\u00ff"},
    ]}  # fmt: skip
    (tmp_path / "r.avsc").write_text(json.dumps(reader))
    source = codec(
        "avro",
        Schema.parse("id:int64, more:string, power:float32, raw:blob"),
        place(tmp_path),
        registry={"url": server.url},
        schema_file="r.avsc",
    )
    assert rows_of(source.decode(data)) == [[1, b"none", 0.5, b"\xff"]]


def test_schemas_that_a_schema_refers_to_are_fetched_too(server: RegistryServer) -> None:
    side = {"type": "enum", "name": "Side", "namespace": "a", "symbols": ["left", "right"]}
    server.add("side", side)
    whole = record("a.Side", "int")
    number = server.add("t-value", whole, references=[{"name": "a.Side", "subject": "side", "version": 1}])
    inline = record(side, "int")
    found = made(server, "f0:string, f1:int32").decode(raw_block([framed(number, inline, {"f0": "right", "f1": 4})]))
    assert rows_of(found) == [[b"right", 4]]


def test_a_schema_that_refers_to_itself_makes_its_records_bad(server: RegistryServer) -> None:
    number = server.add("loop", record("a.B"), references=[{"name": "a.B", "subject": "loop", "version": 1}])
    found = made(server, "f0:int32").decode(raw_block([framed(number, record("int"), {"f0": 1})]))
    assert found.reasons == (f"schema {number}: it refers to too many others, or to itself",)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "wanted a zero and the number of a schema, got 0 bytes"),
        (b"\0\0\0\0", "wanted a zero and the number of a schema, got 4 bytes"),
        (
            b"\1\0\0\0\1\2\0\0\0\0",
            "wanted a zero before the number of a schema, got byte 1: this is no record of a schema registry",
        ),
        (b"{}    ", "wanted a zero before the number of a schema, got byte 123: this is no record of a schema registry"),
        (b"\0\x80\0\0\0abc", "wanted the number of a schema, got 2147483648"),
        (b"\0\0\0\0\x63abc", "schema 99: the registry refuses (404): Schema not found"),
        (b"\0\0\0\0\1", "wanted an Avro record, got bytes that are none (EOFError)"),
        (b"\0\0\0\0\1\2\0\0\0", "wanted an Avro record, got bytes that are none"),
        (b"\0\0\0\0\2\2", "schema 2: it is JSON, not AVRO"),
        (b"\0\0\0\0\3\2", "schema 3: it is no JSON"),
        (b"\0\0\0\0\4\2", "schema 4: it is a schema of int, not of a record"),
        (b"\0\0\0\0\5\2a", "field 'id': wanted int64, got Avro's string"),
    ],
)
def test_a_record_that_cannot_be_read_has_its_reason(server: RegistryServer, value: bytes, reason: str) -> None:
    for schema, kind in [
        (V1, "AVRO"),
        ("{}", "JSON"),
        ("{]", "AVRO"),
        ('"int"', "AVRO"),
        (record("string") | {"fields": [{"name": "id", "type": "string"}]}, "AVRO"),
    ]:
        server.add("t-value", schema, kind)
    good = framed(1, V1, {"id": 1, "p": 0.5})
    found = made(server, "id*:int64, p:float64").decode(raw_block([good, value, good]))
    assert rows_of(found) == [[1, 0.5]] * 2
    assert found.bad_row.tolist() == [1]
    assert found.reasons[0].startswith(reason)


def test_a_sink_registers_its_schema_and_puts_its_number_in_front(server: RegistryServer) -> None:
    registries = Registries()
    sink = made(server, "id*:int64, p:float32", is_sink=True, registries=registries, registry={"register": True}, name="plant.P")
    registries.start()
    assert server.asked == ["POST /subjects/t-value/versions"]
    entry = server.subjects["t-value"][0]
    schema = json.loads(entry.body["schema"])
    assert [schema["name"], [field["name"] for field in schema["fields"]]] == ["plant.P", ["id", "p"]]
    other = made(server, "id*:int64, p:float32", is_sink=True, registries=registries, registry={"register": True}, name="plant.P")
    for each in (sink, other):
        (data,) = written(each, events("id*:int64, p:float32", [[7, 0.5]]))
        assert data[:5] == b"\0" + entry.number.to_bytes(4, "big")
        assert read_back(schema, data[5:]) == {"id": 7, "p": 0.5}
    assert len(server.asked) == 1


def test_a_sink_that_does_not_register_writes_by_the_newest_schema(server: RegistryServer) -> None:
    server.add("s", V1)
    number, registries = (
        server.add("s", V1 | {"fields": [{"name": "p", "type": "double"}, {"name": "id", "type": "long"}]}),
        Registries(),
    )
    sink = made(server, "id:int32, p:float32", is_sink=True, registries=registries, registry={"subject": "s"})
    registries.start()
    (data,) = written(sink, events("id:int32, p:float32", [[7, 0.5]]))
    assert data[:5] == b"\0" + number.to_bytes(4, "big")
    assert read_back(
        {"type": "record", "name": "x", "fields": [{"name": "p", "type": "double"}, {"name": "id", "type": "long"}]}, data[5:]
    ) == {"p": 0.5, "id": 7}


def test_a_sink_with_a_schema_file_has_it_looked_up(server: RegistryServer, tmp_path: Any) -> None:
    (tmp_path / "s.avsc").write_text(json.dumps(V1))

    def started() -> Any:
        registries = Registries()
        at = place(tmp_path, is_sink=True, registries=registries)
        sink = codec("avro", Schema.parse("id:int32, p:float32"), at, registry={"url": server.url}, schema_file="s.avsc")
        registries.start()
        return sink

    with pytest.raises(
        QueryError,
        match=r"windows.w.options.registry: the registry refuses \(404\): Subject 't-value' not found.; say register = true",
    ):
        started()
    number = server.add("t-value", json.dumps(V1))
    (data,) = written(started(), events("id:int32, p:float32", [[7, 0.5]]))
    assert data == framed(number, V1, {"id": 7, "p": 0.5})


def test_a_sink_without_a_schema_at_the_registry_does_not_start(server: RegistryServer) -> None:
    registries = Registries()
    made(server, "id:int64", is_sink=True, registries=registries)
    with pytest.raises(QueryError, match="there is no schema of t-value; say register = true, or register one before"):
        registries.start()


def test_an_incompatible_schema_ends_the_start_with_what_the_registry_says(server: RegistryServer) -> None:
    server.add("t-value", V1)
    registries = Registries()
    made(server, "id*:int64, q*:float32", is_sink=True, registries=registries, registry={"register": True})
    with pytest.raises(
        QueryError,
        match=r"the registry refuses \(409\): Schema being registered is incompatible .*details: \[READER_FIELD_MISSING_DEFAULT_VALUE: q\]; give the new",
    ) as err:
        registries.start()
    assert "\n" not in str(err.value)


def test_the_newest_schema_is_held_against_the_fields_of_a_source_at_the_start(server: RegistryServer) -> None:
    registries = Registries()
    made(server, "id:blob", registries=registries)
    registries.start()  # nothing is registered yet: who writes may come later
    server.add("t-value", V1)
    with pytest.raises(QueryError, match=r"windows.w.schema: schema 1 of t-value: field 'id': wanted blob, got Avro's int"):
        registries.start()


def test_who_we_are_is_said_and_a_refusal_ends_the_start_at_once(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.auth = basic()
    who = {"username": USER, "password_env": "REGISTRY_PASSWORD", "register": True}
    registries = Registries()
    made(server, "id:int64", is_sink=True, registries=registries, registry=who)
    with pytest.raises(QueryError, match="the environment variable REGISTRY_PASSWORD is not set"):
        registries.start()
    monkeypatch.setenv("REGISTRY_PASSWORD", "wrong")
    with pytest.raises(
        StartError, match=r"schema registry http://127.0.0.1:\d+: it refuses us \(401\); mend the user, the secret or the rights"
    ) as err:
        registries.start()
    assert "wrong" not in str(err.value)
    assert len(server.asked) == 1
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    registries.start()
    assert list(server.subjects) == ["t-value"]
