"""What a record has not: null, the default of the field, or a reason; by kernel and generic library alike."""

import base64
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from esp.runtime.codecs import codec
from esp.runtime.events import VarColumn, raw_block
from esp.runtime.kinds.absent import with_defaults
from esp.runtime.schema import Schema

TYPES = "i:int64, f:float32, ok:bool, s:string, b:blob, at:stamp(ms), day:date, t:float32[2], u:uint8[2,1]"
DEFAULTS = {
    "i": 7, "f": 0.5, "ok": True, "s": "é, none", "b": base64.b64encode(b"\0\xff\1").decode(), "at": 1_700_000_000_123, "day": "2024-02-29",
    "t": [1.5, None], "u": "AQI=",
}  # fmt: skip
HELD = {
    "i": 7, "f": 0.5, "ok": True, "s": "é, none".encode(), "b": b"\0\xff\1", "at": 1_700_000_000_123_000_000, "day": 19_782, "t": [1.5, np.nan],
    "u": [[1], [2]],
}  # fmt: skip
SCHEMA = with_defaults(Schema.parse(TYPES), DEFAULTS, (), "windows.in")
FULL: dict[str, Any] = {"i": 1, "f": 2.0, "ok": False, "s": "x", "b": b"y", "at": 3, "day": 4, "t": [5.0, 6.0], "u": [7, 8]}


def records(name: str, values: list[dict[str, Any]]) -> list[bytes]:
    if name == "msgpack":
        return [msgpack.packb(value) for value in values]
    plain = [
        {key: base64.b64encode(part).decode() if isinstance(part, bytes) else part for key, part in value.items()}
        for value in values
    ]
    if name == "json":
        return [orjson.dumps(value) for value in plain]
    return [_line(value) for value in plain]


def _line(value: dict[str, Any]) -> bytes:
    cells = []
    for field in SCHEMA:
        part = value.get(field.name)
        cells += (part or [None, None]) if field.type.shape else [part]
    return ",".join("" if cell is None else str(cell) for cell in cells).encode()


def value_at(column: Any, row: int) -> Any:
    return column.value(row) if isinstance(column, VarColumn) else column[row].tolist()


@pytest.mark.parametrize("name", ["msgpack", "json", "csv"])
@pytest.mark.parametrize("is_generic", [False, True])
def test_defaults_stand_for_what_is_missing_or_null(name: str, is_generic: bool) -> None:
    holes = [{key: part for key, part in FULL.items() if key != gone} for gone in FULL] + [FULL, {}, dict.fromkeys(FULL)]
    values = records(name, holes)
    if is_generic:  # what the kernels leave to the generic library: a float for an integer, text with a quote
        rare: dict[str, Any] = {"msgpack": {"i": 1.0}, "json": {"i": 1.0}, "csv": {"s": '"x"'}}[name]
        values = records(
            name, [hole | {key: part for key, part in rare.items() if key in hole and hole[key] is not None} for hole in holes]
        )
    found = codec(name, SCHEMA).decode(raw_block(values))
    assert found.reasons == ()
    assert found.validity == (None,) * len(SCHEMA)
    for field, column in zip(SCHEMA, found.columns):
        for row, hole in enumerate(holes):
            shown = value_at(column, row)
            if hole.get(field.name) is None:
                np.testing.assert_array_equal(shown, HELD[field.name], err_msg=f"{field} {row}")
            else:
                wanted = {"s": b"x", "at": 3_000_000, "u": [[7], [8]]}.get(field.name, FULL[field.name])
                np.testing.assert_array_equal(shown, wanted, err_msg=f"{field} {row}")


def test_a_required_field_that_is_missing_or_null_is_a_reason() -> None:
    schema = with_defaults(Schema.parse("a:int64, b:string"), {}, ("b",), "windows.in")
    rows = {
        "json": [b'{"a":1,"b":"x"}', b'{"a":1}', b'{"a":1,"b":null}', b'{"b":"y"}'],
        "msgpack": [msgpack.packb(part) for part in ([1, "x"], [1], {"a": 1, "b": None}, {"b": "y"})],
        "csv": [b"1,x", b"1,", b"1,", b",y"],
    }
    for name, values in rows.items():
        found = codec(name, schema).decode(raw_block(values))
        assert found.bad_row.tolist() == [1, 2]
        assert all(reason.startswith("field 'b': wanted string, for it is required, got n") for reason in found.reasons)
        assert value_at(found.columns[1], 1) == b"y"


def test_a_default_spares_a_key_its_reason() -> None:
    schema = with_defaults(Schema.parse("a*:string, b:int64"), {"a": "nobody"}, (), "windows.in")
    found = codec("json", schema).decode(raw_block([b"{}", b'{"a":null,"b":2.0}', b'{"a":"x"}']))
    assert found.reasons == ()
    assert [value_at(found.columns[0], row) for row in range(3)] == [b"nobody", b"nobody", b"x"]
    assert found.validity[1] is not None
    assert found.validity[1].tolist() == [False, True, False]


def test_a_tensor_given_twice_and_null_at_last_has_its_default() -> None:
    schema = with_defaults(Schema.parse("t:uint8[2]"), {"t": [1, 2]}, (), "windows.in")
    raw = raw_block([b'{"t":[8,9],"t":null}', b'{"t":[8,9]}'])
    found = codec("json", schema).decode(raw)
    assert value_at(found.columns[0], 0) == [1, 2]
    assert found.spellings[0].cuts[:, 2].tolist() == [0, 1]
