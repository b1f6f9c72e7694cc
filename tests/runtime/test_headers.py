"""Record headers in their wire form: more are laid behind those that are there."""

import pytest

from esp.runtime.headers import add_headers, decode_headers, encode_headers


def test_added_headers_stand_behind_those_that_are_there() -> None:
    # count 1, name of 1 byte "a", value of 1 byte "x"; zigzag varints double their number
    assert add_headers(b"", [("a", b"x")]) == b"\x02\x02a\x02x"
    assert add_headers(b"\x02\x02a\x02x", [("a", None)]) == b"\x04\x02a\x02x\x02a\x01"
    assert add_headers(b"", []) == b""


def test_a_name_that_is_no_text_is_kept() -> None:
    odd = b"\x02\x04\xff\xfe\x02x"
    assert add_headers(odd, []) == odd
    assert add_headers(odd, [("a", b"")]) == b"\x04\x04\xff\xfe\x02x\x02a\x00"


@pytest.mark.parametrize("cut", range(1, 12))
def test_bytes_that_end_early_are_refused(cut: int) -> None:
    whole = encode_headers([("name", b"value")])
    assert len(whole) == 12
    with pytest.raises(ValueError, match="the headers end"):
        decode_headers(whole[:cut])


def test_headers_come_back_as_they_went_in() -> None:
    pairs = [("a", b""), ("", b"x" * 200), ("n" * 70, None), ("\udcff\udcfe", b"odd name"), ("a", b"again")]
    assert decode_headers(encode_headers(pairs)) == pairs
    assert decode_headers(add_headers(encode_headers(pairs[:2]), pairs[2:])) == pairs
