"""The copy window against lists of rows a key."""

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from esp.errors import QueryError
from esp.runtime.events import EventBlock, Opcode, VarColumn, raw_block
from esp.runtime.kinds.copy import CopySettings
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema
from tests.runtime.kinds.laws import Case, block_of, opened

SCHEMA = "device*:string, n:int64, image:uint8[2,2], note:blob"
STREAM = Stream(Schema.parse(SCHEMA), partitioned_by=("device",))
ENV = Environment("query.toml: windows.keep")


def cells(block: EventBlock) -> list[tuple[Any, ...]]:
    """Opcode, event time in s, watermark in s and the values of each row."""
    out = []
    for row in range(len(block)):
        values = []
        for column, valid in zip(block.columns, block.validity, strict=True):
            value = column.value(row) if isinstance(column, VarColumn) else np.asarray(column[row]).tolist()
            values.append(None if valid is not None and not valid[row] else value)
        code = 0 if block.opcode is None else int(block.opcode[row])
        out.append((code, block.ts_ns[row] / 1e9, block.watermark_ns[row] / 1e9, *values))
    return out


@pytest.mark.parametrize("keep", [1, 3, 10])
def test_rows_that_fall_out_are_deleted_with_all_their_values(keep: int) -> None:
    rng = random.Random(keep)
    window = opened(Case("", {"kind": "copy", "keep": keep}, STREAM, lambda: block))
    kept: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for _ in range(12):
        n = rng.randrange(1, 20)
        rows = [
            [rng.choice([None, b"a", b"b"]), rng.choice([None, i]), [[i, 1], [2, 3]], rng.choice([None, rng.randbytes(5)])]
            for i in range(n)
        ]
        block = block_of(SCHEMA, rows, ts_s=[rng.randrange(100) for _ in rows])
        wanted = []
        for row, ts, watermark in zip(rows, block.ts_ns / 1e9, block.watermark_ns / 1e9, strict=True):
            wanted.append((Opcode.INSERT, ts, watermark, *row))
            kept[row[0]].append((ts, *row))
            if len(kept[row[0]]) > keep:
                old_ts, *old = kept[row[0]].pop(0)
                wanted.append((Opcode.DELETE, old_ts, watermark, *old))
        [(port, out)] = window.on_block("in", block)
        assert port == "out"
        assert cells(out) == wanted


def test_a_delete_comes_from_no_record_and_an_insert_from_its_own() -> None:
    raw = raw_block([b"1", b"2", b"3"], offsets=[7, 8, 9])
    rows = [[b"a", 1, np.zeros((2, 2)), b""]] * 3
    block = block_of(SCHEMA, rows, ts_s=[1, 2, 3], raw=raw)
    [(_, out)] = opened(Case("", {"kind": "copy", "keep": 2}, STREAM, lambda: block)).on_block("in", block)
    assert isinstance(out, EventBlock)
    assert out.raw is raw
    assert out.raw_row is not None
    assert out.raw_row.tolist() == [0, 1, 2, -1]


def test_a_block_that_pushes_nothing_out_passes_on_as_it_is() -> None:
    block = block_of(SCHEMA, [[b"a", 1, np.zeros((2, 2)), b""]], ts_s=[1])
    [(_, out)] = opened(Case("", {"kind": "copy", "keep": 2}, STREAM, lambda: block)).on_block("in", block)
    assert out is block


def refusal(stream: Stream, **settings: Any) -> str:
    with pytest.raises(QueryError) as caught:
        CopySettings.model_validate({"kind": "copy", "from": "in", "keep": 2, **settings}).resolve(stream, ENV)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_stream_that_retracts_is_refused() -> None:
    assert "takes no updates or deletes" in refusal(Stream(STREAM.schema, True, ("device",)))


def test_a_key_without_what_the_source_is_partitioned_by_is_refused() -> None:
    message = refusal(STREAM, by=["n"])
    assert "several partitions" in message
    assert 'add device to by, or say scope = "partition"' in message
    CopySettings.model_validate({"kind": "copy", "keep": 2, "by": ["n"], "scope": "partition"}).resolve(STREAM, ENV)


def test_a_source_that_does_not_say_what_it_is_partitioned_by_is_refused() -> None:
    assert "say partitioned_by on the source" in refusal(Stream(STREAM.schema))


def test_one_partition_takes_any_key() -> None:
    CopySettings.model_validate({"kind": "copy", "keep": 2, "by": ["n"]}).resolve(Stream(STREAM.schema, partitioned_by=()), ENV)


def test_an_unknown_key_field_names_the_nearest() -> None:
    assert "did you mean 'device'?" in refusal(STREAM, by=["devise"])


def test_a_tensor_is_no_key() -> None:
    assert "'image' cannot be part of a key" in refusal(STREAM, by=["device", "image"])


def test_a_schema_without_keys_wants_by() -> None:
    assert "which fields make the key" in refusal(Stream(Schema.parse("n:int64"), partitioned_by=()))


def test_a_ring_past_all_sense_is_refused() -> None:
    wide = Stream(Schema.parse("device*:string, acc:float32[1000]"), partitioned_by=("device",))
    assert "windows.keep.keep: 4026000000 bytes are to be kept of each key" in refusal(
        wide, keep=1_000_000
    )  # 8 + 2 + 16 + 4000 a row
    CopySettings.model_validate({"kind": "copy", "keep": 266_000}).resolve(wide, ENV)
