"""The sink kind: what becomes of values, keys, headers, stamps and deletes, setting by setting."""

import json
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pydantic
import pytest

from esp.errors import QueryError
from esp.runtime.events import EventBlock, RawBlock, raw_block
from esp.runtime.headers import decode_headers, encode_headers
from esp.runtime.kinds.sink import SinkSettings
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema
from tests.runtime.kinds.laws import Case, block_of, opened

SCHEMA = "room:string, n:int64, heat:float64, acc:float32[2]"
KEYED = "room*:string, n*:int64, heat:float64, acc:float32[2]"
ROWS = [["hall", 1, 20.5, [1, 2]], ["attic", 2, None, [3, 4]], [None, 3, 22.0, None]]
TRACE = encode_headers([("trace", b"7")])
INSERT, UPDATE, UPSERT, DELETE, SAFEDELETE = range(5)


def records() -> RawBlock:
    """Where the events come from: one with a key and headers, one with a key alone, one with neither."""
    return raw_block([b"x"] * 3, topic="in", keys=[b"k0", b"k1", None], headers=[TRACE, b"", b""], ts_ms=[11, 12, 13])


def events(
    schema: str = SCHEMA, origin: list[int] | None = None, opcode: list[int] | None = None, models: tuple[str, ...] = ()
) -> EventBlock:
    """The rows; ``origin`` says which record each comes from (-1 = none)."""
    block = block_of(schema, ROWS, ts_s=[1, 2, 3], opcode=opcode)
    if origin is not None:
        block = replace(block, raw=records(), raw_row=np.array(origin))
    return replace(block, models=models)


def sent(block: EventBlock, **settings: Any) -> RawBlock:
    """The records that leave a sink."""
    stream = Stream(Schema.parse(str(block.schema)), retracts=block.opcode is not None)
    window = opened(Case("", {"kind": "sink", **settings}, stream, lambda: block))
    ports = window.on_block("in", block)
    assert [port for port, _ in ports] == ["out"]
    (raw,) = (out for _, out in ports)
    assert isinstance(raw, RawBlock)
    return raw


def values(raw: RawBlock) -> list[bytes | None]:
    return [raw.value(row) for row in range(len(raw))]


def keys(raw: RawBlock) -> list[bytes | None]:
    return [raw.key(row) for row in range(len(raw))]


def headers(raw: RawBlock) -> list[list[tuple[str, bytes | None]]]:
    return [decode_headers(raw.headers(row)) for row in range(len(raw))]


def test_json_holds_all_fields_and_nulls() -> None:
    assert [json.loads(value or b"") for value in values(sent(events()))] == [
        {"room": "hall", "n": 1, "heat": 20.5, "acc": [1, 2]},
        {"room": "attic", "n": 2, "heat": None, "acc": [3, 4]},
        {"room": None, "n": 3, "heat": 22.0, "acc": None},
    ]


def test_msgpack_holds_the_same() -> None:
    decoded = [msgpack.unpackb(value or b"") for value in values(sent(events(), format="msgpack"))]
    acc = np.array([1, 2], "<f4").tobytes()  # a tensor goes as its bytes
    assert decoded[0] == {"room": "hall", "n": 1, "heat": 20.5, "acc": acc}
    assert decoded[2] == {"room": None, "n": 3, "heat": 22.0, "acc": None}


def test_csv_holds_the_fields_that_are_named_in_their_order() -> None:
    assert values(sent(events(), format="csv", fields=["n", "room", "heat"])) == [b"1,hall,20.5", b"2,attic,", b"3,,22.0"]


def test_fields_go_out_in_the_order_named() -> None:
    assert values(sent(events(), fields=["n", "room"]))[0] == b'{"n":1,"room":"hall"}'


def test_an_option_reaches_the_codec() -> None:
    raw = sent(events(), format="msgpack", options={"layout": "array"}, fields=["room", "n"])
    assert msgpack.unpackb(values(raw)[0] or b"") == ["hall", 1]


def test_the_key_is_that_of_the_origin() -> None:
    assert keys(sent(events(KEYED, origin=[1, 0, 2]))) == [b"k1", b"k0", None]


def test_without_an_origin_the_key_fields_of_the_schema_make_the_key() -> None:
    assert keys(sent(events(KEYED))) == [b"hall|1", b"attic|2", b"|3"]
    assert keys(sent(events())) == [None] * 3


def test_the_fields_that_are_named_make_the_key_whatever_the_origin() -> None:
    assert keys(sent(events(origin=[0, 1, 2]), key=["n"])) == [b"1", b"2", b"3"]
    assert keys(sent(events(KEYED, origin=[0, 1, 2]), key=[])) == [None] * 3


