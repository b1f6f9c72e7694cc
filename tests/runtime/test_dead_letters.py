"""Dead letters: the record as it came, with the reason and its origin behind its own headers."""

from random import Random

import numpy as np
import pytest

from esp.runtime.dead_letters import DeadLetters, dead_letters, fitted, posted
from esp.runtime.events import DeadBlock, RawBlock, raw_block
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


def test_letters_of_several_windows_are_one_block_with_the_headers_of_each(caplog: pytest.LogCaptureFixture) -> None:
    raw = raw_block([b"a", b"b", b"c"], topic="samples", partition=3, offsets=[7, 8, 9], ts_ms=[1, 2, 3])
    read, scored = (
        DeadBlock(raw, np.array([0, 2]), ("no", "nor that"), "read"),
        DeadBlock(raw, np.array([1]), ("is NaN",), "scored"),
    )
    letters = posted([read, scored], "moves")
    headers = [dict(decode_headers(letters.headers(row))) for row in range(3)]
    assert isinstance(letters, DeadLetters)
    assert [letters.value(row) for row in range(3)] == [b"a", b"c", b"b"]
    assert [one["esp-window"] for one in headers] == [b"read", b"read", b"scored"]
    assert [one["esp-reason"] for one in headers] == [b"no", b"nor that", b"is NaN"]
    assert [one["esp-offset"] for one in headers] == [b"7", b"9", b"8"]
    assert (letters.partition, letters.ts_ms.tolist()) == (3, [1, 3, 2])
    assert [record.message for record in caplog.records] == [
        "query moves window read: 2 dead, the first at samples/3 offset 7: no",
        "query moves window scored: 1 dead, the first at samples/3 offset 8: is NaN",
    ]


def naive(raw: RawBlock, row: int, reason: str, window: str) -> list[tuple[str, bytes | None]]:
    """The headers of a letter as the README has them."""
    encoded = reason.encode(errors="replace")
    short = encoded if len(encoded) <= 500 else (encoded[:497].decode(errors="ignore") + "\u2026").encode()
    told = {"reason": short, "query": b"q", "window": window.encode(), "topic": raw.topic.encode(), "partition": b"5"}
    own = decode_headers(raw.headers(row))
    return [*own, *((f"esp-{name}", value) for name, value in told.items()), ("esp-offset", b"%d" % raw.offset[row])]


def test_letters_are_what_python_makes_of_them() -> None:
    rng, n = Random(5), 300
    parts = [None if rng.random() < 0.2 else rng.randbytes(rng.choice((0, 1, 70, 5000))) for _ in range(2 * n)]
    own = [
        encode_headers([(f"h{at}", rng.choice((None, b"", b"x" * 200))) for at in range(rng.choice((0, 0, 1, 3, 100)))])
        for _ in range(n)
    ]
    offsets = sorted(rng.randrange(10 ** rng.randrange(1, 19)) for _ in range(n))
    raw = raw_block(parts[:n], topic="t\u00fc", partition=5, keys=parts[n:], headers=own, offsets=offsets)
    reasons = ["".join(rng.choices("a\u00fc\u20ac\U0001f600\ud800", k=rng.choice((0, 5, 63, 64, 300, 500)))) for _ in range(n)]
    rows = np.array(sorted(rng.sample(range(n), 200)), np.int64)
    letters = dead_letters(DeadBlock(raw, rows, tuple(reasons[row] for row in rows), "w\u00f6"), "q")
    for at, row in enumerate(rows.tolist()):
        assert (letters.value(at), letters.key(at)) == (raw.value(row), raw.key(row))
        assert decode_headers(letters.headers(at)) == naive(raw, row, reasons[row], "w\u00f6")


def test_headers_without_an_end_to_their_number_are_left_out() -> None:
    raw = raw_block([b"v", b"w"], headers=[b"\xff\xff", b"\xff" * 40])
    letters = dead_letters(DeadBlock(raw, np.array([0, 1]), ("why", "why"), "w"), "q")
    assert [next(name for name, _ in decode_headers(letters.headers(row))) for row in range(2)] == ["esp-reason"] * 2
