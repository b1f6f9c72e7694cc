"""The msgpack kernel reads by itself what it says it reads, and refuses the rest."""

from typing import Any

import msgpack
import numpy as np
import pytest

from esp.runtime.codecs import codec
from esp.runtime.events import EventBlock, raw_block
from esp.runtime.schema import Schema
from tests.kernels.refused import refused

INTEGERS = [sign * (1 << bits) + step for bits in (0, 5, 7, 8, 15, 16, 31, 32, 62) for step in (-1, 0, 1) for sign in (1, -1)]


def test_integers_of_all_widths() -> None:
    values = [msgpack.packb([number]) for number in INTEGERS] + [
        b"\x91\xd3" + (7).to_bytes(8, "big"),
        b"\x91\xd0\xff",
        b"\x91\xcc\x01",
    ]
    assert refused("msgpack", "a:int64", values) == []
    found = codec("msgpack", Schema.parse("a:int64")).decode(raw_block(values))
    assert np.asarray(found.columns[0]).tolist() == [*INTEGERS, 7, -1, 1]


def test_integers_are_written_as_the_generic_library_writes_them() -> None:
    zeros = np.zeros(len(INTEGERS), np.int64)
    events = EventBlock(Schema.parse("a:int64"), (np.array(INTEGERS),), (None,), zeros, zeros, 0)
    buffer, at, size = codec("msgpack", events.schema, layout="array").encode(events)
    assert [buffer[start : start + length].tobytes() for start, length in zip(at, size)] == [
        msgpack.packb([number]) for number in INTEGERS
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"a": 1, "x": {"deep": [1, {"k": None}], "n": 1.5}}, {"a": 1, "x": b"\xff" * 70_000}, {"x": "é" * 300, "a": 1}, [1, [2, [3]], "more"],
        {"a": True and 1, **{f"f{at}": at for at in range(40)}}, {"a": None}, {}, [],
    ],
)  # fmt: skip
def test_unknown_values_are_skipped(record: Any) -> None:
    assert refused("msgpack", "a:int64", [msgpack.packb(record)]) == []


@pytest.mark.parametrize(
    "value",
    [
        b"\xc1", b"\x81", b"\x81\xa1a", b"\x92\x01", b"\x91\x01\x01", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff\x01", b"\x92\x01\xa1\xff",
        b"\x92\x01\xdb\xff\xff\xff\xff", b"\x92\x01\xc6\x7f\xff\xff\xff", b"\x91\xca\x00", b"\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\x82\xa1\xed",
        b"\x92\x01" + b"\x91" * 2000 + b"\x01", b"\x92\x01\xd6\xff\x00\x00\x00\x00", b"\x81\x01\x01",
    ],
)  # fmt: skip
def test_what_is_broken_or_rare_is_refused(value: bytes) -> None:
    assert refused("msgpack", "a:int64", [value]) == [0]


def test_tensors_are_read_from_bytes_and_arrays() -> None:
    values = [[b"\1\2\3\4\5\6"], [[1, 2, 3, 4, 5, 6]], [[[1, 2, 3], [4, 5, 6]]], [None]]
    assert refused("msgpack", "a:uint8[2,3]", [msgpack.packb(value) for value in values]) == []
    wrong = [[b"\1\2\3\4\5"], [[1, 2, 3, 4, 5, 256]], [[[1, 2], [3, 4], [5, 6]]], [[1, 2, 3, 4, 5]], ["abcdef"]]
    assert refused("msgpack", "a:uint8[2,3]", [msgpack.packb(value) for value in wrong]) == [0, 1, 2, 3, 4]
