"""What codecs promise: names, options, nulls, reasons, small blocks, and records that other programs can read."""

import base64
import csv
import inspect
import io
import math
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from esp.errors import QueryError
from esp.runtime.codecs import CODECS, Decoded, codec
from esp.runtime.codecs.options import CsvOptions, JsonOptions, MsgpackOptions
from esp.runtime.events import Bools, Column, EventBlock, VarColumn, raw_block
from esp.runtime.schema import Schema

TIMES = Schema.parse("a:stamp(s), b:stamp(ms), c:stamp(us), d:stamp, e:stamp(iso), day:date")
SECOND_NS = 1_000_000_000
NOON_S = 1_709_208_000  # 2024-02-29T12:00:00Z, counted by hand: 19782.5 days


def block(schema: Schema, columns: list[Any], validity: list[Bools | None] | None = None) -> EventBlock:
    n = len(columns[0])
    made: list[Column] = [VarColumn.of(column) if isinstance(column, list) else column for column in columns]
    zeros = np.zeros(n, np.int64)
    return EventBlock(schema, tuple(made), tuple(validity or [None] * len(made)), zeros, zeros, 0)


def records(name: str, events: EventBlock, **options: Any) -> list[bytes]:
    buffer, at, size = codec(name, events.schema, **options).encode(events)
    return [buffer[start : start + length].tobytes() for start, length in zip(at, size)]


def only_reason(name: str, schema: str, value: bytes | None) -> str:
    found = codec(name, Schema.parse(schema)).decode(raw_block([value]))
    assert found.row is not None
    assert found.row.tolist() == []
    assert found.bad_row.tolist() == [0]
    return found.reasons[0]


def texts(found: Decoded, at: int) -> list[bytes]:
    column = found.columns[at]
    assert isinstance(column, VarColumn)
    return [column.value(row) for row in range(len(column))]


def test_unknown_codec_and_unknown_options_are_query_errors() -> None:
    schema = Schema.parse("a:int64")
    for name, options in [
        ("avro", {}),
        ("json", {"layout": "map"}),
        ("msgpack", {"layout": "list"}),
        ("json", {"tensors": "words"}),
    ]:
        with pytest.raises(QueryError):
            codec(name, schema, **options)
    for delimiter in ("", "ab", "\n", '"', "1", "é", "-"):
        with pytest.raises(QueryError):
            codec("csv", schema, delimiter=delimiter)


def test_options_as_they_are_told_are_those_that_codecs_take() -> None:
    told = {"msgpack": MsgpackOptions, "json": JsonOptions, "csv": CsvOptions}
    for name, options in told.items():
        assert tuple(options.model_fields) == CODECS[name].OPTIONS
        for option, found in inspect.signature(CODECS[name]).parameters.items():
            assert option == "schema" or found.default == options.model_fields[option].default


@pytest.mark.parametrize("name", CODECS)
def test_empty_blocks_go_through(name: str) -> None:
    schema = Schema.parse("a:string, b:float32[3], c:int64")
    found = codec(name, schema).decode(raw_block([]))
    assert [len(column) for column in found.columns] == [0, 0, 0]
    assert found.row is None
    assert found.reasons == ()
    assert found.columns[1].shape == (0, 3)  # type: ignore[union-attr]
    assert records(name, block(schema, [[], np.zeros((0, 3), np.float32), np.zeros(0, np.int64)])) == []


def test_missing_and_null_fields_are_null_with_zeros_below() -> None:
    schema = Schema.parse("a:int64, b:string, c:float32[2]")
    values = [b'{"a":1,"b":"x","c":[1,2]}', b'{"b":null,"other":{"deep":[1,"2",{}]}}', b"{}"]
    found = codec("json", schema).decode(raw_block(values))
    assert found.row is None
    assert [valid.tolist() for valid in found.validity if valid is not None] == [[True, False, False]] * 3
    assert found.columns[0].tolist() == [1, 0, 0]  # type: ignore[union-attr]
    assert texts(found, 1) == [b"x", b"", b""]
    assert found.columns[2].tolist() == [[1, 2], [0, 0], [0, 0]]  # type: ignore[union-attr]


