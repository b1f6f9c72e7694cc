"""What the kernel says of malformed records: the generic library's own words, and nothing where that would take the record."""

import dataclasses
import json
import random
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from esp.runtime.codecs import Decoded, codec
from esp.runtime.events import raw_block
from esp.runtime.schema import Schema
from loadtest.spoiled import FORMATS, KINDS, SCHEMA, event
from tests.runtime.codecs.test_agreement import generic, same

Values = Sequence[bytes | None]


def judged(name: str, schema: str, values: Values) -> Decoded:
    """What the kernels alone make of records: the generic library may not be asked."""
    decoder = codec(name, Schema.parse(schema))._decoder  # type: ignore[attr-defined]

    def refuse(value: bytes) -> Sequence[Any]:
        raise AssertionError(f"the generic library was asked for {value[:80]!r}")

    return dataclasses.replace(decoder, read=refuse).decode(raw_block(values))


def check(name: str, schema: str, values: Values) -> tuple[str, ...]:
    """The reasons, where all say the same of the records as the generic library, and call the same ones bad."""
    parsed, raw = Schema.parse(schema), raw_block(values)
    found, wanted = codec(name, parsed).decode(raw), generic(name, parsed, raw)
    same(found, wanted)
    return tuple(found.reasons)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_kind_of_the_load_test_needs_the_generic_library(name: str, kind: Any) -> None:
    rng = random.Random(f"{name} {kind.name}")
    values = [kind.spoil(name, event(number, rng), rng) for number in range(50)]
    found = judged(name, SCHEMA, values)
    same(found, generic(name, Schema.parse(SCHEMA), raw_block(values)))
    if kind.name not in ("no reading", "after time"):  # which are for the model and for the window to refuse
        assert len(found.reasons) == 50
        assert all(kind.reason_in(name) in reason for reason in found.reasons)


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 255, 256, -(2**31), 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1.0, 1.5, -0.0, 1e15, 1e16, 1.5e300,
    -2.5e-7, 1e39, 3.4028235677973366e38, 3.4028235677973362e38, 1e-5, 0.0001, 123456789012345.6, "", "x", "x" * 40, "x" * 41, "it's", 'say "so"', "a\\b",
    "a  b", "a b", " a", "\u00e9", "a\nb", "1", "true", "AAAA", "AAAA====", "AAAA==", "AAA", "AA=A", "A A=", "A-_=", "2024-02-29", "2023-02-29",
    "2024-02-29T12:00:00Z", "2024-02-29T25:00:00Z", [], [1, 2], [1, 2, 3], [1.5, None, 3], [1, "x", 3], [True, 2, 3], [1, 1e39, 2], [300, 1, 1.5], [[1, 2, 3]],
    [[1], [2], [3]], [1, [2], 3], [1, {}, 3], {}, {"a": 1}, {"a": [1, 2, 3]}, [{}, {}], [1] * 6, [[1, 2], [3, 4], [5, 6]],
]  # fmt: skip
TYPES = (
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "blob",
    "stamp(ms)",
    "stamp(iso)",
    "date",
    "float32[3]",
    "uint8[3]",
    "bool[3]",
    "float64[3,2]",
)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", FORMATS)
def test_of_every_value_in_every_field_it_says_what_the_generic_library_says(name: str, kind: str) -> None:
    write = orjson.dumps if name == "json" else msgpack.packb
    values = [bytes(write({"before": 1, "a": value, "b": 2})) for value in VALUES]
    values += [bytes(write({"b": 2, "c": [value, {"d": value}]})) for value in VALUES]
    if name == "msgpack":
        values += [bytes(write({"a": data, "b": 2})) for data in (b"", b"\1\0\1", bytes(12), bytes(13), float("nan"), float("inf"))]
        values += [bytes(write([value, 2])) for value in VALUES] + [bytes(write(value)) for value in VALUES]
        values.append(bytes(msgpack.packb({"a": msgpack.Timestamp(1, 5), "b": 2})))
    assert len(check(name, f"a:{kind}, b*:int64", values)) > 20


