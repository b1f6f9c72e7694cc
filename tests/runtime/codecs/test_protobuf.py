"""Protobuf by Google's library: what messages become, what schemas are refused, what is written; protoc's descriptors are the oracle."""

import os
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

pytest.importorskip("google.protobuf")
grpc_tools = pytest.importorskip("grpc_tools")
HEAD = 'syntax = "proto3";\npackage plant;\n'
STAMP = 'import "google/protobuf/timestamp.proto";\n'
SENSOR = (
    HEAD + STAMP + 'import "google/protobuf/wrappers.proto";\n'
    """
    // A reading.
    message Sensor {
      reserved 20 to 30, 40;
      reserved "old";
      int64 id = 1;
      google.protobuf.Timestamp ts = 2;
      repeated float acc = 3 [packed = true, json_name = "a"];
      optional string note = 4;
      enum Side { option allow_alias = true; UNKNOWN = 0; LEFT = 1; LINKS = 1; RIGHT = -0x2; }
      Side side = 5;
      map<string, Inner> tags = 6;
      message Inner { repeated Sensor deep = 1; }
      oneof body { bytes raw = 7; double level = 8; }
      google.protobuf.Int32Value count = 9;
      bool on = 10; /* the last */
    }
    """
)
FIELDS = "id*:int64, ts:stamp(ms), acc:float32[3], note:string, side:string, raw:blob, level:float64, count:int32, on:bool"


def compiled(folder: Path, text: str, name: str = "s.proto") -> bytes:
    """The descriptor set that protoc makes of a text."""
    from grpc_tools import protoc

    (folder / name).write_text(text)
    known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    assert (
        protoc.main(["protoc", f"-I{folder}", f"-I{known}", "--include_imports", f"--descriptor_set_out={folder}/{name}.pb", name])
        == 0
    )
    return (folder / f"{name}.pb").read_bytes()


