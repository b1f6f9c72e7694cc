"""Tensors as text in one string: read exactly, written shortest, and repeated letter by letter where nothing has changed them."""

import dataclasses
import json
import math
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest

from esp.errors import QueryError
from esp.runtime.codecs import codec
from esp.runtime.events import EventBlock, VarColumn, raw_block
from esp.runtime.schema import Schema


def decoded(kind: str, *texts: str) -> tuple[Any, tuple[str, ...]]:
    found = codec("json", Schema.parse(f"x:{kind}")).decode(raw_block([json.dumps({"x": text}).encode() for text in texts]))
    return found.columns[0], found.reasons


def read_events(schema: Schema, values: list[bytes], **options: Any) -> EventBlock:
    """The events of a source window that decodes these records."""
    raw = raw_block(values)
    found = codec("json", schema, **options).decode(raw)
    assert found.reasons == ()
    zeros = np.zeros(len(values), np.int64)
    return EventBlock(schema, found.columns, found.validity, zeros, zeros, 0, spellings=found.spellings)


def written(events: EventBlock, **options: Any) -> list[bytes]:
    buffer, at, size = codec("json", events.schema, **options).encode(events)
    return [buffer[start : start + length].tobytes() for start, length in zip(at, size)]


def test_numbers_of_every_form_are_read_as_python_reads_them() -> None:
    random = Random(5)
    numbers = [
        random.choice([random.random(), random.gauss(0, 1e3), random.uniform(0, 9), 10 ** random.uniform(-300, 300)])
        for _ in range(3000)
    ]
    forms = [
        repr,
        "{:.8f}".format,
        "{:.17e}".format,
        "{:.3g}".format,
        "{:.19f}".format,
        "{:.1f}".format,
        lambda number: str(int(number % 1e18)),
    ]
    texts = [random.choice(forms)(number) for number in numbers]
    texts += [
        "0.0",
        "-0.0",
        "-0",
        "1e5",
        "2.2250738585072011e-308",
        "5e-324",
        "0.1234567890123456789012",
        "9007199254740993.0",
        "-0.00000000",
        "00.5"[1:],
    ]
    for comma, end in ((",", ","), (", ", ""), (" ,  ", " , ")):
        column, reasons = decoded(f"float64[{len(texts)}]", comma.join(texts) + end)
        assert reasons == ()
        wanted = np.array([float(int(text)) if text.lstrip("-").isdigit() else float(text) for text in texts])
        np.testing.assert_array_equal(column[0].view(np.int64), wanted.view(np.int64))


def test_what_is_not_finite_has_its_words_and_bools_and_integers_theirs() -> None:
    column, _ = decoded("float32[6]", "nan,inf,-inf,NaN,INF,1", "nan, inf, -inf, NaN, Infinity, 1,")
    np.testing.assert_array_equal(column, [[math.nan, math.inf, -math.inf, math.nan, math.inf, 1]] * 2)
    assert decoded("bool[4]", "1,0,true,false")[0].tolist() == [[True, False, True, False]]
    assert decoded("uint8[2,2]", "0,7,255,1,")[0].tolist() == [[[0, 7], [255, 1]]]
    assert decoded("int64[2]", "-9223372036854775808,9223372036854775807")[0].tolist() == [[-(2**63), 2**63 - 1]]


@pytest.mark.parametrize(
    "text", ["", ",", "1,2", "1,2,3,4", "1,,3", "1,2,", "1,2,3,,", "1;2;3", "1 2 3", "1,2,x", "1,2,0x3", ",1,2,3", "1,2,1e999"]
)
def test_text_of_other_numbers_than_wanted_is_refused(text: str) -> None:
    _, reasons = decoded("float32[3]", text)
    assert len(reasons) == 1
    assert "field 'x': wanted float32[3]" in reasons[0]


