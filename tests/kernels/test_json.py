"""The JSON kernel reads by itself what it says it reads, and refuses the rest."""

import json
from random import Random

import orjson
import pytest

from esp.runtime.codecs import codec
from esp.runtime.events import VarColumn, raw_block
from esp.runtime.schema import Schema
from tests.kernels.refused import refused


@pytest.mark.parametrize(
    "value",
    [
        b'{"a":1}', b' { "a" : 1 } \r\n', b"{}", b'{"a":null}', b'{"b":"text","a":-5}', b'{"b":[1,[2,[]],{},{"c":[true,false,null]}],"a":1}',
        b'{"b":{"c":{"d":{"e":[1.5e-3]}}},"a":1}', '{"ü":"東京 😀","a":1}'.encode(), b'{"b":"' + b"x" * 1000 + b'","a":1}', b'{"a":9223372036854775807}',
    ],
)  # fmt: skip
def test_usual_records_are_read(value: bytes) -> None:
    assert refused("json", "a:int64", [value]) == []


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1}}', b'{"a":1,}', b'{,"a":1}', b'{"a" 1}', b'{"a":+1}', b'{"a":01}', b'{"a":1.}', b'{"a":.5}',
        b'{"a":1e}', b'{"a":--1}', b'{"b":tru}', b'{"b":[1,]}', b'{"b":[1}', b'{"b":{"c"}}', b'{"b":{"c":1]}', b'{"b":"\\x"}', b'{"b":"\n"}', b'{"b":"\xff"}',
        b'{"b":"\xc0\xaf"}', b'{"b":"\xed\xa0\x80"}', b'{"b":"\xf4\x90\x80\x80"}', b'{"b":"\xe2\x82"}', b"[1]", b"1", b"\xef\xbb\xbf{}", b'{"b":1e999}', b"{'a':1}",
        b'{"b":NaN}', b'{"a":"1"}', b'{"a":9223372036854775808}', b'{"b":' + b"[" * 70 + b"]" * 70 + b"}",
    ],
)  # fmt: skip
def test_what_is_broken_or_rare_is_refused(value: bytes) -> None:
    assert refused("json", "a:int64", [value]) == [0]


def test_escapes_are_read_by_the_kernel_as_python_writes_them() -> None:
    random = Random(3)
    letters = [
        "a",
        "\n",
        "é",
        "€",
        "😀",
        '"',
        "\\",
        "/",
        "\x00",
        "\x1f",
        "\x7f",
        "\u07ff",
        "\u0800",
        "\ud7ff",
        "\ue000",
        "\uffff",
        "\U00010000",
        "\U0010ffff",
    ]
    texts = [
        *letters,
        "",
        "x" * 50 + "\n" + "y" * 9,
        *("".join(random.choices(letters, k=random.randrange(20))) for _ in range(500)),
    ]
    values = [
        json.dumps({"a": text, "b": [text]}, ensure_ascii=at % 3 > 0).replace("/", "\\/" * (at % 2) or "/").encode()
        for at, text in enumerate(texts)
    ]
    assert refused("json", "a:string", values) == []
    column = codec("json", Schema.parse("a:string")).decode(raw_block(values)).columns[0]
    assert isinstance(column, VarColumn)
    assert [column.value(row).decode() for row in range(len(texts))] == texts


@pytest.mark.parametrize(
    "text",
    [
        r"\ud83d",
        r"\ude00",
        r"\ud83dx",
        r"\ud83d\u0041",
        r"\u12g4",
        r"\x",
        r"\u12",
        r"\ud83d\ud83d\ude00",
        "\\\\\\",
        "\\n\x01",
        "\\n\xff",
    ],
)
def test_escapes_that_are_none_are_refused(text: str) -> None:
    value = b'{"a":"' + text.encode("latin-1") + b'"}'
    assert refused("json", "a:string", [value, value.replace(b"a", b"b")]) == [0, 1]
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(value)


def test_tensors_are_read_flat_nested_and_from_base64() -> None:
    values = [b'{"a":[1,2,3,4]}', b'{"a":[[1,2],[3,4]]}', b'{"a": [ [ 1 , 2 ] , [ 3 , 4 ] ] }', b'{"a":"AQIDBA=="}']
    assert refused("json", "a:uint8[2,2]", values) == []
    wrong = [
        b'{"a":[1,2,3]}',
        b'{"a":[[1,2],[3]]}',
        b'{"a":[[1,2,3,4]]}',
        b'{"a":"AQID"}',
        b'{"a":[1,2,3,4,]}',
        b'{"a":[1,2,3,256]}',
        b'{"a":[[1,2],[3,4]'[:-1],
    ]
    assert refused("json", "a:uint8[2,2]", wrong) == list(range(7))


def test_every_text_that_the_kernel_reads_is_json() -> None:
    pieces = [b"{", b"}", b"[", b"]", b'"b"', b":", b",", b"1", b"null", b" "]
    texts = [b"{" + one + two + three + four for one in pieces for two in pieces for three in pieces for four in pieces]
    left = set(refused("json", "a:int64", texts))
    for row, text in enumerate(texts):
        if row not in left:
            assert isinstance(orjson.loads(text), dict)