def test_floats_are_told_as_python_writes_them() -> None:
    bits = np.random.default_rng(9).integers(0, 1 << 64, 3000, np.uint64).view(np.float64)
    floats = [float(value) for value in bits if np.isfinite(value)] + [10.0**power * 1.5 for power in range(-320, 308)]
    found = judged("msgpack", "a:bool", [bytes(msgpack.packb([value])) for value in floats])
    assert tuple(found.reasons) == tuple(f"field 'a': wanted bool, got float {value!r}, at byte 1" for value in floats)


@pytest.mark.parametrize(
    "number",
    [
        "1e308", "1e309", "1e310", "-1e310", "9" * 308, "9" * 309, "9" * 310, "1" + "0" * 308, "0e400", "0.0e99999999", "0." + "0" * 400 + "1e400", "1e-400",
        "0.1e309", "0.1e311", "1e", "1e+", "1.", "-", "-a", "01", "-01", "1.e5", ".5", "+1", "1E+2", "1e0000000000000000001", "123456789012345678901234567890",
    ],
)  # fmt: skip
def test_numbers_are_bad_where_the_generic_library_refuses_them(number: str) -> None:
    texts = [f'{{"more":{number}}}', f'{{"a":{number}}}', f'{{"more":[0,{number}]', number, f'{{"a":{number}']
    check("json", "a:float64", [text.encode() for text in texts])


@pytest.mark.parametrize(
    "levels", [1, 60, 61, 255, 256, 257, 1000, 1021, 1022, 1023, 1024, 1025, 1026, 1099, 1100, 1101, 1200, 5000]
)
def test_depth_is_bad_where_the_generic_library_refuses_it(levels: int) -> None:
    objects = '{"x":' * levels + "1" + "}" * levels
    texts = [f'{{"more":{"[" * levels}{"]" * levels}}}', f'{{"more":{objects}}}', f'{{"more":[0,{"[0," * levels}0{"]" * levels}]}}']
    check("json", "a:int32", [text.encode() for text in texts])
    packed = [
        b"\x91" * levels + b"\1",
        b"\x81\xa4more" + b"\x92\0" * levels + b"\1",
        b"\x91" * levels,
        b"\x91\x90" + b"\x91" * levels + b"\0",
    ]
    check("msgpack", "a:int32", packed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends too early), at byte 0"),
        ("  ", "it ends too early), at byte 2"),
        ('{"a":1', "it ends too early), at byte 6"),
        ('{"a":tru', "it ends too early), at byte 8"),
        ('{"a":trux}', "unexpected byte 120), at byte 8"),
        ('{"a":1}}', "more behind it), at byte 7"),
        ('{"a":"x\ty"}', "a control character in a text), at byte 7"),
        ('{"a":[1 2]}', "unexpected byte 50), at byte 8"),
        ("{'a':1}", "unexpected byte 39), at byte 1"),
        ('{"a":' + "9" * 400 + "}", "a number past all floats), at byte 5"),
        ('{"a":' + "[" * 2000, "nested too deep), at byte 66"),
    ],
)
def test_a_reason_says_where_a_text_stops_being_json(text: str, reason: str) -> None:
    found = judged("json", "a:int32", [text.encode()])
    assert tuple(found.reasons) == (f"wanted a JSON object, got text that is none ({reason}",)
    with pytest.raises(json.JSONDecodeError if len(text) < 2000 else RecursionError):
        json.loads(text) if "9999" not in text else orjson.loads(text)


@pytest.mark.parametrize("name", FORMATS)
def test_good_and_bad_records_of_a_block_stand_in_order(name: str) -> None:
    write = orjson.dumps if name == "json" else msgpack.packb
    parts: list[Any] = [1, "x", 2.5, "\u00e9" * 3, 4, "it's", 1 << 40]
    found = codec(name, Schema.parse("a:int32")).decode(raw_block([bytes(write({"a": part})) for part in parts]))
    place = 5 if name == "json" else 3
    wanted = ["the text 'x'", "float 2.5", "the text '\u00e9\u00e9\u00e9'", 'the text "it\'s"', "int 1099511627776"]
    assert found.bad_row.tolist() == [1, 2, 3, 5, 6]
    assert list(found.reasons) == [f"field 'a': wanted int32, got {got}, at byte {place}" for got in wanted]
    assert found.row is not None
    assert found.row.tolist() == [0, 4]
