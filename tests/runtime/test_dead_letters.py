"""Dead letters: the record as it came, with the reason and its origin behind its own headers."""

import numpy as np

from esp.runtime.dead_letters import dead_letters
from esp.runtime.events import DeadBlock, raw_block
from esp.runtime.headers import decode_headers, encode_headers


def test_a_dead_letter_is_the_record_with_its_reason_and_origin() -> None:
    own = encode_headers([("trace", b"7"), ("trace", b"8")])
    raw = raw_block(
        [b"good", b"\xff\x00bad", None], topic="samples", partition=5, keys=[b"a", b"\x01key", None], headers=[b"", own, b""],
        offsets=[10, 12, 40], ts_ms=[1, 2, 3],
    )  # fmt: skip
    letters = dead_letters(DeadBlock(raw, np.array([1, 2]), ("not JSON: \u00fc", "value is null"), "w"), "moves")
    assert [letters.value(row) for row in range(2)] == [b"\xff\x00bad", None]
    assert [letters.key(row) for row in range(2)] == [b"\x01key", None]
    assert letters.ts_ms.tolist() == [2, 3]
    assert letters.partition == 5
    origin = [("esp-query", b"moves"), ("esp-window", b"w"), ("esp-topic", b"samples"), ("esp-partition", b"5")]
    assert decode_headers(letters.headers(0)) == [
        ("trace", b"7"), ("trace", b"8"), ("esp-reason", "not JSON: \u00fc".encode()), *origin, ("esp-offset", b"12"),
    ]  # fmt: skip
    assert decode_headers(letters.headers(1)) == [("esp-reason", b"value is null"), *origin, ("esp-offset", b"40")]


def test_a_letter_that_is_replayed_and_dies_again_keeps_its_first_origin() -> None:
    first = dead_letters(DeadBlock(raw_block([b"bad"], topic="samples"), np.array([0]), ("first",), "w"), "moves")
    again = dead_letters(DeadBlock(first, np.array([0]), ("second",), "w"), "moves")
    reasons = [value for name, value in decode_headers(again.headers(0)) if name == "esp-reason"]
    assert reasons == [b"first", b"second"]
