"""Dead letters: the record as it came, with the reason and its origin behind its own headers."""

import numpy as np

from esp.runtime.dead_letters import dead_letters, fitted
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


def test_a_reason_is_cut_to_five_hundred_bytes_between_letters() -> None:
    raw = raw_block([b"bad"])
    letters = dead_letters(DeadBlock(raw, np.array([0]), ("x" + "\u00fc" * 1000,), "w"), "moves")
    reason = dict(decode_headers(letters.headers(0)))["esp-reason"]
    assert reason == ("x" + "\u00fc" * 248 + "\u2026").encode()  # 1 + 2 * 248 + 3 = 500


def test_a_letter_that_is_too_large_loses_its_value_and_tells_its_size() -> None:
    raw = raw_block([b"small", b"x" * 1000, b"y" * 1000], keys=[b"a", b"b", b"k" * 1000], offsets=[4, 5, 9])
    letters = dead_letters(DeadBlock(raw, np.array([0, 1, 2]), ("why",) * 3, "w"), "moves")
    kept, cut, lost = fitted(letters, 500)
    assert (cut, lost) == (2, 0)
    assert [kept.value(row) for row in range(3)] == [b"small", None, None]
    assert [kept.key(row) for row in range(3)] == [b"a", b"b", None]
    assert kept.headers(0) == letters.headers(0)
    for row in (1, 2):
        assert decode_headers(kept.headers(row)) == [*decode_headers(letters.headers(row)), ("esp-cut", b"1000")]
    assert kept.offset.tolist() == [4, 5, 9]


def test_a_letter_whose_own_headers_are_too_large_keeps_the_headers_of_its_death() -> None:
    own = encode_headers([("own", b"h" * 1000)])
    letters = dead_letters(DeadBlock(raw_block([b"v"], headers=[own]), np.array([0]), ("why",), "w"), "moves")
    kept, cut, lost = fitted(letters, 500)
    names = [name for name, _ in decode_headers(kept.headers(0))]
    assert names == ["esp-reason", "esp-query", "esp-window", "esp-topic", "esp-partition", "esp-offset", "esp-cut"]
    assert (cut, lost) == (1, 0)
    nothing, cut, lost = fitted(letters, 10)
    assert (len(nothing), cut, lost) == (0, 0, 1)