def test_bad_rows_are_left_out_and_named() -> None:
    values = [msgpack.packb({"a": 1}), b"\xc1", msgpack.packb({"a": "x"}), None, msgpack.packb({"a": 5})]
    found = codec("msgpack", Schema.parse("a:int64")).decode(raw_block(values))
    assert found.columns[0].tolist() == [1, 5]  # type: ignore[union-attr]
    assert found.row is not None
    assert found.row.tolist() == [0, 4]
    assert found.bad_row.tolist() == [1, 2, 3]
    assert found.reasons[1] == "field 'a': wanted int64, got the text 'x', at byte 3"
    assert found.reasons[2] == "no value"


@pytest.mark.parametrize(
    ("name", "schema", "value", "reason"),
    [
        ("json", "a:int32", b'{"a":2147483648}', "field 'a': wanted int32, got int 2147483648, at byte 5"),
        ("json", "a:int64", b'{"a":1.5}', "field 'a': wanted int64, got float 1.5, at byte 5"),
        ("json", "a:int64", b'{"a":true}', "field 'a': wanted int64, got bool True, at byte 5"),
        ("json", "a:bool", b'{"a":1}', "field 'a': wanted bool, got int 1, at byte 5"),
        ("json", "a:float32", b'{"a":1e39}', "field 'a': wanted float32, got float 1e+39, at byte 5"),
        ("json", "a:uint8[2,2]", b'{"a":[1,2,3]}', "field 'a': wanted uint8[2,2], got an array of 3, at byte 5"),
        ("json", "a*:int64", b'{"a":null}', "field 'a': wanted int64, for it is a key, got null, at byte 5"),
        ("json", "a:date", b'{"a":"2023-02-29"}', "field 'a': wanted date, got the text '2023-02-29', at byte 5"),
        ("json", "a:int64", b"[1]", "wanted a JSON object, got an array of 1"),
        ("msgpack", "a:string", b"\x81\xa1a\xc4\x01x", "field 'a': wanted string, got 1 bytes, at byte 3"),
        ("msgpack", "a:uint8[4]", b"\x91\xc4\x03abc", "field 'a': wanted uint8[4], got 3 bytes, at byte 1"),
        ("msgpack", "a:int64", b"\x91\xcf" + b"\xff" * 8, "field 'a': wanted int64, got int 18446744073709551615, at byte 1"),
        ("csv", "a:int64, b:int64", b"1", "wanted 2 columns, got 1, at byte 1"),
        ("csv", "a:int64, b:int64", b"1,2,3", "wanted 2 columns, got 3, at byte 4"),
        ("csv", "a:int32", b"x", "field 'a': wanted int32, got the text 'x', at byte 0"),
        ("csv", "a:string, b:int32[2], c:int32", b'"x,""y",1,2,z', "field 'c': wanted int32, got the text 'z', at byte 12"),
        ("csv", "a:int32, b:int32", b'1,"x', "wanted a line of CSV, got text that is none (unexpected end of data), at byte 2"),
        (
            "json",
            "a:float32[3]",
            b'{"b":1,"a":[1,2,1e39]}',
            "field 'a': wanted float32[3], got float 1e+39 as number 3 of 3, at byte 11",
        ),
        ("json", "a:float32[2]", b'{"a":"1,x"}', "field 'a': wanted float32[2], got the text 'x' as number 2 of 2, at byte 5"),
        ("json", "a:int32", '{"é":{"a":[0]}, "a" : "x"}'.encode(), "field 'a': wanted int32, got the text 'x', at byte 23"),
        ("json", "a*:int32", b'{"b":{"a":1}}', "field 'a': wanted int32, for it is a key, got nothing"),
        (
            "json",
            "a:string",
            b'{"a":"\xff"}',
            "wanted a JSON object, got text that is none (no UTF-8), at byte 6",
        ),
        (
            "json",
            "a:string",
            '{"é":1,}'.encode(),
            "wanted a JSON object, got text that is none (unexpected byte 125), at byte 8",
        ),
        ("msgpack", "a:int32", b"\x82\xa1b\x92\x01\x02\xa1a\xa1x", "field 'a': wanted int32, got the text 'x', at byte 8"),
        ("msgpack", "a:int32, b:int32", b"\x92\x07\xa1x", "field 'b': wanted int32, got the text 'x', at byte 2"),
        (
            "msgpack",
            "a:int32",
            b"\x82\xa1b\x01\xa1a\xcd\x01",
            "wanted one msgpack map or array, got bytes that are none (it ends too early), at byte 6",
        ),
        (
            "msgpack",
            "a:int32",
            b"\x81\xa1a\x01\x00",
            "wanted one msgpack map or array, got bytes that are none (more behind it), at byte 4",
        ),
    ],
)
def test_reason_names_field_wanted_and_got(name: str, schema: str, value: bytes, reason: str) -> None:
    assert only_reason(name, schema, value) == reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("msgpack", b"\x81\xa1a\x01\x00"), ("msgpack", b"\x81\xa1a"), ("msgpack", b""), ("msgpack", b"\x92\x01\xa2\xc3\x28"),
        ("json", b'{"a":1}x'), ("json", b'{"a":1'), ("json", b""), ("json", b'{"a":01}'), ("json", b'{"a":1,}'), ("json", b'{"b":"\xc3\x28"}'),
        ("json", b'{"b":"\x01"}'), ("json", b'{"b":[1,{"c":2]}]}'), ("json", b'{"b":nul}'), ("csv", b'"1'), ("csv", b"1\n2"),
    ],
)  # fmt: skip
def test_broken_records_are_bad(name: str, value: bytes) -> None:
    assert only_reason(name, "a:int64", value)


