"""The compute kind: fields made, replaced, kept and dropped, with keys and what is known of the partitions."""

from typing import Any

import numpy as np
import pytest

from esp.errors import QueryError
from esp.runtime.events import EventBlock, Opcode, VarColumn, raw_block
from esp.runtime.kinds.compute import ComputeSettings
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema

SCHEMA = Schema.parse("id*:int64, temp:float32, unit:string")
STREAM = Stream(SCHEMA, retracts=True, partitioned_by=("id",))
ENV = Environment("q.toml: windows.fix")


def block() -> EventBlock:
    """32 F, null C, 20 C (a delete)."""
    return EventBlock(
        SCHEMA,
        (np.array([7, 8, 9]), np.array([32, 0, 20], np.float32), VarColumn.of(["F", "C", "C"])),
        (None, np.array([True, False, True]), None),
        ts_ns=np.array([10, 20, 30]), watermark_ns=np.array([9, 19, 29]), end_watermark_ns=99,
        opcode=np.array([Opcode.INSERT, Opcode.INSERT, Opcode.DELETE], np.uint8),
        raw=raw_block([b"a", b"b", b"c"]), raw_row=np.arange(3),
    )  # fmt: skip


def window(**keys: Any) -> ComputeSettings:
    return ComputeSettings.model_validate({"kind": "compute", "from": "in", **keys})


def run(taken: EventBlock, **keys: Any) -> EventBlock:
    settings = window(**keys)
    [(port, given)] = settings.build(STREAM, ENV).on_block("in", taken)
    assert port == "out"
    assert isinstance(given, EventBlock)
    assert given.schema == settings.resolve(STREAM, ENV)["out"].schema
    return given


def test_a_new_field_comes_after_the_others_and_a_known_one_is_replaced_in_its_place() -> None:
    given = run(block(), fields={"celsius": "(temp - 32) / 1.8 if unit == 'F' else temp", "unit": "'C'", "is_hot": "temp > 25"})
    assert str(given.schema) == "id*:int64, temp:float32, unit:string, celsius:float64, is_hot:bool"
    assert given.column("celsius").tolist() == [0.0, 0.0, 20.0]  # type: ignore[union-attr]
    assert given.column("is_hot").tolist() == [True, False, False]  # type: ignore[union-attr]
    assert [given.column("unit").value(row) for row in range(3)] == [b"C"] * 3  # type: ignore[union-attr]
    assert [None if valid is None else valid.tolist() for valid in given.validity] == [
        None, [True, False, True], None, [True, False, True], [True, False, True],
    ]  # fmt: skip


def test_times_opcodes_and_origins_stay() -> None:
    taken = block()
    given = run(taken, fields={"x": "id + 1"})
    assert given.ts_ns is taken.ts_ns
    assert given.watermark_ns is taken.watermark_ns
    assert given.end_watermark_ns == 99
    assert given.opcode is taken.opcode
    assert given.raw is taken.raw
    assert given.raw_row is taken.raw_row


def test_every_expression_sees_the_fields_as_they_came_in() -> None:
    given = run(block(), fields={"id": "id + 1", "next": "id + 10"})
    assert given.column("id").tolist() == [8, 9, 10]  # type: ignore[union-attr]
    assert given.column("next").tolist() == [17, 18, 19]  # type: ignore[union-attr]


def test_fields_are_kept_or_dropped() -> None:
    assert run(block(), keep=["unit", "id"]).schema.names == ("id", "unit")
    assert run(block(), drop=["unit"], fields={"x": "len(unit)"}).schema.names == ("id", "temp", "x")
    assert str(run(block(), keep=[], fields={"temp": "int(temp)"}).schema) == "temp:int64"


@pytest.mark.parametrize(
    ("keys", "keys_left", "known"),
    [
        ({"fields": {"x": "id"}}, ("id",), ("id",)),
        ({"fields": {"id": "id // 10"}}, ("id",), None),
        ({"drop": ["id"]}, (), None),
        ({"keep": ["id"]}, ("id",), ("id",)),
    ],
)
def test_a_key_survives_and_the_partitioning_is_known_while_its_fields_are_as_they_were(
    keys: Any, keys_left: tuple[str, ...], known: tuple[str, ...] | None
) -> None:
    stream = window(**keys).resolve(STREAM, ENV)["out"]
    assert stream.schema.keys == keys_left
    assert stream.partitioned_by == known
    assert stream.retracts


def test_one_partition_stays_one_whatever_is_replaced() -> None:
    assert window(fields={"id": "1"}).resolve(Stream(SCHEMA, partitioned_by=()), ENV)["out"].partitioned_by == ()


@pytest.mark.parametrize("cut", range(4))
def test_how_the_stream_is_cut_does_not_show(cut: int) -> None:
    fields, whole = {"x": "temp * 2 + id", "s": "unit + str(id)"}, block()
    parts = [run(whole.take(rows), fields=fields) for rows in (np.arange(cut), np.arange(cut, 3))]
    wanted = run(whole, fields=fields)
    assert [x for part in parts for x in part.column("x").tolist()] == wanted.column("x").tolist()  # type: ignore[union-attr]
    assert b"".join(part.column("s").data.tobytes() for part in parts) == b"F7C8C9"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fields": {"x": "tem"}}, "q.toml: windows.fix.fields.x: expression 'tem', column 1: there is no field 'tem'; did you mean 'temp'?"),
        ({"fields": {"a b": "1"}}, "q.toml: windows.fix.fields: 'a b' is no name of a field; use letters, digits and underscores, such as temp_c"),
        ({"drop": ["untit"]}, "q.toml: windows.fix.drop: there is no field 'untit'; did you mean 'unit'?"),
        ({"keep": ["id"], "drop": ["unit"]}, "q.toml: windows.fix: keep and drop are both set; say which fields stay or which go, not both"),
        ({"keep": []}, "q.toml: windows.fix: no field is left; keep a field, or compute one"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_input_are_refused_at_load(keys: Any, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        window(**keys).resolve(STREAM, ENV)
    assert str(caught.value) == message