def test_base64_and_text_are_told_apart() -> None:
    data = np.array([1, 2, 3], "<f4")
    column, reasons = decoded("uint8[3]", "1234", "1,2,3")
    assert reasons == ()
    assert column.tolist() == [[0xD7, 0x6D, 0xF8], [1, 2, 3]]  # "1234" is base64 of these three bytes
    found = codec("json", Schema.parse("x:float32[3]")).decode(raw_block([b'{"x":"AACAPwAAAEAAAEBA"}', b'{"x":"1,2,3"}']))
    np.testing.assert_array_equal(found.columns[0], [data, data])  # type: ignore[arg-type]


def test_text_is_written_shortest_with_words_for_what_is_not_finite() -> None:
    schema, zeros = Schema.parse("x:float32[4], y:uint8[2], z:bool[2]"), np.zeros(1, np.int64)
    columns = (np.array([[0.1, math.nan, -math.inf, 1e-7]], np.float32), np.array([[3, 255]], np.uint8), np.array([[True, False]]))
    events = EventBlock(schema, columns, (None,) * 3, zeros, zeros, 0)
    assert written(events, tensors="text") == [b'{"x":"0.1,nan,-inf,1e-7","y":"3,255","z":"true,false"}']
    found = read_events(schema, written(events, tensors="text"))
    for left, right in zip(found.columns, columns):
        np.testing.assert_array_equal(left, right)  # type: ignore[arg-type]


def test_each_tensor_may_have_its_own_form() -> None:
    schema, zeros = Schema.parse("a:uint8[2], b:uint8[3], c:uint8[1], d:int64"), np.zeros(1, np.int64)
    columns = (np.array([[1, 2]], np.uint8), np.array([[1, 2, 3]], np.uint8), np.array([[9]], np.uint8), np.array([5]))
    events = EventBlock(schema, columns, (None,) * 4, zeros, zeros, 0)
    assert written(events, tensors={"a": "text", "b": "base64"}) == [b'{"a":"1,2","b":"AQID","c":[9],"d":5}']
    for tensors in ("words", 1, {"a": "word"}, {"d": "text"}, {"e": "text"}, {"a": None}):
        with pytest.raises(QueryError):
            codec("json", schema, tensors=tensors)


def lines(events: EventBlock, **options: Any) -> list[bytes]:
    buffer, at, size = codec("csv", events.schema, **options).encode(events)
    return [buffer[start : start + length].tobytes() for start, length in zip(at, size)]


def test_csv_has_a_tensor_in_columns_or_in_one() -> None:
    schema, zeros = Schema.parse("id:int64, x:float32[3], y:uint8[1], z:string"), np.zeros(2, np.int64)
    x, y = np.array([[0.5, math.nan, -1e-9], [0, 0, 0]], np.float32), np.array([[7], [0]], np.uint8)
    valid = np.array([True, False])
    events = EventBlock(schema, (np.arange(2), x, y, VarColumn.of(["a", "b,c"])), (None, valid, valid, None), zeros, zeros, 0)
    written = {
        "columns": [b"0,0.5,nan,-1e-9,7,a", b'1,,,,,"b,c"'],
        "text": [b'0,"0.5,nan,-1e-9",7,a', b'1,,,"b,c"'],
        "base64": [b"0,AAAAPwAAwH9fcImw,Bw==,a", b'1,,,"b,c"'],
    }
    for form, wanted in written.items():
        assert lines(events, tensors=form) == wanted
        found = codec("csv", schema, tensors=form).decode(raw_block([*wanted, *lines(events.take(np.array([0])), tensors=form)]))
        assert found.reasons == ()
        np.testing.assert_array_equal(found.columns[1], x[[0, 1, 0]])  # type: ignore[arg-type]
        assert found.columns[2].tolist() == [[7], [0], [7]]  # type: ignore[union-attr]
        assert [None if valid is None else valid.tolist() for valid in found.validity] == [
            None,
            [True, False, True],
            [True, False, True],
            None,
        ]
    assert lines(events, tensors={"x": "text"}, delimiter=";") == [b"0;0.5,nan,-1e-9;7;a", b"1;;;b,c"]
    found = codec("csv", schema, tensors="text", delimiter=";").decode(
        raw_block([b"0;0.5,nan,-1e-9;7;a", b'1;" 1, 2,3,";7,;b', b"2;AAAAPwAAwH9fcImw;;c"])
    )
    np.testing.assert_array_equal(found.columns[1], [x[0], [1, 2, 3], x[0]])  # type: ignore[arg-type]
    assert codec("csv", schema, tensors="text").decode(raw_block([b"0,1,2,3,7,a"])).reasons == (
        "wanted 4 columns, got 6, at byte 8",
    )