def test_events_with_and_without_an_origin_in_one_block_each_keep_theirs() -> None:
    raw = sent(events(KEYED, origin=[-1, 0, -1]), model_header=True)
    assert keys(raw) == [b"hall|1", b"k0", b"|3"]
    assert headers(raw) == [[], [("trace", b"7")], []]
    assert raw.ts_ms.tolist() == [1000, 11, 3000]
    assert values(raw) == values(sent(events(KEYED)))


def test_a_record_is_the_same_whatever_travels_beside_its_event() -> None:
    block = events(KEYED, origin=[-1, 0, 1], models=("111111111111",))
    together = sent(block, model_header=True)
    alone = [sent(block.take(np.array([row])), model_header=True) for row in range(3)]
    assert [(keys(raw), headers(raw), values(raw)) for raw in alone] == [
        ([key], [head], [value]) for key, head, value in zip(keys(together), headers(together), values(together), strict=True)
    ]


def test_headers_of_the_origin_are_kept_and_the_model_stands_behind_them() -> None:
    block = events(origin=[0, 1, 0], models=("111111111111", "222222222222"))
    assert headers(sent(block)) == [[("trace", b"7")], [], [("trace", b"7")]]
    model = ("esp-model", b"222222222222")
    assert headers(sent(block, model_header=True)) == [[("trace", b"7"), model], [model], [("trace", b"7"), model]]


def test_one_header_of_the_model_serves_all_records_without_headers() -> None:
    raw = sent(events(models=("111111111111",)), model_header=True)
    assert headers(raw) == [[("esp-model", b"111111111111")]] * 3
    assert len(set(raw.header_at.tolist())) == 1


def test_the_stamp_is_that_of_the_record_or_the_time_of_the_event() -> None:
    assert sent(events(origin=[2, 1, 0])).ts_ms.tolist() == [13, 12, 11]
    assert sent(events()).ts_ms.tolist() == [1000, 2000, 3000]


def test_deletes_are_dropped_if_nothing_else_is_said() -> None:
    raw = sent(events(opcode=[INSERT, DELETE, UPSERT]), fields=["n"])
    assert values(raw) == [b'{"n":1}', b'{"n":3}']


def test_a_block_of_deletes_alone_leaves_nothing() -> None:
    block = events(opcode=[DELETE, SAFEDELETE, DELETE])
    window = opened(Case("", {"kind": "sink"}, Stream(Schema.parse(SCHEMA), retracts=True), lambda: block))
    assert window.on_block("in", block) == []


def test_deletes_become_records_without_a_value_under_the_key_of_what_they_delete() -> None:
    raw = sent(events(KEYED, origin=[0, -1, 1], opcode=[INSERT, DELETE, UPDATE]), deletes="tombstone", fields=["n"])
    assert values(raw) == [b'{"n":1}', None, b'{"n":3}']
    assert keys(raw) == [b"hall|1", b"attic|2", b"|3"]  # of the fields, for a delete has no origin


def resolved(schema: str = SCHEMA, **settings: Any) -> None:
    table = {"kind": "sink", "from": "before", **settings}
    SinkSettings.model_validate(table).resolve(Stream(Schema.parse(schema)), Environment("query.toml: windows.w"))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a field that is not there": ({"fields": ["rooom"]}, r"windows\.w\.fields: .*'rooom'.*did you mean 'room'"),
    "a key that is not there": ({"key": ["nn"]}, r"windows\.w\.key: .*'nn'.*did you mean 'n'"),
    "a field named twice": ({"fields": ["n", "n"]}, r"windows\.w\.fields: field 'n' is named twice"),
    "a tensor in the key": ({"key": ["acc"]}, r"windows\.w\.key: the tensor 'acc'"),
    "an unknown format": ({"format": "jsn"}, r"windows\.w.*'jsn'"),
    "an unknown option": ({"options": {"layuot": "array"}}, r"windows\.w.*'layuot'"),
    "a tombstone without a key": ({"deletes": "tombstone"}, r"windows\.w\.key: a tombstone needs a key; say key = "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_settings_that_do_not_fit_are_refused_at_load(fault: str) -> None:
    settings, message = FAULTS[fault]
    with pytest.raises(QueryError, match=message):
        resolved(**settings)


def test_deletes_are_dropped_or_tombstones_and_nothing_else() -> None:
    with pytest.raises(pydantic.ValidationError, match="tombstone"):
        resolved(deletes="keep")


def test_a_tombstone_finds_its_key_in_the_schema() -> None:
    resolved(KEYED, deletes="tombstone")
    resolved(deletes="tombstone", key=["room"])
