"""The JSON kernel reads by itself what it says it reads, and refuses the rest."""

import orjson
import pytest

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
