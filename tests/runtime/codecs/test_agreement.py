"""Kernel path and generic path must agree: on values, on nulls, on which rows are bad and why; whatever the bytes."""

import base64
import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from esp.kernels import columns
from esp.runtime.codecs import Decoded, codec
from esp.runtime.events import RawBlock, VarColumn, raw_block
from esp.runtime.schema import FieldType, Schema

TYPES = (
    "bool", "int32", "int64", "float32", "float64", "string", "blob", "stamp", "stamp(ms)", "stamp(s)", "stamp(iso)", "date",
    "uint8[4]", "float32[2,3]", "int32[1,2]", "bool[3]", "float64[1]",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-300, 300), st.integers(-(2**63), 2**64 - 1), st.floats(), st.floats(width=32),
    st.integers(-(10**6), 10**6).map(float), st.text(max_size=12), st.binary(max_size=12),
    st.sampled_from(["2026-02-28", "2024-02-29T23:59:59.25Z", "1999-12-31 00:00:00+05:30", "2023-02-29", "AAECAw==", "1", "", "nan", '"', "a\nb"]),
)  # fmt: skip
NUMBERS = st.one_of(st.integers(0, 255), st.integers(-(2**40), 2**40), st.floats(width=32), st.booleans(), st.none())
ARRAYS = st.one_of(
    st.lists(st.integers(0, 255), min_size=4, max_size=4), st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=3, max_size=3), st.lists(NUMBERS, max_size=6), st.lists(NUMBERS, min_size=2, max_size=2).map(lambda a: [a]),
    st.binary(min_size=4, max_size=4), st.binary(min_size=24, max_size=24), st.binary(min_size=8, max_size=8), st.sampled_from([b"\0\1\1", b"\0\1\2"]),
)  # fmt: skip
VALUES = st.one_of(SCALARS, ARRAYS)
NUMBER_TEXT = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True) | st.sampled_from(
    ["-0", "-0.0", "5e-324", "2.5e-324", "1e400", "-1e-400", "9007199254740993", "0.1000000000000000055511151231257827", "1.7976931348623159e308", "18446744073709551616",
     "NaN", "-Infinity", "nan", "+1", ".5", "5.", "00", "1_0", "0x1", "٣", "1e5 ", "true", "null"]
)  # fmt: skip
UNKNOWN = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5
)
LIKELY = {
    "bool": st.booleans(), "int32": st.integers(-(2**31), 2**31 - 1), "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32) | st.floats(-1e6, 1e6), "float64": st.floats(), "string": st.text(max_size=20), "blob": st.binary(max_size=20),
    "stamp": st.integers(-(10**10), 10**10) | st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.isoformat() + "Z"),
    "date": st.integers(-(2**31), 2**31 - 1) | st.dates().map(str),
}  # fmt: skip


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=6))
    return Schema.parse(
        ", ".join(f"{'ab'[at % 2]}{at}{'*' * (at == 0 and draw(st.booleans()))}:{kind}" for at, kind in enumerate(types))
    )


def tensors(kind: FieldType) -> st.SearchStrategy[Any]:
    """Bytes, flat arrays and nested ones, seldom of another size."""
    element = {"bool": st.booleans(), "uint8": st.integers(0, 255), "int32": st.integers(-(2**31), 2**31 - 1)}
    size, width = math.prod(kind.shape), kind.dtype.itemsize
    number = element.get(kind.base, st.floats(width=32) | st.integers(-300, 300) | st.none())
    flat = st.lists(number, min_size=size, max_size=size)
    nested = flat.map(lambda values: np.array(values, object).reshape(kind.shape).tolist())
    data = st.binary(min_size=size * width, max_size=size * width)
    text = st.tuples(flat, st.sampled_from([",", ", ", " ,", ";"]), st.sampled_from(["", ",", " , ", " "])).map(
        lambda parts: parts[1].join(map(str, parts[0])) + parts[2]
    )
    return st.one_of(flat, nested, data, flat, nested, data, text, text, ARRAYS)