def test_msgpack_maps_and_arrays_are_told_apart_record_by_record() -> None:
    values = [msgpack.packb(value) for value in ({"b": "x", "a": 1}, [2, "y"], [3], [4, "z", 9], {"a": 5, "c": [{}]})]
    found = codec("msgpack", Schema.parse("a:int64, b:string")).decode(raw_block(values))
    assert found.row is None
    assert found.columns[0].tolist() == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
    assert texts(found, 1) == [b"x", b"y", b"", b"z", b""]


def test_stamps_come_in_their_unit_or_as_iso_text() -> None:
    day = 19782
    numbers = {
        "a": NOON_S,
        "b": NOON_S * 1000,
        "c": NOON_S * 10**6,
        "d": NOON_S * SECOND_NS,
        "e": "2024-02-29T12:00:00Z",
        "day": day,
    }
    iso = dict.fromkeys("abcde", "2024-02-29T14:00:00.000+02:00") | {"day": "2024-02-29"}
    extension = dict.fromkeys("abcde", msgpack.Timestamp(NOON_S, 0)) | {"day": day}
    csv_line = ",".join(map(str, numbers.values())).encode()
    blocks = {
        "msgpack": [msgpack.packb(numbers), msgpack.packb(iso), msgpack.packb(extension)],
        "json": [orjson.dumps(numbers), orjson.dumps(iso), orjson.dumps(numbers | {"a": NOON_S + 0.25, "b": "2024-02-29 12:00"})],
        "csv": [csv_line, csv_line, csv_line],
    }
    for name, values in blocks.items():
        found = codec(name, TIMES).decode(raw_block(values))
        assert found.reasons == ()
        wanted = np.full((3, 5), NOON_S * SECOND_NS)
        wanted[2, 0] += SECOND_NS // 4 * (name == "json")
        np.testing.assert_array_equal(np.stack(found.columns[:5], axis=1), wanted)  # type: ignore[arg-type]
        assert found.columns[5].tolist() == [day] * 3  # type: ignore[union-attr]