def messages(folder: Path, text: str) -> dict[str, Any]:
    """The classes of the messages of a text, by protoc's descriptors."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    files, pool = descriptor_pb2.FileDescriptorSet.FromString(compiled(folder, text)).file, descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    names = [f"{files[-1].package}.{message.name}".lstrip(".") for message in files[-1].message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


def reading(folder: Path, text: str, fields: str, **options: Any) -> Any:
    compiled(folder, text)
    return source("protobuf", fields, folder, schema_file="s.proto.pb", **options)


def one(folder: Path, kind: str, value: Any, field: str, head: str = HEAD) -> Any:
    """What a field of ours holds of one value: the cell, or the reason why there is none."""
    text = f"{head} enum Color {{ RED = 0; BLUE = 2; }} message M {{ {kind} f0 = 1; }}"
    made = messages(folder, text)["plant.M"]()
    if isinstance(value, list):
        made.f0.extend(value)
    elif callable(value):
        value(made.f0)
    elif value is not None:
        made.f0 = value
    found = reading(folder, text, f"f0:{field}").decode(raw_block([made.SerializeToString()]))
    return found.reasons[0] if found.reasons else rows_of(found)[0][0]


def sensor(folder: Path) -> Any:
    made = messages(folder, SENSOR)["plant.Sensor"](id=7, acc=[0.5, -1.0, 2.0], note="left", side=1, raw=b"\0x", on=True)
    made.ts.FromJsonString("2024-02-29T12:00:00.000000005Z")
    made.count.value = 0
    made.tags["a"].deep.add(id=5)
    return made


def test_messages_become_columns_and_what_is_not_set_is_null_where_that_can_be_told(tmp_path: Path) -> None:
    whole, empty = sensor(tmp_path).SerializeToString(), b""
    found = reading(tmp_path, SENSOR, FIELDS).decode(raw_block([whole, empty]))
    assert found.reasons == ()
    assert rows_of(found) == [
        [7, 1_709_208_000 * 10**9 + 5, [0.5, -1.0, 2.0], b"left", b"LEFT", b"\0x", None, 0, True],
        [0, None, None, None, b"UNKNOWN", None, None, None, False],
    ]


@pytest.mark.parametrize("text", [SENSOR, HEAD.replace("proto3", "proto2") + """
    message Old { required int32 a = 1 [default = -5]; optional string b = 2 [default = "x\\"y", deprecated = true]; repeated sint64 c = 3 [packed = true];
      extensions 100 to 199; enum E { A = 1; } optional E e = 4; optional Inner i = 5; optional .plant.Other o = 6; optional double d = 7 [default = 1.5e3];
      message Inner { optional Other.Deep deep = 1; } oneof w { bool y = 8; fixed32 z = 0x9; } }
    message Other { message Deep { optional bytes q = 1; } map<int32, .plant.Other.Deep> by_number = 1; }
    extend Old { optional int32 more = 100; }
    service S { rpc Get (Old) returns (stream Other) { option deprecated = true; } }
"""])  # fmt: skip
def test_a_proto_text_is_read_as_protoc_reads_it(tmp_path: Path, text: str) -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool

    from esp.runtime.codecs.protobuf.text import file_of

    def shape(message: Any) -> Any:
        fields = [(f.name, f.number, f.type, f.is_repeated, f.is_required, f.has_presence, f.has_default_value and f.default_value,
                   f.containing_oneof and f.containing_oneof.name, (f.message_type or f.enum_type) and (f.message_type or f.enum_type).full_name)
                  for f in message.fields]  # fmt: skip
        enums = [(e.full_name, [(v.name, v.number) for v in e.values]) for e in message.enum_types]
        return (
            message.full_name,
            bool(message.GetOptions().map_entry),
            fields,
            enums,
            [shape(inner) for inner in message.nested_types],
        )

    files = descriptor_pb2.FileDescriptorSet.FromString(compiled(tmp_path, text)).file
    shapes = []
    for main in (files[-1], file_of(text, "s.proto")):
        pool = descriptor_pool.DescriptorPool()
        for file in [*list(files)[:-1], main]:
            pool.Add(file)
        shapes.append([shape(pool.FindMessageTypeByName(f"plant.{message.name}")) for message in files[-1].message_type])
    assert shapes[0] == shapes[1]


def test_a_proto_file_serves_as_well_as_a_descriptor_set(tmp_path: Path) -> None:
    whole = sensor(tmp_path).SerializeToString()
    found = source("protobuf", FIELDS, tmp_path, schema_file="s.proto").decode(raw_block([whole]))
    assert rows_of(found)[0][:4] == [7, 1_709_208_000 * 10**9 + 5, [0.5, -1.0, 2.0], b"left"]


def seconds(made: Any) -> None:
    made.seconds = 3


def broken(made: Any) -> None:
    made.seconds, made.nanos = 3, -1


def far(made: Any) -> None:
    made.seconds = 253_402_300_799


@pytest.mark.parametrize(
    ("kind", "value", "field", "cell"),
    [
        ("int32", -5, "int32", -5),
        ("sint64", -5, "int64", -5),
        ("uint64", 2**64 - 1, "int64", "field 'f0': wanted int64, got int 18446744073709551615"),
        ("fixed32", 2**32 - 1, "int64", 2**32 - 1),
        ("int64", 2**40, "int32", "field 'f0': wanted int32, got int 1099511627776"),
        ("int64", 5, "float32", 5.0),
        ("int64", 5, "stamp(ms)", 5_000_000),
        ("double", 1.5, "stamp(s)", 1_500_000_000),
        ("double", 1e300, "float32", "field 'f0': wanted float32, got float 1e+300"),
        ("float", 0.25, "float64", 0.25),
        ("bool", True, "bool", True),
        ("string", "\u00e4", "string", "\u00e4".encode()),
        ("string", "1970-01-03", "date", 2),
        ("int32", 2, "date", 2),
        ("bytes", b"\0\xff", "blob", b"\0\xff"),
        ("bytes", np.array([1, 2], "<f4").tobytes(), "float32[2]", [1.0, 2.0]),
        ("bytes", b"abc", "float32[2]", "field 'f0': wanted float32[2], got 3 bytes"),
        ("Color", 2, "string", b"BLUE"),
        ("Color", 2, "int32", 2),
        ("Color", 7, "string", "field 'f0': wanted string, got int 7, which its enum does not name"),
        ("repeated int32", [1, 2], "float64[2]", [1.0, 2.0]),
        ("repeated double", [1, 2, 3, 4], "float32[2,2]", [[1.0, 2.0], [3.0, 4.0]]),
        ("repeated uint32", [1, 300], "uint8[2]", "field 'f0': wanted uint8[2], got int 300 as number 2 of 2"),
        ("repeated bool", [True, False], "bool[2]", [True, False]),
        ("repeated float", [1.0], "float32[2]", "field 'f0': wanted float32[2], got an array of 1"),
        ("repeated float", [], "float32[2]", None),
        ("optional int32", None, "int32", None),
        ("optional int32", 0, "int32", 0),
        ("int32", None, "int32", 0),
        ("google.protobuf.Timestamp", seconds, "stamp(iso)", 3 * 10**9),
        ("google.protobuf.Timestamp", None, "stamp", None),
        ("google.protobuf.Timestamp", broken, "stamp", "wanted a Timestamp, got one of -1 nanoseconds"),
        ("google.protobuf.Timestamp", far, "stamp", "field 'f0': wanted stamp, got Timestamp of 253402300799 s"),
    ],
)
def test_a_protobuf_value_becomes_a_cell_or_says_why_not(tmp_path: Path, kind: str, value: Any, field: str, cell: Any) -> None:
    assert one(tmp_path, kind, value, field, HEAD + STAMP) == cell


def test_a_date_of_googles_types_becomes_a_date(tmp_path: Path) -> None:
    text = 'syntax = "proto3"; package google.type; message Row { Date f0 = 1; } message Date { int32 year = 1; int32 month = 2; int32 day = 3; }'
    made = messages(tmp_path, text)["google.type.Row"]
    values = [made(f0={"year": 1970, "month": 1, "day": 3}), made(f0={"year": 2023, "month": 2, "day": 29})]
    found = reading(tmp_path, text, "f0:date", name="google.type.Row").decode(
        raw_block([value.SerializeToString() for value in values])
    )
    assert rows_of(found) == [[2]]
    assert found.reasons == ("field 'f0': wanted date, got the day 2023-2-29",)


@pytest.mark.parametrize(
    ("kind", "field"),
    [("string", "int64"), ("int64", "string"), ("int32", "bool"), ("int64", "stamp(iso)"), ("bytes", "string"), ("repeated string", "float32[2]"),
     ("repeated int32", "int64"), ("map<string, int32>", "int64"), ("Inner", "blob"), ("float", "float32[1]"), ("google.protobuf.Timestamp", "int64")],
)  # fmt: skip
def test_a_field_that_no_value_of_its_type_fits_is_refused_at_load(tmp_path: Path, kind: str, field: str) -> None:
    text = f"{HEAD}{STAMP}message M {{ {kind} f0 = 1; message Inner {{ int32 a = 1; }} }}"
    with pytest.raises(
        QueryError, match=r"query.toml: windows.w.schema: s.proto.pb: field 'f0': wanted .*, got Protobuf's"
    ) as refused:
        reading(tmp_path, text, f"f0:{field}")
    assert "\n" not in str(refused.value)


def test_a_field_that_the_message_has_not_and_a_message_that_is_not_clear_are_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"its message plant.Sensor has no field 'speed', but id, ts, acc"):
        reading(tmp_path, SENSOR, "id:int64, speed:float32")
    two = HEAD + "message A { int32 a = 1; } message B { int32 b = 1; message C { int32 c = 1; } }"
    with pytest.raises(
        QueryError, match=r"not clear which message is meant; its messages are plant.A, plant.B, plant.B.C: say name"
    ):
        reading(tmp_path, two, "a:int32")
    with pytest.raises(QueryError, match=r"there is no message plant\.D"):
        reading(tmp_path, two, "a:int32", name="plant.D")
    deep = messages(tmp_path, two)["plant.B"].C(c=4).SerializeToString()
    assert rows_of(reading(tmp_path, two, "c:int32", name="plant.B.C").decode(raw_block([deep]))) == [[4]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "bytes that are none"),
        (b"\x0a\x05ab", "bytes that are none"),
        (b"\x0a\xff\xff\xff\xff\x0fabc", "bytes that are none"),
        (b"\x08" + b"\xff" * 11, "bytes that are none"),
        (b"\x00\x01", "bytes that are none"),
        (b"\x22\x02\xff\xfe", "bytes that are none"),
        (b"\x0b" * 100_000, "bytes that are none"),
        (b"\x0f", "bytes that are none"),
    ],
)
def test_bytes_that_are_no_message_are_bad_events(tmp_path: Path, data: bytes, reason: str) -> None:
    whole = sensor(tmp_path).SerializeToString()
    found = reading(tmp_path, SENSOR, FIELDS).decode(raw_block([whole, data, None, whole]))
    assert found.row is not None
    assert found.row.tolist() == [0, 3]
    assert [reason in found.reasons[0], found.reasons[1]] == [True, "no value"]


def test_messages_within_messages_past_all_reason_are_bad_events(tmp_path: Path) -> None:
    data = b""
    for _ in range(5000):
        data = b"\x0a" + _varint(len(data)) + data
    text = HEAD + "message M { M f0 = 1; int32 a = 2; }"
    found = reading(tmp_path, text, "a:int32").decode(raw_block([data, b"\x10\x05"]))
    assert rows_of(found) == [[5]]
    assert "bytes that are none" in found.reasons[0]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_a_reason(tmp_path_factory: pytest.TempPathFactory, value: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "protobuf-fuzz"
    if not folder.exists():
        folder.mkdir()
        compiled(folder, SENSOR)
    found = source("protobuf", FIELDS, folder, schema_file="s.proto.pb").decode(raw_block([value]))
    assert len(found.reasons) + len(rows_of(found)) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("message", "the .proto text ends too early"),
        ("message A {", "ends too early"),
        ("message A { int32 = 1; }", "where a name is wanted"),
        ("message A { int32 a = x; }", "where a number is wanted"),
        ("message A { int32 a = 0; }", "field a has the number 0"),
        ("message A { int32 a = 1 [default = 5; }", "ends too early"),
        ("message A { Missing a = 1; }", "it is no Protobuf schema"),
        ("message A { int32 a = 1; int32 a = 2; }", "it is no Protobuf schema"),
        ("message A { int32 a = 1; int32 b = 1; }", "it is no Protobuf schema"),
        (
            'import "other.proto"; message A { Other a = 1; }',
            "it is no Protobuf schema .*; it imports other.proto, not to be had here",
        ),
        (
            'import "google/protobuf/../../x.proto"; message A { X a = 1; }',
            "it imports google/protobuf/../../x.proto, not to be had",
        ),
        ("hello there", "has 'hello' where a message is wanted"),
        ("\x00", "this is no .proto text"),
        ('message A { string a = "1; }', "this is no .proto text"),
        ("/* message A {}", "is no|where a message is wanted"),
        ("message A { group G = 1 { } }", "groups are not read as text"),
        ("message A { " * 50 + "}" * 50, "nested deeper than 32"),
        ("", "not clear which message is meant; its messages are none"),
        ("enum E { A = 0; }", "not clear which message is meant"),
    ],
)
def test_a_text_that_is_no_schema_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "s.proto").write_text('syntax = "proto3";' + text)
    with pytest.raises(QueryError, match=reason) as refused:
        source("protobuf", "a:int32", tmp_path, schema_file="s.proto")
    assert str(refused.value).startswith("query.toml: windows.w.")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [('edition = "2023"; message A {}', "editions of Protobuf"), ('syntax = "proto9"; message A {}', "no syntax 'proto9'"),
     ('syntax = "proto2"; message A { int32 a = 1; }', "neither optional, required nor repeated")],
)  # fmt: skip
def test_a_syntax_that_is_not_known_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "s.proto").write_text(text)
    with pytest.raises(QueryError, match=reason):
        source("protobuf", "a:int32", tmp_path, schema_file="s.proto")


def test_a_file_that_is_no_descriptor_set_is_refused(tmp_path: Path) -> None:
    for data, reason in [
        (b"\xff\xff", "it is no descriptor set"),
        (b"", "the descriptor set is empty"),
        (b"\x0a\x02\x0a\x00", "not clear which|no Protobuf schema"),
    ]:
        (tmp_path / "s.pb").write_bytes(data)
        with pytest.raises(QueryError, match=reason):
            source("protobuf", "a:int32", tmp_path, schema_file="s.pb")
    with pytest.raises(QueryError, match=r"gone.pb cannot be read \(No such file"):
        source("protobuf", "a:int32", tmp_path, schema_file="gone.pb")


# ---- writing ---------------------------------------------------------------------------------------------------------

ALL = "k*:int64, b:bool, i:int32, f:float32, d:float64, s:string, x:blob, ms:stamp(ms), iso:stamp(iso), day:date, t:float32[2,2], u:uint8[3], q:bool[2]"
NOON_NS = 1_709_208_000 * 10**9
ROW = [5, True, -3, 0.5, 1e300, "\u00e4", b"\0x", NOON_NS + 5, NOON_NS + 5, 19782, [[1, 2], [3, 4]], [1, 2, 255], [True, False]]


def test_a_sink_makes_a_message_of_its_fields_that_protoc_takes(tmp_path: Path) -> None:
    made: Any = sink("protobuf", ALL, tmp_path, name="plant.Scored")
    data = written(made, events(ALL, [ROW, [6, *[None] * 12]]))
    found, empty = (messages(tmp_path, made.own_text.text)["plant.Scored"].FromString(value) for value in data)
    assert [found.k, found.b, found.i, found.f, found.d, found.s, found.x, found.iso, found.day] == [
        5, True, -3, 0.5, 1e300, "\u00e4", b"\0x", "2024-02-29T12:00:00.000000005Z", 19782,
    ]  # fmt: skip
    assert [found.ms.ToNanoseconds(), list(found.t), list(found.u), list(found.q)] == [
        NOON_NS + 5,
        [1, 2, 3, 4],
        [1, 2, 255],
        [True, False],
    ]
    assert [field.name for field, _ in empty.ListFields()] == ["k"]


def into(folder: Path, text: str, fields: str, **options: Any) -> Any:
    (folder / "s.proto").write_text(text)
    return sink("protobuf", fields, folder, schema_file="s.proto", **options)


def test_a_sink_writes_by_a_message_that_is_given(tmp_path: Path) -> None:
    text = HEAD + STAMP + """import "google/protobuf/wrappers.proto";
      message M { sint64 a = 1; google.protobuf.Timestamp b = 2; Color c = 3; repeated double d = 4; bytes e = 5; google.protobuf.DoubleValue f = 6;
        int64 g = 7; string more = 8; string h = 9; } enum Color { RED = 0; BLUE = 2; }"""  # fmt: skip
    fields = "h:stamp(iso), g:stamp(us), f:float32, e:float32[2], d:float32[2], c:string, b:stamp(ms), a:int32"
    data = written(into(tmp_path, text, fields), events(fields, [[NOON_NS, NOON_NS + 1999, 0.5, [1, 2], [3, 4], "BLUE", -1, -7]]))
    found = messages(tmp_path, text)["plant.M"].FromString(data[0])
    assert [found.a, found.b.ToNanoseconds(), found.c, list(found.d), found.e, found.f.value, found.g, found.more, found.h] == [
        -7, -1, 2, [3, 4], np.array([1, 2], "<f4").tobytes(), 0.5, NOON_NS // 1000 + 1, "", "2024-02-29T12:00:00.000000000Z",
    ]  # fmt: skip


def test_rows_that_a_given_message_does_not_take_are_named_and_deletes_need_no_value(tmp_path: Path) -> None:
    text, fields = HEAD + "message M { int64 a = 1; optional Color c = 2; } enum Color { RED = 0; }", "a:int64, c:string"
    block = events(fields, [[1, "RED"], [None, "RED"], [3, "GREEN"], [4, None], [None, None]])
    with pytest.raises(Unwritable) as bad:
        into(tmp_path, text, fields).encode(
            EventBlock(
                block.schema, block.columns, block.validity, block.ts_ns, block.watermark_ns, 0, np.array([0, 0, 0, 0, 3], np.uint8)
            )
        )
    assert bad.value.reasons == {
        1: "field 'a': null, and the message takes none",
        2: "field 'c': the text 'GREEN' is none of the enum's names",
    }


@pytest.mark.parametrize(
    ("kind", "field"),
    [("int32", "int64"), ("float", "float64"), ("float", "int32"), ("double", "int64"), ("uint32", "int32"), ("string", "stamp(ms)"), ("int64", "stamp(iso)"),
     ("string", "blob"), ("repeated float", "float64[2]"), ("repeated int32", "int32"), ("M", "blob"), ("map<int32, int32>", "int32[2]")],
)  # fmt: skip
def test_a_field_that_would_lose_something_in_the_given_message_is_refused_at_load(tmp_path: Path, kind: str, field: str) -> None:
    with pytest.raises(QueryError, match=r"field 'a' is .*, and the message wants Protobuf's"):
        into(tmp_path, f"{HEAD}message M {{ {kind} a = 1; }}", f"a:{field}")


def test_fields_that_are_missing_on_either_side_are_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="the message has no field 'b'; its fields are a"):
        into(tmp_path, HEAD + "message M { int32 a = 1; }", "a:int32, b:int32")
    with pytest.raises(QueryError, match="the message wants a field 'b'"):
        into(tmp_path, 'syntax = "proto2"; message M { required int32 a = 1; required int32 b = 2; }', "a:int32")


def test_a_field_whose_name_the_format_does_not_know_is_refused_at_load(tmp_path: Path) -> None:
    for format in ("avro", "protobuf"):
        pytest.importorskip({"avro": "fastavro", "protobuf": "google.protobuf"}[format])
        with pytest.raises(QueryError, match=r"query\.toml: windows\.w\.options: .* has no fields like"):
            sink(format, "gr\u00f6\u00dfe:int32", tmp_path)


F32 = st.floats(width=32, allow_nan=False)
VALUES = [
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | F32,
    st.none() | st.floats(allow_nan=False),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=20).map(str.encode),
    st.none() | st.binary(max_size=20),
    st.none() | st.integers(-(2**62), 2**62),
    st.none() | st.integers(0, 2**62),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.lists(st.lists(F32, min_size=2, max_size=2), min_size=3, max_size=3),
    st.none() | st.lists(st.integers(0, 255), min_size=4, max_size=4),
]
WIDE = "k*:int64, b:bool, i:int32, f:float32, d:float64, s:string, x:blob, ms:stamp(ms), iso:stamp(iso), day:date, t:float32[3,2], u:uint8[4]"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*VALUES).map(list), max_size=5), st.sampled_from(["array", "bytes"]))
def test_what_a_sink_writes_a_source_reads(tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], tensors: str) -> None:
    folder = tmp_path_factory.mktemp("s")
    made: Any = sink("protobuf", WIDE, folder, tensors=tensors)
    (folder / "s.proto").write_text(made.own_text.text)
    found = source("protobuf", WIDE, folder, schema_file="s.proto").decode(raw_block(written(made, events(WIDE, rows))))
    assert found.reasons == ()
    assert rows_of(found) == rows