@st.composite
def records(draw: st.DrawFn, schema: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in schema:
        choice = draw(st.integers(0, 40))
        if choice < 39:
            found[field.name] = draw(tensors(field.type) if field.type.shape else LIKELY[field.type.base])
        elif choice == 39:
            found[field.name] = draw(VALUES)
    for name in draw(st.lists(st.sampled_from(["x", "zz", "é"]), max_size=1)):
        found[name] = draw(UNKNOWN)
    return dict(draw(st.permutations(list(found.items()))))


def plain(value: Any, is_finite: bool = True) -> Any:
    """What JSON can hold of a value."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_msgpack(draw: st.DrawFn, schema: Schema, record: dict[str, Any]) -> bytes:
    packer = msgpack.Packer(use_single_float=draw(st.booleans()), strict_types=True)
    try:
        return packer.pack([record.get(name) for name in schema.names] if draw(st.booleans()) else record)
    except OverflowError:
        return msgpack.packb({})


def numbers_as_text(draw: st.DrawFn, text: str) -> str:
    """JSON in which some numbers are written in other ways, which Python's writer has not."""
    found = list(re.finditer(r"-?[0-9.]+(?:[eE][+-]?[0-9]+)?", text))
    for match in reversed(
        draw(st.lists(st.sampled_from(found), max_size=3, unique_by=lambda match: match.start())) if found else []
    ):
        text = text[: match.start()] + draw(NUMBER_TEXT) + text[match.end() :]
    return text


def to_json(draw: st.DrawFn, schema: Schema, record: dict[str, Any]) -> bytes:
    """Text as Python or orjson writes it, with other numbers, blanks, a byte order mark, or a key that comes twice."""
    way = draw(st.integers(0, 9))
    if way == 9:
        first, more = (json.dumps(plain(part), ensure_ascii=draw(st.booleans())) for part in (record, draw(records(schema))))
        return f"{first[:-1]}{', ' if first != '{}' and more != '{}' else ''}{more[1:]}".encode("utf-8", "replace")
    if way >= 6:
        text = numbers_as_text(draw, json.dumps(plain(record), ensure_ascii=draw(st.booleans())))
        return draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\n \t"])) + text.encode("utf-8", "replace")
    if way == 0:
        return json.dumps(plain(record), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))).encode(
            "utf-8", "replace"
        )
    return json.dumps(plain(record), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def to_csv(draw: st.DrawFn, schema: Schema, record: dict[str, Any], form: str = "columns") -> bytes:
    cells: list[Any] = []
    for field in schema:
        value, width = record.get(field.name), math.prod(field.type.shape)
        if field.type.shape and form != "columns":
            text = (
                ",".join("" if part is None else str(part) for part in np.ravel(np.array(value, object)))
                if isinstance(value, list)
                else value
            )
            cells.append(base64.b64encode(value).decode() if isinstance(value, bytes) else text)
            continue
        value = plain(value) if isinstance(value, bytes) else value
        flat = list(np.ravel(np.array(value, object))) if isinstance(value, list) else [value]
        cells += (flat + [None] * width)[:width] if field.type.shape else flat[:1] or [None]
    out = io.StringIO()
    cells = [draw(NUMBER_TEXT) if isinstance(cell, float) and draw(st.integers(0, 5)) == 0 else cell for cell in cells]
    csv.writer(out, lineterminator=draw(st.sampled_from(["", "\n", "\r\n"]))).writerow(cells)
    return out.getvalue().encode("utf-8", "replace")


@st.composite
def mutated(draw: st.DrawFn, value: bytes) -> bytes:
    """The bytes as they are, or with one to three of them changed, cut out or put in."""
    if draw(st.integers(0, 9)) < 7 or not value:
        return value
    data = bytearray(value)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        way = draw(st.integers(0, 3))
        if way == 0 and data:
            data[at] = draw(st.integers(0, 255))
        elif way == 1:
            del data[at : at + draw(st.integers(1, 4))]
        elif way == 2:
            data[at:at] = draw(
                st.sampled_from(
                    [
                        b",",
                        b'"',
                        b"1",
                        b"e9",
                        b".5",
                        b"null",
                        b"\\n",
                        b"\xc3\xa9",
                        b"\xff",
                        b"\xc0",
                        b"[",
                        b"}",
                        b"-",
                        b"\\ud83d",
                        b"\\u0000",
                        b"\xef\xbb\xbf",
                        b"\xed\xa0\x80",
                        b" ",
                        b"\0",
                    ]
                )
            )
        else:
            del data[at:]
    return bytes(data)


WRITERS = {"msgpack": to_msgpack, "json": to_json, "csv": to_csv}


def generic(name: str, schema: Schema, raw: RawBlock, **options: Any) -> Decoded:
    """What the generic library alone makes of a block: the kernel sees null values only, and refuses them."""
    decoder = codec(name, schema, **options)._decoder  # type: ignore[attr-defined]

    def refuse_all(job: np.ndarray[Any, Any], fields: np.ndarray[Any, Any]) -> int:
        nulls = np.full(len(raw), -1, np.int64)
        job[columns.VALUE_SIZE] = nulls.ctypes.data
        return int(decoder.kernel(job, fields))

    return dataclasses.replace(decoder, kernel=refuse_all, judge=None).decode(raw)


def told(reasons: Sequence[str]) -> list[str]:
    """Reasons, but for why and where a record is none, of which each reader has words of its own."""
    return [reason.partition(" that is none (")[0].partition(" that are none (")[0] for reason in reasons]


def same(a: Decoded, b: Decoded) -> None:
    assert told(a.reasons) == told(b.reasons)
    assert a.bad_row.tolist() == b.bad_row.tolist()
    assert (a.row is None) == (b.row is None)
    assert a.row is None or a.row.tolist() == b.row.tolist()
    for left, right, valid_left, valid_right in zip(a.columns, b.columns, a.validity, b.validity):
        assert (valid_left is None) == (valid_right is None)
        assert valid_left is None or valid_left.tolist() == valid_right.tolist()
        if isinstance(left, VarColumn):
            assert left.offsets.tolist() == right.offsets.tolist()
            assert left.data.tobytes() == right.data.tobytes()
        else:
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", WRITERS)
def test_kernel_and_generic_library_read_the_same(name: str) -> None:
    @seed(3)
    @settings(max_examples=300, deadline=None, database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        schema = data.draw(schemas())
        form = data.draw(st.sampled_from(["columns", "text", "base64"])) if name == "csv" else ""
        options = {"tensors": form} if form else {}
        if data.draw(st.integers(0, 3)) == 0:
            names = data.draw(st.lists(st.sampled_from(schema.names), unique=True))
            schema = Schema(tuple(dataclasses.replace(field, is_required=field.name in names) for field in schema))
        values: list[bytes | None] = []
        for _ in range(data.draw(st.integers(1, 5))):
            value = WRITERS[name](data.draw, schema, data.draw(records(schema)), *options.values())
            values.append(data.draw(mutated(value)))
        values += data.draw(st.lists(st.none(), max_size=1))
        raw = raw_block(values)
        same(codec(name, schema, **options).decode(raw), generic(name, schema, raw, **options))

    check()


@pytest.mark.parametrize("name", WRITERS)
def test_what_lies_around_a_record_does_not_show(name: str) -> None:
    schema = Schema.parse("a:string, b:int64, c:float64, d:uint8[3]")
    whole = {
        "msgpack": msgpack.packb({"a": "xyz", "b": 2**40, "c": 0.1, "d": b"\1\2\3"}),
        "json": orjson.dumps({"a": "xyz", "b": 2**40, "c": 0.1, "d": [1, 2, 3]}),
        "csv": b"xyz,1099511627776,0.1,1,2,3",
    }[name]
    cut = [whole[:end] for end in range(len(whole) + 1)]
    rest = [whole[len(part) :] + b"0" for part in cut]
    alone = raw_block(cut)
    pairs = raw_block([piece for pair in zip(cut, rest) for piece in pair]).take(slice(0, None, 2))
    same(codec(name, schema).decode(alone), codec(name, schema).decode(pairs))


def base_records() -> tuple[Schema, list[dict[str, Any]]]:
    schema = Schema.parse(
        "camera:string, id*:int64, ts:stamp(ms), x:float64, y:float32, t:float32[2,2], u:uint8[3], ok:bool, n:int32, day:date, b:blob"
    )
    one = {
        "camera": "cam-é", "id": 12345678901, "ts": 1_700_000_000_123, "x": -0.1234567890123, "y": 1.5e-3, "t": [[1.5, 2], [None, -4e2]], "u": [1, 2, 255],
        "ok": True, "n": -70_000, "day": 19_782, "b": b"\0\1\2\3",
    }  # fmt: skip
    two = one | {
        "t": [1, 2, 3, 4.25],
        "u": b"\1\2\3",
        "ts": "2024-02-29T12:00:00.5Z",
        "day": "2024-02-29",
        "more": {"a": [1, "x", {}], "b": 2},
    }
    return schema, [one, two, {"id": 7}]


def plain_msgpack(schema: Schema, record: dict[str, Any]) -> bytes:
    return bytes(msgpack.packb(record))


def plain_json(schema: Schema, record: dict[str, Any]) -> bytes:
    return orjson.dumps(plain(record))


def plain_csv(schema: Schema, record: dict[str, Any]) -> bytes:
    cells: list[Any] = []
    for field in schema:
        value = record.get(field.name)
        value = list(value) if field.type.shape and isinstance(value, bytes) else plain(value)
        width = math.prod(field.type.shape)
        cells += list(np.ravel(np.array(value if value is not None else [None] * width, object))) if field.type.shape else [value]
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue().encode()


def damaged(random: np.random.Generator, value: bytes) -> bytes:
    data = bytearray(value)
    for _ in range(random.integers(0, 3)):
        at, way = random.integers(0, len(data) + 1), random.integers(0, 4)
        if way == 0:
            data[at : at + 1] = bytes([random.integers(0, 256)])
        elif way == 1:
            del data[at : at + random.integers(1, 4)]
        elif way == 2:
            data[at:at] = data[random.integers(0, len(data) + 1) :][: random.integers(1, 9)]
        else:
            data[at : at + 1] = bytes([data[at] ^ 1 << random.integers(0, 8)]) if at < len(data) else b""
    return bytes(data)


@pytest.mark.parametrize(("name", "write"), [("msgpack", plain_msgpack), ("json", plain_json), ("csv", plain_csv)])
def test_damaged_records_are_read_the_same(name: str, write: Any) -> None:
    random = np.random.default_rng(17)
    schema, found = base_records()
    whole = [write(schema, record) for record in found]
    raw = raw_block([damaged(random, whole[at % len(whole)]) for at in range(3000)])
    kernel = codec(name, schema).decode(raw)
    assert 300 < len(kernel.reasons) < 2700
    same(kernel, generic(name, schema, raw))