def test_stamps_are_written_in_their_unit() -> None:
    ns = np.full(1, NOON_S * SECOND_NS + 7_000_000)
    events = block(TIMES, [ns] * 5 + [np.full(1, 19782, np.int32)])
    numbers = [NOON_S, NOON_S * 1000 + 7, NOON_S * 10**6 + 7000, NOON_S * SECOND_NS + 7_000_000, "2024-02-29T12:00:00.007Z"]
    assert msgpack.unpackb(records("msgpack", events, layout="array")[0]) == [*numbers, 19782]
    assert list(orjson.loads(records("json", events)[0]).values()) == [*numbers, "2024-02-29"]
    assert records("csv", events)[0].decode().split(",") == [*map(str, numbers), "2024-02-29"]


def events_of_all_types() -> tuple[EventBlock, list[dict[str, Any]]]:
    """A block with nulls and edges, and the Python values that a reader must find."""
    schema = Schema.parse("k*:string, b:bool, i:int32, l:int64, f:float32, d:float64, x:blob, t:float32[2,2], u:uint8[3]")
    text = ["", 'a"b\\c\n\x01', "Zürich, 東京 😀", "x" * 300]
    ints, longs = [0, -1, 2**31 - 1, -(2**31)], [0, -33, 2**63 - 1, -(2**63)]
    floats, doubles = np.array([0.1, -0.0, 1e-45, 3.4028235e38], np.float32), [0.1, 5e-324, 1.7976931348623157e308, -1e22]
    blobs = [b"", b"\0", b"\xff\xfe", bytes(range(256))]
    tensors = np.arange(16, dtype=np.float32).reshape(4, 2, 2) / 3
    bytes_ = np.arange(12, dtype=np.uint8).reshape(4, 3) * 23
    valid = np.array([True, True, False, True])
    events = block(
        schema,
        [text, np.array([True, False, True, False]), np.array(ints, np.int32), np.array(longs), floats, np.array(doubles), blobs, tensors, bytes_],
        [None, valid, valid, None, valid, None, valid, valid, None],
    )  # fmt: skip
    rows = [
        {
            "k": text[row], "b": None if row == 2 else row == 0, "i": None if row == 2 else ints[row], "l": longs[row],
            "f": None if row == 2 else floats[row], "d": doubles[row], "x": None if row == 2 else blobs[row],
            "t": None if row == 2 else tensors[row], "u": bytes_[row],
        }
        for row in range(4)
    ]  # fmt: skip
    return events, rows


@pytest.mark.parametrize("layout", ["map", "array"])
def test_msgpack_of_all_types_is_read_by_the_generic_library(layout: str) -> None:
    events, rows = events_of_all_types()
    for record, row in zip(records("msgpack", events, layout=layout), rows):
        found = msgpack.unpackb(record)
        assert isinstance(found, dict if layout == "map" else list)
        wanted = {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in row.items()}
        assert (found if layout == "map" else dict(zip(row, found))) == wanted


def test_msgpack_tensors_are_written_as_arrays_where_told() -> None:
    schema, n = Schema.parse("f:float32[2,2], d:float64[1], u:uint8[17], i:int64[3], ok:bool[2], b:float32[2]"), 2
    integers = np.array([[-(2**63), -1, 2**63 - 1], [0, 200, -70_000]])
    columns = [
        np.array([[[1, 2], [3, math.inf]]] * n, np.float32), np.array([[0.1]] * n), np.arange(34, dtype=np.uint8).reshape(n, 17) * 7,
        integers, np.array([[True, False]] * n), np.ones((n, 2), np.float32),
    ]  # fmt: skip
    events = block(schema, columns)
    forms = dict.fromkeys(schema.names, "array") | {"b": "bin"}
    for row, record in enumerate(records("msgpack", events, layout="array", tensors=forms)):
        *arrays, data = msgpack.unpackb(record)
        assert arrays == [column[row].ravel().tolist() for column in columns[:-1]]
        assert data == b"\0\0\x80\x3f" * 2
    found = codec("msgpack", schema).decode(raw_block(records("msgpack", events, tensors="array")))
    for left, right in zip(found.columns, columns):
        np.testing.assert_array_equal(left, right)  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        codec("msgpack", schema, tensors="text")


