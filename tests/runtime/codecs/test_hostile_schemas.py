"""Schemas that a stranger has put into a registry: whatever they are, there is a reader or a reason, and soon."""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp.errors import EventError
from esp.runtime.codecs.registry.client import SchemaText
from esp.runtime.codecs.schema_error import SchemaError
from tests.runtime.codecs.schemas import source

pytest.importorskip("fastavro")
pytest.importorskip("google.protobuf")
WHOLE = {
    "type": "record", "name": "R", "namespace": "a.b", "aliases": ["Q"], "fields": [
        {"name": "id", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["x", "y"]}},
        {"name": "f", "type": {"type": "fixed", "name": "F", "size": 3, "logicalType": "decimal", "precision": 2, "scale": 1}},
        {"name": "again", "type": {"type": "array", "items": "a.b.E"}},
        {"name": "inner", "type": {"type": "record", "name": "I", "fields": [{"name": "m", "type": {"type": "map", "values": "F"}}]}},
    ],
}  # fmt: skip
PROTO = """syntax = "proto3"; package a; import "google/protobuf/timestamp.proto"; message M { int64 id = 1 [deprecated = true]; oneof w { string s = 2; }
  map<string, E> m = 3; enum E { A = 0; } google.protobuf.Timestamp ts = 4; message I { optional M up = 1; } reserved 7 to max; }"""
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["int", "null", "record", "enum", "R", "array", "fixed", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "name", "fields", "items", "values", "symbols", "size", "default"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def attempt(format: str, text: str) -> None:
    """Makes a reader of a schema, and has it read something, as a codec with a registry would."""
    codec: Any = source(format, "id:int64, s:string", registry={"url": "http://r"})
    try:
        reader = codec.reader(SchemaText(1, codec.kind, text))
        for value in (b"\0\0\0\0\1", b"\0\0\0\0\1\0\2\2\2\2\0\0\0"):
            reader.cells(value, 5)
    except (SchemaError, EventError):
        return


def mutated(pick: random.Random, data: Any) -> Any:
    """A schema with one of its parts replaced, taken out or put somewhere else."""
    data = copy.deepcopy(data)
    places: list[tuple[Any, Any]] = []

    def visit(part: Any) -> None:
        for key, value in list(part.items()) if isinstance(part, dict) else list(enumerate(part)):
            places.append((part, key))
            if isinstance(value, dict | list):
                visit(value)

    visit(data)
    part, key = pick.choice(places)
    other, at = pick.choice(places)
    odd = pick.choice(
        [
            None,
            5,
            -1,
            2**70,
            True,
            "",
            "R",
            "a.b.I",
            "x" * 10_000,
            [],
            {},
            [[]],
            {"type": {}},
            ["int", "int"],
            copy.deepcopy(other[at]),
        ]
    )
    if pick.random() < 0.2 and isinstance(part, dict):
        del part[key]
    else:
        part[key] = odd
    return data


def test_avro_schemas_with_a_part_that_is_odd() -> None:
    pick = random.Random(5)
    for _ in range(1500):
        attempt("avro", json.dumps(mutated(pick, WHOLE)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(JSONS)
def test_any_json_is_an_avro_schema_or_a_reason(data: Any) -> None:
    attempt("avro", json.dumps(data))


def test_proto_texts_with_a_letter_or_a_word_that_is_odd() -> None:
    pick, words = random.Random(7), PROTO.split(" ")
    for _ in range(1500):
        changed = list(words)
        changed[pick.randrange(len(words))] = pick.choice(
            ["", "{", "}", ";", "message", "M", '"', "/*", "-", "0x", "9" * 400, "\ud800", "[", "map<M, M>", ".", "="]
        )
        attempt("protobuf", " ".join(changed))
        at = pick.randrange(len(PROTO))
        attempt("protobuf", PROTO[:at] + pick.choice("{};=\"'\0\\/<[.\u00e4") + PROTO[at + pick.randrange(2) :])


def test_descriptors_with_a_byte_that_is_odd() -> None:
    import base64

    from esp.runtime.codecs.protobuf.text import file_of

    pick, whole = random.Random(11), file_of(PROTO, "schema.proto").SerializeToString()
    for _ in range(1500):
        changed = bytearray(whole)
        changed[pick.randrange(len(whole))] = pick.randrange(256)
        attempt("protobuf", base64.b64encode(changed).decode())


@pytest.mark.parametrize(
    "text",
    ["/*" * 1_000_000, "{" * 1_000_000, "message A " + "{ message A " * 100_000, '"' * 1_000_000, "a" * 1_000_000, "0" * 1_000_000],
)
def test_long_texts_are_refused_soon(text: str) -> None:
    attempt("protobuf", text)
    attempt("avro", text)
