"""Headers keep Kafka's wire form; the expected bytes are worked out by hand from the record format (KIP-98)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.runtime.headers import decode_headers, encode_headers

headers = st.lists(st.tuples(st.text(max_size=80), st.none() | st.binary(max_size=200)), max_size=70)


def test_headers_are_counted_and_sized_by_zigzag_varints() -> None:
    # count 2 -> 4; "ab": size 2 -> 4; value of 64 bytes -> 128 = 80 01; "c": 1 -> 2; null: -1 -> 1
    assert encode_headers([("ab", b"x" * 64), ("c", None)]) == b"\x04" + b"\x04ab" + b"\x80\x01" + b"x" * 64 + b"\x02c" + b"\x01"
    assert encode_headers([]) == b""


@given(headers)
def test_headers_come_back_as_they_went(pairs: list[tuple[str, bytes | None]]) -> None:
    assert decode_headers(encode_headers(pairs)) == pairs


@pytest.mark.parametrize("data", [b"\x02", b"\x02\x04a", b"\x02\x02a\x04x", b"\x80"])
def test_headers_that_end_early_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="the headers end inside"):
        decode_headers(data)