def test_json_of_all_types_is_read_by_the_generic_library() -> None:
    events, rows = events_of_all_types()
    for record, row in zip(records("json", events), rows):
        found = orjson.loads(record)
        assert [name for name in row if not same_json(found[name], row[name])] == []


def same_json(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, np.ndarray):
        return bool(np.array_equal(np.array(found, wanted.dtype), wanted.ravel()))
    if isinstance(wanted, np.float32):
        return str(np.float32(found)) == str(wanted)
    if isinstance(wanted, bytes):
        return base64.b64decode(found, validate=True) == wanted
    return bool(found == wanted)


@pytest.mark.parametrize(
    ("name", "options"), [("msgpack", {}), ("json", {}), ("json", {"tensors": "base64"}), ("csv", {"delimiter": ";"})]
)
def test_what_is_written_is_read_back(name: str, options: dict[str, Any]) -> None:
    events, _ = events_of_all_types()
    if name == "csv":
        events = events.take(np.array([1, 2, 3]))  # CSV has no empty text
    found = codec(name, events.schema, **options).decode(raw_block(records(name, events, **options)))
    assert found.reasons == ()
    for field, left, right, valid_left, valid_right in zip(
        events.schema, events.columns, found.columns, events.validity, found.validity
    ):
        valid = np.ones(len(events), bool) if valid_left is None else valid_left
        assert (np.ones(len(events), bool) if valid_right is None else valid_right).tolist() == valid.tolist(), field.name
        for row in np.flatnonzero(valid):
            one, other = (column.value(row) if isinstance(column, VarColumn) else column[row].tobytes() for column in (left, right))
            assert one == other, (field.name, row)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("msgpack", {}),
        ("msgpack", {"tensors": "array"}),
        ("json", {}),
        ("json", {"tensors": "text"}),
        ("json", {"tensors": "base64"}),
        ("csv", {}),
        ("csv", {"tensors": "text"}),
    ],
)
def test_the_longest_values_have_room(name: str, options: dict[str, Any]) -> None:
    schema, n = (
        Schema.parse(
            "s:string, b:blob, i:int64, d:float64, f:float32[7], g:float64[3], u:uint8[1], t:stamp(iso), day:date, ok:bool[2]"
        ),
        50,
    )
    number = np.full((n, 7), -1.1754944e-38, np.float32)
    events = block(
        schema,
        [
            ["\x01" * 100, '"' * 9] * (n // 2), [b"\xff" * 100, b"x"] * (n // 2), np.full(n, -(2**63)), np.full(n, -2.2250738585072014e-308),
            number, np.full((n, 3), -2.2250738585072014e-308), np.full((n, 1), 255, np.uint8), np.full(n, -(2**62) + 1), np.full(n, -(2**31), np.int32),
            np.zeros((n, 2), bool),
        ],
    )  # fmt: skip
    buffer, at, size = codec(name, schema, **options).encode(events)
    assert at[-1] + size[-1] == len(buffer)
    found = codec(name, schema, **options).decode(
        raw_block([buffer[start : start + length].tobytes() for start, length in zip(at, size)])
    )
    assert found.reasons == ()
    np.testing.assert_array_equal(found.columns[4], number)  # type: ignore[arg-type]


def test_csv_quotes_what_must_be_quoted() -> None:
    events = block(Schema.parse("a:string, b:int64"), [["plain", "a,b", 'say "hi"', "two\nlines"], np.arange(4)])
    lines = records("csv", events)
    assert lines[:3] == [b"plain,0", b'"a,b",1', b'"say ""hi""",2']
    assert [next(csv.reader(io.StringIO(line.decode(), newline="")))[0] for line in lines] == [
        "plain",
        "a,b",
        'say "hi"',
        "two\nlines",
    ]


def test_csv_takes_quotes_line_ends_and_empty_columns() -> None:
    schema = Schema.parse("a:string, b:float32[2], c:bool")
    values = [b'"x,""y""",1,2,true\r\n', b"z,,,\n", b" ,,.5,FALSE", b"q,nan,-inf,1"]
    found = codec("csv", schema).decode(raw_block(values))
    assert found.reasons == ()
    assert texts(found, 0) == [b'x,"y"', b"z", b" ", b"q"]
    np.testing.assert_array_equal(found.columns[1], [[1, 2], [0, 0], [math.nan, 0.5], [math.nan, -math.inf]])  # type: ignore[arg-type]
    assert found.columns[2].tolist() == [True, False, False, True]  # type: ignore[union-attr]
    assert [None if valid is None else valid.tolist() for valid in found.validity] == [None, *([[True, False, True, True]] * 2)]


def test_nan_and_infinity_are_null_in_json() -> None:
    schema = Schema.parse("a:float64, b:float32[3]")
    events = block(schema, [np.array([math.nan, -math.inf]), np.array([[1, math.nan, 2], [0.5, math.inf, 0]], np.float32)])
    assert records("json", events) == [b'{"a":null,"b":[1.0,null,2.0]}', b'{"a":null,"b":[0.5,null,0.0]}']


def test_escapes_and_duplicates_in_json_follow_the_generic_library() -> None:
    values = [
        rb'{"\u0061":1,"b":"\ud83d\ude00\n"}',
        b'{"a":1,"b":"x","a":2}',
        b' {\t"a" : 3.0 , "b":"\xc3\xa9"}\n',
        b'{"a":"no","a":4}',
    ]
    found = codec("json", Schema.parse("a:int64, b:string")).decode(raw_block(values))
    assert found.columns[0].tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]
    assert texts(found, 1) == ["😀\n".encode(), b"x", "é".encode(), b""]


