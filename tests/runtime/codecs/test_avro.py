"""Avro by fastavro: what records become, what schemas are refused, and what is written; fastavro's own reader and writer are the oracle."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp.errors import QueryError
from esp.runtime.codecs import Unwritable
from esp.runtime.events import EventBlock, raw_block
from tests.runtime.codecs.schemas import events, rows_of, sink, source, written

fastavro = pytest.importorskip("fastavro")
SENSOR = {
    "type": "record", "name": "Sensor", "namespace": "plant",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "acc", "type": {"type": "array", "items": "float"}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
    ],
}  # fmt: skip
FIELDS = "id*:int64, ts:stamp(ms), acc:float32[3], note:string"


def record(*fields: Any) -> dict[str, Any]:
    """A schema of the fields f0, f1, ... of these types."""
    return {"type": "record", "name": "R", "fields": [{"name": f"f{i}", "type": kind} for i, kind in enumerate(fields)]}


def bytes_of(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def read_back(schema: Any, data: bytes) -> Any:
    stream = io.BytesIO(data)
    found = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    assert stream.tell() == len(data)
    return found


def reading(folder: Path, schema: Any, fields: str) -> Any:
    (folder / "s.avsc").write_text(json.dumps(schema))
    return source("avro", fields, folder, schema_file="s.avsc")


def one(folder: Path, kind: Any, value: Any, field: str) -> Any:
    """What a field of ours holds of one Avro value: the cell, or the reason why there is none."""
    found = reading(folder, record(kind), f"f0:{field}").decode(raw_block([bytes_of(record(kind), {"f0": value})]))
    return found.reasons[0] if found.reasons else rows_of(found)[0][0]


def test_records_become_columns_and_fields_that_we_have_not_are_passed_over(tmp_path: Path) -> None:
    values = [
        {"id": 7, "ts": 1_700_000_000_123, "acc": [0.5, -1.0, 2.0], "note": "left", "tags": {"a": "b"}},
        {"id": -(2**63), "ts": -1, "acc": [0.0, -0.0, 1e30], "note": None, "tags": {}},
    ]
    found = reading(tmp_path, SENSOR, FIELDS).decode(raw_block([bytes_of(SENSOR, value) for value in values]))
    assert found.reasons == ()
    assert found.row is None
    assert rows_of(found) == [
        [7, 1_700_000_000_123_000_000, [0.5, -1.0, 2.0], b"left"],
        [-(2**63), -1_000_000, [0.0, -0.0, float(np.float32(1e30))], None],
    ]
    assert np.signbit(found.columns[2][1, 1])  # type: ignore[index, call-overload]


STAMPS = {"millis": 1_000_000, "micros": 1_000, "nanos": 1}


@pytest.mark.parametrize("unit", STAMPS)
@pytest.mark.parametrize("name", ["timestamp", "local-timestamp"])
def test_times_are_told_by_their_logical_type_whatever_the_unit_of_the_field(tmp_path: Path, name: str, unit: str) -> None:
    kind = {"type": "long", "logicalType": f"{name}-{unit}"}
    plain = record("long")
    for field in ("stamp(s)", "stamp", "stamp(iso)"):
        found = reading(tmp_path, record(kind), f"f0:{field}").decode(raw_block([bytes_of(plain, {"f0": 1234})]))
        assert rows_of(found) == [[1234 * STAMPS[unit]]]
    far = reading(tmp_path, record(kind), "f0:stamp").decode(raw_block([bytes_of(plain, {"f0": 2**63 - 1})]))
    assert unit == "nanos" or "wanted stamp, got a time past the year 2262" in far.reasons[0]


@pytest.mark.parametrize(
    ("kind", "value", "field", "cell"),
    [
        ("int", -5, "int32", -5),
        ("int", -5, "float64", -5.0),
        ("long", 2**40, "int64", 2**40),
        ("long", 2**40, "int32", "field 'f0': wanted int32, got int 1099511627776"),
        ("long", 3, "stamp(s)", 3_000_000_000),
        ("double", 1.5, "stamp(s)", 1_500_000_000),
        ("float", 0.25, "float64", 0.25),
        ("double", 3.0, "int32", 3),
        ("double", 3.5, "int32", "field 'f0': wanted int32, got float 3.5"),
        ("double", 1e300, "float32", "field 'f0': wanted float32, got float 1e+300"),
        ("boolean", True, "bool", True),
        ("string", "\u00e4", "string", "\u00e4".encode()),
        ("string", "2024-02-29T12:00:00Z", "stamp", 1_709_208_000 * 10**9),
        ("string", "noon", "stamp", "field 'f0': wanted stamp, got the text 'noon'"),
        ("string", "1970-01-03", "date", 2),
        ({"type": "int", "logicalType": "date"}, date(1970, 1, 3), "date", 2),
        ({"type": "int", "logicalType": "time-millis"}, 5, "int32", 5),
        ({"type": "string", "logicalType": "uuid"}, "0" * 8 + "-0000-0000-0000-" + "0" * 12, "string", b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12),
        ({"type": "enum", "name": "E", "symbols": ["red", "blue"]}, "blue", "string", b"blue"),
        ("bytes", b"\0\xff", "blob", b"\0\xff"),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab", "blob", b"ab"),
        ("bytes", np.array([1, 2], "<f4").tobytes(), "float32[2]", [1.0, 2.0]),
        ({"type": "fixed", "name": "F", "size": 4}, bytes([1, 2, 3, 4]), "uint8[2,2]", [[1, 2], [3, 4]]),
        ("bytes", b"abc", "float32[2]", "field 'f0': wanted float32[2], got 3 bytes"),
        ({"type": "array", "items": "int"}, [1, 2], "float64[2]", [1.0, 2.0]),
        ({"type": "array", "items": ["null", "double"]}, [1.0, 2.0], "float64[2]", [1.0, 2.0]),
        ({"type": "array", "items": {"type": "array", "items": "long"}}, [[1, 2], [3, 4]], "int32[2,2]", [[1, 2], [3, 4]]),
        ({"type": "array", "items": "int"}, [1, 300], "uint8[2]", "field 'f0': wanted uint8[2], got int 300 as number 2 of 2"),
        ({"type": "array", "items": "float"}, [], "float32[2]", "field 'f0': wanted float32[2], got an array of 0"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("-12.30"), "string", b"-12.30"),
        ({"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 0}, Decimal(7), "string", b"7"),
        (["null", "long"], None, "int64", None),
        (["null", "long"], 5, "float32", 5.0),
        (["null", "int", "string"], "x", "int64", "field 'f0': wanted int64, got the text 'x'"),
        (["null", "int", "string"], 6, "int64", 6),
        ("null", None, "string", None),
    ],
)  # fmt: skip
def test_an_avro_value_becomes_a_cell_or_says_why_not(tmp_path: Path, kind: Any, value: Any, field: str, cell: Any) -> None:
    assert one(tmp_path, kind, value, field) == cell


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("string", "int64"),
        ("long", "string"),
        ("long", "bool"),
        ("long", "blob"),
        ("long", "stamp(iso)"),
        ("boolean", "int32"),
        ("bytes", "string"),
        ({"type": "map", "values": "int"}, "int64"),
        ({"type": "array", "items": "string"}, "float32[2]"),
        ({"type": "array", "items": "int"}, "int64"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "float64"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "blob"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "date"),
        ({"type": "int", "logicalType": "date"}, "stamp(s)"),
        ({"type": "long", "logicalType": "time-micros"}, "stamp(us)"),
        (record("int") | {"name": "N"}, "int64"),
    ],
)
def test_a_field_that_no_value_of_its_type_fits_is_refused_at_load(tmp_path: Path, kind: Any, field: str) -> None:
    with pytest.raises(QueryError, match=r"query.toml: windows.w.schema: s.avsc: field 'f0': wanted .*, got Avro's") as refused:
        reading(tmp_path, record(kind), f"f0:{field}")
    assert "\n" not in str(refused.value)


def test_a_union_of_several_times_is_refused_for_a_number_would_not_tell_which(tmp_path: Path) -> None:
    kinds = ["null", "int", {"type": "long", "logicalType": "timestamp-micros"}]
    with pytest.raises(QueryError, match="cannot be told which of the times"):
        reading(tmp_path, record(kinds), "f0:stamp(ms)")


def test_a_field_that_the_schema_has_not_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"s\.avsc: it has no field 'speed', but id, ts, acc, note, tags"):
        reading(tmp_path, SENSOR, "id:int64, speed:float32")


GOOD = {"id": 1, "ts": 2, "acc": [1.0, 2.0, 3.0], "note": "n", "tags": {"k": "v"}}


def test_every_cut_of_a_record_and_every_byte_more_is_a_bad_event(tmp_path: Path) -> None:
    whole = bytes_of(SENSOR, GOOD)
    values = [whole[:size] for size in range(len(whole))] + [whole + b"\0"]
    found = reading(tmp_path, SENSOR, FIELDS).decode(raw_block([whole, *values, whole]))
    assert found.row is not None
    assert found.row.tolist() == [0, len(values) + 1]
    assert found.bad_row.tolist() == list(range(1, len(values) + 1))
    assert found.reasons[-1] == "wanted an Avro record, got one with 1 bytes behind it"
    assert all(reason.startswith("wanted an Avro record, got bytes that are none") for reason in found.reasons[:-1])


HUGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"  # 2**62 - 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", HUGE),
        ("string", b"\x09abcdef"),
        ("string", b"\x04\xff\xfe"),
        ("bytes", HUGE + b"abc"),
        ({"type": "array", "items": "float"}, HUGE + b"\0\0\0\0"),
        ({"type": "map", "values": "int"}, HUGE + b"\x02a\x02"),
        (["null", "long"], b"\x08\x02"),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, b"\x7e"),
        ({"type": "fixed", "name": "F", "size": 2000000000}, b"ab"),
        ("long", b"\xff" * 400),
        ("boolean", b""),
    ],
)
def test_lengths_and_numbers_past_their_bounds_are_bad_events(tmp_path: Path, kind: Any, value: bytes) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}, {"name": "f0", "type": kind}]}
    found = reading(tmp_path, schema, "n:int32").decode(raw_block([b"\x02" + value]))
    assert [len(found.reasons), len(found.bad_row)] == [1, 1]
    assert found.reasons[0].startswith("wanted an Avro record, got")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_a_reason(value: bytes) -> None:
    found = FUZZED.decode(raw_block([value]))
    assert len(found.reasons) + len(rows_of(found)) == 1


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "record", "name": "L", "fields": [{"name": "f0", "type": "int"}, {"name": "next", "type": ["null", "L"]}]}, "holds itself"),
        (record("int", {"type": "array", "items": "null"}), "may hold values that take no byte"),
        (record("int", {"type": "map", "values": {"type": "fixed", "name": "Z", "size": 0}}), "may hold values that take no byte"),
        (record("int", {"type": "array", "items": {"type": "record", "name": "E", "fields": []}}), "may hold values that take no byte"),
        (record("int", {"type": "array", "items": ["int", record("null") | {"name": "N"}]}), "may hold values that take no byte"),
        ("int", "a schema of int, not of a record"),
        ({"type": "record", "name": "R"}, "the record R has no fields"),
        ({"type": "record", "fields": []}, "an record has no name"),
        (record("number"), "there is no type 'number'"),
        (record([]), "a union is empty"),
        (record(["int", ["null"]]), "holds a union"),
        (record({"type": "fixed", "name": "F", "size": -1}), "a size or scale is no number"),
        (record({"type": "enum", "name": "E"}), "has no symbols"),
        (record(None), "a type is wanted, got None"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}, "is there twice"),
        (record({"type": "enum", "name": "E", "symbols": ["a"]}, {"type": "enum", "name": "E", "symbols": ["a"]}), "the name E is there twice"),
        ([1], "a type is wanted, got 1"),
        ({}, "a type is wanted"),
    ],
)  # fmt: skip
def test_a_schema_that_is_none_or_would_not_end_well_is_refused(tmp_path: Path, schema: Any, reason: str) -> None:
    with pytest.raises(QueryError, match=reason) as refused:
        reading(tmp_path, schema, "f0:int32")
    assert str(refused.value).startswith("query.toml: windows.w.options.schema_file: ")


def test_records_within_records_that_double_at_each_level_are_refused(tmp_path: Path) -> None:
    kind: Any = "int"
    for level in range(30):
        kind = {
            "type": "record",
            "name": f"L{level}",
            "fields": [{"name": "a", "type": kind}, {"name": "b", "type": f"L{level - 1}" if level else "int"}],
        }
    with pytest.raises(QueryError, match="more than 10000 values"):
        reading(tmp_path, kind, "a:int32")


def test_arrays_within_arrays_past_all_reason_are_refused(tmp_path: Path) -> None:
    kind: Any = "int"
    for _ in range(100):
        kind = {"type": "array", "items": kind}
    with pytest.raises(QueryError, match="nested deeper than 64"):
        reading(tmp_path, record(kind), "f0:int32[1]")
    (tmp_path / "s.avsc").write_text("[" * 100_000)
    with pytest.raises(QueryError, match="it is no JSON"):
        source("avro", "a:int32", tmp_path, schema_file="s.avsc")


def test_types_that_nest_by_their_names_past_all_reason_are_refused(tmp_path: Path) -> None:
    """Each of them stands shallow in the schema; a record of some bytes would be read as deep as the chain is long."""
    chain: list[Any] = ["int"]
    for link in range(100):
        below = chain[0] if link == 0 else f"L{link - 1}"
        inner = {"type": "array", "items": below} if link % 2 else ["null", below]
        chain.append({"type": "record", "name": f"L{link}", "fields": [{"name": "x", "type": inner}]})
    reading(tmp_path, record(*({"type": "array", "items": kind} for kind in chain[:25])), "f0:int32[1]")
    with pytest.raises(QueryError, match="nested deeper than 64"):
        reading(tmp_path, record(*({"type": "array", "items": kind} for kind in chain)), "f0:int32[1]")


def test_named_types_are_found_in_their_namespace(tmp_path: Path) -> None:
    enum = {"type": "enum", "name": "Side", "symbols": ["left", "right"]}
    schema = {"type": "record", "name": "R", "namespace": "a.b", "fields": [{"name": "f0", "type": enum}, {"name": "f1", "type": "a.b.Side"}, {"name": "f2", "type": "Side"}]}  # fmt: skip
    found = reading(tmp_path, schema, "f2:string, f1:string").decode(
        raw_block([bytes_of(schema, {"f0": "left", "f1": "right", "f2": "left"})])
    )
    assert rows_of(found) == [[b"left", b"right"]]


# ---- writing ---------------------------------------------------------------------------------------------------------

ALL = (
    "k*:int64, b:bool, i:int32, f:float32, d:float64, s:string, x:blob, ms:stamp(ms), us:stamp(us), ns:stamp, sec:stamp(s), iso:stamp(iso), "
    "day:date, t:float32[2,2], u:uint8[3], q:bool[2]"
)
NOON_NS = 1_709_208_000 * 10**9
ROW = [5, True, -3, 0.5, 1e300, "\u00e4", b"\0x", NOON_NS + 1_999_999, NOON_NS + 1_999, NOON_NS + 1, NOON_NS, NOON_NS + 5, 19782, [[1, 2], [3, 4]], [1, 2, 255], [True, False]]  # fmt: skip


def schema_from(fields: str, folder: Path, **options: Any) -> Any:
    """The schema that a sink registers."""
    made: Any = sink("avro", fields, folder, **options)
    return json.loads(made.own_text.text)


def test_a_sink_makes_a_schema_of_its_fields_that_fastavro_reads_by(tmp_path: Path) -> None:
    schema = schema_from(ALL, tmp_path, name="plant.Scored")
    data = written(sink("avro", ALL, tmp_path), events(ALL, [ROW, [6, *[None] * 15]]))
    assert schema["name"] == "plant.Scored"
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert read_back(schema, data[0]) == {
        "k": 5, "b": True, "i": -3, "f": 0.5, "d": 1e300, "s": "\u00e4", "x": b"\0x", "ms": noon.replace(microsecond=1000), "us": noon.replace(microsecond=1),
        "ns": NOON_NS + 1, "sec": NOON_NS // 10**9, "iso": "2024-02-29T12:00:00.000000005Z", "day": date(2024, 2, 29), "t": [1, 2, 3, 4], "u": [1, 2, 255],
        "q": [True, False],
    }  # fmt: skip
    assert read_back(schema, data[1]) == {"k": 6} | dict.fromkeys([entry["name"] for entry in schema["fields"][1:]])


def test_tensors_go_as_bytes_when_told(tmp_path: Path) -> None:
    fields = "t:float32[2,2], u:uint8[3]"
    schema = schema_from(fields, tmp_path, tensors="bytes")
    data = written(sink("avro", fields, tmp_path, tensors="bytes"), events(fields, [[[[1, 2], [3, 4]], [1, 2, 255]]]))
    assert read_back(schema, data[0]) == {"t": np.array([1, 2, 3, 4], "<f4").tobytes(), "u": b"\1\2\xff"}


def into(folder: Path, schema: Any, fields: str) -> Any:
    (folder / "s.avsc").write_text(json.dumps(schema))
    return sink("avro", fields, folder, schema_file="s.avsc")


def test_a_sink_writes_by_a_schema_that_is_given(tmp_path: Path) -> None:
    schema = record(
        "long", ["string", "null"], {"type": "long", "logicalType": "timestamp-micros"}, {"type": "enum", "name": "E", "symbols": ["up", "down"]},
        {"type": "array", "items": "double"}, {"type": "fixed", "name": "F", "size": 2}, ["null", "double"],
    )  # fmt: skip
    schema["fields"].append({"name": "more", "type": "string", "default": "none"})
    made = into(tmp_path, schema, "f0:int32, f1:string, f2:stamp(ms), f3:string, f4:float32[2], f5:blob, f6:int32")
    data = written(
        made,
        events(
            "f0:int32, f1:string, f2:stamp(ms), f3:string, f4:float32[2], f5:blob, f6:int32",
            [[1, None, NOON_NS + 1500, "down", [0.5, 1], b"ab", 3]],
        ),
    )
    assert read_back(schema, data[0]) == {
        "f0": 1, "f1": None, "f2": datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC), "f3": "down", "f4": [0.5, 1.0], "f5": b"ab", "f6": 3.0, "more": "none",
    }  # fmt: skip


def test_rows_that_a_given_schema_does_not_take_are_named_and_deletes_need_no_value(tmp_path: Path) -> None:
    fields = "f0:int64, f1:string, f2:blob"
    schema = record("long", {"type": "enum", "name": "E", "symbols": ["up"]}, {"type": "fixed", "name": "F", "size": 2})
    rows = [[1, "up", b"ab"], [None, "up", b"ab"], [3, "down", b"ab"], [4, "up", b"abc"], [None, None, None]]
    made, block = into(tmp_path, schema, fields), events(fields, rows)
    opcode = np.array([0, 0, 0, 0, 3], np.uint8)
    with pytest.raises(Unwritable) as bad:
        made.encode(EventBlock(block.schema, block.columns, block.validity, block.ts_ns, block.watermark_ns, 0, opcode))
    assert bad.value.reasons == {
        1: "field 'f0': null, and the schema takes none",
        2: "field 'f1': the text 'down' is none of the enum's symbols",
        3: "field 'f2': 3 bytes, and the schema takes 2",
    }


@pytest.mark.parametrize(
    ("kind", "field"),
    [("int", "int64"), ("float", "float64"), ("float", "int32"), ("double", "int64"), ("string", "stamp(ms)"), ("string", "blob"), ("long", "stamp(iso)"),
     ({"type": "bytes", "logicalType": "decimal", "precision": 3}, "blob"), ({"type": "fixed", "name": "F", "size": 7}, "float32[2]"),
     ({"type": "array", "items": "float"}, "float64[2]"), ("null", "int32"), (record("int") | {"name": "N"}, "int32")],
)  # fmt: skip
def test_a_field_that_would_lose_something_in_the_given_schema_is_refused_at_load(tmp_path: Path, kind: Any, field: str) -> None:
    with pytest.raises(QueryError, match=r"field 'f0' is .*, and the schema wants Avro's"):
        into(tmp_path, record(kind), f"f0:{field}")


def test_fields_that_are_missing_on_either_side_are_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="the schema has no field 'f1'"):
        into(tmp_path, record("int"), "f0:int32, f1:int32")
    with pytest.raises(QueryError, match="the schema wants a field 'f1'"):
        into(tmp_path, record("int", "int"), "f0:int32")


# ---- both ways -------------------------------------------------------------------------------------------------------

F32 = st.floats(width=32, allow_nan=False)
VALUES = [
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | F32,
    st.none() | st.floats(allow_nan=False),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=20).map(str.encode),
    st.none() | st.binary(max_size=20),
    st.none() | st.integers(-(2**62), 2**62).map(lambda ms: ms // 10**6 * 10**6),
    st.none() | st.integers(-(2**62), 2**62),
    st.none() | st.integers(0, 2**62),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.lists(st.lists(F32, min_size=2, max_size=2), min_size=3, max_size=3),
    st.none() | st.lists(st.integers(0, 255), min_size=4, max_size=4),
]
WIDE = "k*:int64, b:bool, i:int32, f:float32, d:float64, s:string, x:blob, ms:stamp(ms), ns:stamp, iso:stamp(iso), day:date, t:float32[3,2], u:uint8[4]"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*VALUES).map(list), max_size=5), st.sampled_from(["array", "bytes"]))
def test_what_a_sink_writes_a_source_reads(tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], tensors: str) -> None:
    folder = tmp_path_factory.mktemp("s")
    made: Any = sink("avro", WIDE, folder, tensors=tensors)
    (folder / "s.avsc").write_text(made.own_text.text)
    found = source("avro", WIDE, folder, schema_file="s.avsc").decode(raw_block(written(made, events(WIDE, rows))))
    assert found.reasons == ()
    assert rows_of(found) == rows


LIBRARY = record(
    "long", ["null", "int"], ["string", "null"], "double", ["null", {"type": "array", "items": "float"}], {"type": "enum", "name": "E", "symbols": ["a", "b"]}, "bytes",
    {"type": "long", "logicalType": "timestamp-micros"}, ["null", {"type": "fixed", "name": "F", "size": 3}], "boolean", {"type": "map", "values": "long"},
)  # fmt: skip
LIBRARY_FIELDS = "f0:int64, f1:int32, f2:string, f3:float64, f4:float32[2], f5:string, f6:blob, f7:stamp(us), f8:uint8[3], f9:bool"
LIBRARY_VALUES = st.tuples(
    VALUES[0], VALUES[2], st.none() | st.text(st.characters(codec="utf-8"), max_size=20), st.floats(allow_nan=False), st.none() | st.lists(F32, min_size=2, max_size=2),
    st.sampled_from(["a", "b"]), st.binary(max_size=20), st.integers(-(2**52), 2**52), st.none() | st.binary(min_size=3, max_size=3), st.booleans(),
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(LIBRARY_VALUES.map(list), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=3))
def test_what_fastavro_writes_a_source_reads_and_what_a_sink_writes_fastavro_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], rest: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("s")
    values = [{f"f{at}": part for at, part in enumerate([*row, rest])} for row in rows]
    as_cells = [
        [
            *row[:2],
            row[2] and row[2].encode(),
            row[3],
            row[4],
            row[5].encode(),
            row[6],
            row[7] * 1000,
            row[8] and list(row[8]),
            row[9],
        ]
        for row in rows
    ]
    as_cells = [[*row[:2], b"" if row[2] == "" else row[2], *row[3:]] for row in as_cells]
    found = reading(folder, LIBRARY, LIBRARY_FIELDS).decode(raw_block([bytes_of(LIBRARY, value) for value in values]))
    assert found.reasons == ()
    assert rows_of(found) == as_cells
    schema = record(*[entry["type"] for entry in LIBRARY["fields"][:-1]])
    data = written(into(folder, schema, LIBRARY_FIELDS), events(LIBRARY_FIELDS, as_cells))
    assert data == [bytes_of(schema, {key: part for key, part in value.items() if key != "f10"}) for value in values]


FUZZ_SCHEMA = record("long", ["null", "double"], "string", {"type": "array", "items": "float"}, {"type": "map", "values": "boolean"}, {"type": "enum", "name": "E", "symbols": ["a", "b"]})  # fmt: skip


def _fuzzed() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return reading(Path(folder), FUZZ_SCHEMA, "f0:int64, f1:float64, f2:string, f3:float32[2], f5:string")


FUZZED = _fuzzed()
