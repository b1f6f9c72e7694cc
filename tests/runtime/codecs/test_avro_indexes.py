"""Numbers of branches and symbols below zero, which Avro has not and fastavro counts from the end: bad events, wherever they stand."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.runtime.codecs.avro.indexes import walk_of
from esp.runtime.codecs.avro.types import record_of
from esp.runtime.events import raw_block
from tests.runtime.codecs.schemas import rows_of, source

fastavro = pytest.importorskip("fastavro")
ENUM = {"type": "enum", "name": "E", "symbols": ["a", "b"]}
INNER = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "string"}, {"name": "y", "type": ["null", "int"]}]}


def record(*kinds: Any) -> dict[str, Any]:
    fields = [{"name": "n", "type": "int"}, *({"name": f"f{at}", "type": kind} for at, kind in enumerate(kinds))]
    return {"type": "record", "name": "R", "fields": fields}


def reading(folder: Path, schema: Any, fields: str = "n:int32") -> Any:
    (folder / "s.avsc").write_text(json.dumps(schema))
    return source("avro", fields, folder, schema_file="s.avsc")


@pytest.mark.parametrize(
    ("kinds", "value", "why"),
    [
        ([["null", "long"]], b"\x01\x02", "number -1 of 2 branches"),
        ([["null", "long"]], b"\x03", "number -2 of 2 branches"),
        ([["long", "string", "null"]], b"\x03\x02x", "number -2 of 3 branches"),
        ([["null", "long"]], b"\x81\x00\x02", "number -1 of 2 branches"),  # the same number in two bytes
        ([["null", "long"]], b"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00\x02", "number -1 of 2 branches"),
        ([ENUM], b"\x01", "number -1 of an enum's symbols"),
        ([ENUM], b"\x83\x00", "number -2 of an enum's symbols"),
        (["string", "double", ["null", "string"]], b"\x80\x01" + b"x" * 64 + b"\0" * 8 + b"\x01\x02x", "number -1 of 2 branches"),
        ([{"type": "array", "items": ["null", "int"]}], b"\x04\x02\x02\x03\0", "number -2 of 2 branches"),
        ([{"type": "array", "items": ["null", "int"]}], b"\x02\0\x01\x02\x01\x02\0", "number -1 of 2 branches"),  # a block with its size
        ([{"type": "array", "items": "int"}, ["null", "int"]], b"\x04\x02\x80\x01\x02\x04\0\x03", "number -2 of 2 branches"),
        ([{"type": "array", "items": "float"}, ENUM], b"\x04" + b"\0" * 8 + b"\0\x01", "number -1 of an enum's symbols"),
        ([{"type": "map", "values": ["null", "int"]}], b"\x02\x02k\x03\0", "number -2 of 2 branches"),
        ([{"type": "map", "values": "int"}, ENUM], b"\x02\x02k\x02\0\x03", "number -2 of an enum's symbols"),
        ([INNER, "int"], b"\x02x\x01\x02\x02", "number -1 of 2 branches"),
        ([["null", INNER]], b"\x02\x02x\x03", "number -2 of 2 branches"),
        ([{"type": "fixed", "name": "F", "size": 3}, "boolean", ["null", "int"], "int"], b"abc\x01\x03\x02", "number -2 of 2 branches"),
    ],
)  # fmt: skip
def test_a_number_below_zero_is_a_bad_event_though_fastavro_reads_it(tmp_path: Path, kinds: Any, value: bytes, why: str) -> None:
    schema, data = record(*kinds), b"\x02" + value
    stream = io.BytesIO(data)
    fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    assert stream.tell() == len(data)
    found = reading(tmp_path, schema).decode(raw_block([data]))
    assert found.reasons == (f"wanted an Avro record, got bytes that are none ({why})",)


def test_good_records_beside_a_bad_one_keep_their_order(tmp_path: Path) -> None:
    values = [b"\x02\0", b"\x04\x01\x02", b"\x06\x02\x0e", b"\x08\x03", b"\x0a\x80\x00"]
    found = reading(tmp_path, record(["null", "long"]), "n:int32, f0:int64").decode(raw_block(values))
    assert rows_of(found) == [[1, None], [3, 7], [5, None]]
    assert found.bad_row.tolist() == [1, 3]


# ---- any record of any schema -----------------------------------------------------------------------------------------

SCALARS = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
REFUSED = {"type": "enum", "name": "none.None", "symbols": []}  # no number of a symbol is good


def drawn(rng: random.Random, names: Iterator[int], depth: int = 0) -> Any:
    """A type."""
    way = rng.randrange(11 if depth < 3 else 8)
    if way < 4:
        return rng.choice(SCALARS[1:])
    if way < 6:
        return {"type": "enum", "name": f"E{next(names)}", "symbols": ["a", "b", "c"][: rng.randint(1, 3)]}
    if way == 6:
        return {"type": "fixed", "name": f"F{next(names)}", "size": rng.randint(1, 9)}
    if way == 7:
        return [
            *rng.sample(SCALARS, rng.randint(1, 4)),
            *([{"type": "fixed", "name": f"U{next(names)}", "size": 3}] * rng.randrange(2)),
        ]
    if way == 8:
        return {"type": "array", "items": drawn(rng, names, depth + 1)}
    if way == 9:
        return {"type": "map", "values": drawn(rng, names, depth + 1)}
    fields = [{"name": f"g{at}", "type": drawn(rng, names, depth + 1)} for at in range(rng.randint(1, 3))]
    return {"type": "record", "name": f"R{next(names)}", "fields": fields}


def value_of(rng: random.Random, kind: Any) -> Any:
    """A value of a type."""
    if isinstance(kind, list):
        return value_of(rng, rng.choice(kind))
    name = kind if isinstance(kind, str) else kind["type"]
    if name == "record":
        return {entry["name"]: value_of(rng, entry["type"]) for entry in kind["fields"]}
    if name == "array":
        return [value_of(rng, kind["items"]) for _ in range(rng.randrange(4))]
    if name == "map":
        return {f"k{at}": value_of(rng, kind["values"]) for at in range(rng.randrange(4))}
    made: dict[str, Any] = {
        "null": None, "boolean": rng.random() < 0.5, "int": rng.randrange(-(2**31), 2**31) >> rng.randrange(32),
        "long": rng.randrange(-(2**63), 2**63) >> rng.randrange(64), "float": 0.5, "double": rng.random(), "bytes": rng.randbytes(rng.randrange(99)),
        "string": "x" * rng.randrange(99),
    }  # fmt: skip
    return rng.choice(kind["symbols"]) if name == "enum" else rng.randbytes(kind["size"]) if name == "fixed" else made[name]


def strict(kind: Any) -> Any:
    """A schema of the same bytes in which a number below zero, counted from the end, always leads to what cannot be read.

    That holds for numbers down to minus the length of the real list, which are all that fastavro takes.
    """
    if isinstance(kind, list):
        return [*map(strict, kind), *["none.None"] * len(kind)]
    if isinstance(kind, str):
        return kind
    if kind["type"] == "enum":
        return ["null"] * len(kind["symbols"]) + ["none.None"] * len(kind["symbols"])
    if kind["type"] == "record":
        return kind | {"fields": [entry | {"type": strict(entry["type"])} for entry in kind["fields"]]}
    part = "items" if kind["type"] == "array" else "values"
    return kind | {part: strict(kind[part])} if part in kind else kind


def is_read(parsed: Any, data: bytes) -> bool:
    stream = io.BytesIO(data)
    try:
        fastavro.schemaless_reader(stream, parsed, None)
    except Exception:
        return False
    return stream.tell() == len(data)


def spoiled(rng: random.Random, data: bytes) -> bytes:
    """The same with one or two bytes that may be numbers of branches or symbols below zero."""
    found, places = bytearray(data), [at for at, byte in enumerate(data) if byte in (0, 2, 4)]
    for at in rng.sample(places or [0], rng.randint(1, min(2, max(len(places), 1)))):
        found[at] = rng.choice((1, 3, 5))
    return bytes(found)


@pytest.mark.parametrize("seed", range(4))
def test_any_record_is_walked_to_its_end_and_refused_where_a_stricter_schema_refuses_it(seed: int) -> None:
    rng, taken, refused = random.Random(seed), 0, 0
    for _ in range(120):
        names = iter(range(10**6))
        schema = record(*(drawn(rng, names) for _ in range(rng.randint(1, 5))), ["null", "int"])
        written = record_of(schema)
        walk = walk_of(written)
        assert walk is not None
        parsed, named = fastavro.parse_schema(schema), dict[str, Any]()
        fastavro.parse_schema(REFUSED, named_schemas=named)
        strictly = fastavro.parse_schema(strict(schema), named_schemas=named)
        for _ in range(10):
            out = io.BytesIO()
            fastavro.schemaless_writer(out, parsed, value_of(rng, schema))
            whole = out.getvalue()
            assert walk(whole, 0) == len(whole)
            data = spoiled(rng, whole)
            if not is_read(parsed, data):
                continue
            try:
                is_good = walk(data, 0) == len(data)
            except IndexError:
                is_good = False
            assert is_good == is_read(strictly, data), (schema, data)
            taken, refused = taken + is_good, refused + (not is_good)
    assert min(taken, refused) > 50


def test_schemas_without_branches_and_symbols_are_not_walked_over() -> None:
    assert walk_of(record_of(record("string", {"type": "array", "items": "float"}, {"type": "map", "values": "bytes"}))) is None


def test_only_what_may_stand_before_such_a_number_is_walked_over() -> None:
    walk = walk_of(record_of(record("string", ["null", "int"], "double", {"type": "array", "items": "long"})))
    assert walk is not None
    assert walk(b"\x02\x04xx\x02\x02", 0) == 6