def test_json_tensors_come_flat_nested_or_as_base64() -> None:
    values = [
        b'{"a":[1,2,3,4]}',
        b'{"a":[[[1],[2]],[[3],[4]]]}',
        b'{"a":[[1,2],[3,4]]}',
        b'{"a":"AQIDBA=="}',
        b'{"a": [ [ [1 ] ,[2]] , [ [3], [4] ] ] }',
    ]
    found = codec("json", Schema.parse("a:uint8[2,2,1]")).decode(raw_block(values))
    assert found.reasons == ()
    np.testing.assert_array_equal(found.columns[0], np.broadcast_to(np.array([[[1], [2]], [[3], [4]]]), (5, 2, 2, 1)))  # type: ignore[arg-type]


def test_blocks_may_be_cut_from_larger_ones() -> None:
    schema = Schema.parse("a:string, b:float32[2]")
    events = block(schema, [["p", "q", "r"], np.arange(6, dtype=np.float32).reshape(3, 2)])
    column = events.columns[0]
    assert isinstance(column, VarColumn)
    part = events.with_columns(schema, [VarColumn(column.offsets[1:], column.data), events.columns[1][1:]], [None, None])  # type: ignore[index]
    part = EventBlock(schema, part.columns, part.validity, part.ts_ns[1:], part.watermark_ns[1:], 0)
    assert [orjson.loads(record) for record in records("json", part)] == [{"a": "q", "b": [2, 3]}, {"a": "r", "b": [4, 5]}]


@pytest.mark.parametrize("inside", [b"\x91", b"\x81\xa1a"])
def test_msgpack_that_is_nested_too_deep_is_told_so_and_as_deep_as_the_library_goes_is_taken(inside: bytes) -> None:
    whole = b"\x81\xa1b" + inside * 1000 + b"\x01"
    found = codec("msgpack", Schema.parse("b:string, a:int64")).decode(raw_block([whole.replace(b"\xa1b", b"\xa1c", 1)]))
    assert found.bad_row.tolist() == []  # it stands in a field that nobody asks for
    told = only_reason("msgpack", "a:int64", b"\x81\xa1b" + inside * 3000 + b"\x01")
    assert told.startswith("wanted one msgpack map or array, got bytes that are none (nested too deep)")