SCHEMA = Schema.parse("id:int64, x:float32[1,3]")
SPELLED = [
    b'{"x": "1.50, 2e0,0.1000,", "id": 1}',  # text
    b'{"x": [1.5,  2 , 0.1], "id": 2}',  # an array
    b'{"x": "AADAPwAAAEDNzMw9", "id": 3}',  # base64
    b'{"x": [[1.5, 2.0, 0.1]], "id": 4}',  # nested
    b'{"x": "1.5,2,+0.1", "id": 5}',  # for the generic library alone
    b'{"x": null, "id": 6}',
    b'{"x": [1], "x": "1.50,2.0,0.10", "id": 7}',  # the last one counts: it is written anew, for the generic library read it
]
ANEW = {"text": b'"1.5,2.0,0.1"', "array": b"[1.5,2.0,0.1]", "base64": b'"AADAPwAAAEDNzMw9"'}


@pytest.mark.parametrize(
    ("form", "repeated"),
    [("text", {0: b'"1.50, 2e0,0.1000,"'}), ("array", {1: b"[1.5,  2 , 0.1]"}), ("base64", {2: b'"AADAPwAAAEDNzMw9"'})],
)
def test_tensors_are_repeated_as_they_stood_where_that_is_the_form_to_write(form: str, repeated: dict[int, bytes]) -> None:
    events = read_events(SCHEMA, SPELLED)
    wanted = [b"null" if row == 5 else repeated.get(row, ANEW[form]) for row in range(7)]
    lines = [b'{"id":%d,"x":%b}' % (row + 1, text) for row, text in enumerate(wanted)]
    assert written(events, tensors=form) == lines
    rows = np.array([6, 0, 2, 1])
    assert written(events.take(rows), tensors=form) == [lines[row] for row in rows]
    assert written(events.take(rows).take(np.array([1])), tensors=form) == [lines[0]]


def test_what_is_repeated_lies_within_its_own_record_beside_bad_ones() -> None:
    found = codec("json", SCHEMA).decode(raw_block([b'{"x":"1,2"}', SPELLED[0], b"{", None, SPELLED[1]]))
    assert found.row is not None
    assert found.row.tolist() == [1, 4]
    zeros = np.zeros(2, np.int64)
    events = EventBlock(SCHEMA, found.columns, found.validity, zeros, zeros, 0, spellings=found.spellings)
    assert written(events, tensors="text") == [b'{"id":1,"x":"1.50, 2e0,0.1000,"}', b'{"id":2,"x":"1.5,2.0,0.1"}']


def test_a_tensor_that_has_changed_is_written_anew() -> None:
    events = read_events(SCHEMA, SPELLED[:1])
    x = events.columns[1]
    assert isinstance(x, np.ndarray)
    other = dataclasses.replace(events, columns=(events.columns[0], x * 2))
    assert orjson.loads(written(other, tensors="text")[0])["x"] == "3.0,4.0,0.2"
    copied = dataclasses.replace(events, columns=(events.columns[0], x.copy()))
    assert orjson.loads(written(copied, tensors="text")[0])["x"] == "1.5,2.0,0.1"
