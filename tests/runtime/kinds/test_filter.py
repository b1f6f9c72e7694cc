"""The filter kind: what is true stays, with its times and its origin; what is false or null goes."""

import numpy as np
import pytest

from esp.errors import QueryError
from esp.runtime.events import EventBlock, Opcode, VarColumn, raw_block
from esp.runtime.kinds.filter import FilterSettings
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema

SCHEMA = Schema.parse("id*:int64, temp:float64, unit:string")
STREAM = Stream(SCHEMA, partitioned_by=("id",))
ENV = Environment("q.toml: windows.hot")


def block() -> EventBlock:
    """Ids 0 to 4: 10 C, 40 C, null C, 50 F (an update), 40 C (a delete)."""
    valid = np.array([True, True, False, True, True])
    return EventBlock(
        SCHEMA,
        (np.arange(5), np.array([10.0, 40.0, 0.0, 50.0, 40.0]), VarColumn.of(["C", "C", "C", "F", "C"])),
        (None, valid, None),
        ts_ns=np.arange(5) * 10, watermark_ns=np.arange(5) * 10 - 1, end_watermark_ns=99,
        opcode=np.array([Opcode.INSERT, Opcode.INSERT, Opcode.INSERT, Opcode.UPDATE, Opcode.DELETE], np.uint8),
        raw=raw_block([b"a", b"b", b"c", b"d", b"e"]), raw_row=np.arange(5),
    )  # fmt: skip


def run(where: str, taken: EventBlock) -> EventBlock:
    settings = FilterSettings.model_validate({"kind": "filter", "from": "in", "where": where})
    settings.resolve(STREAM, ENV)
    [(port, given)] = settings.build(STREAM, ENV).on_block("in", taken)
    assert port == "out"
    assert isinstance(given, EventBlock)
    return given


def test_only_events_for_which_it_is_true_stay_and_null_is_not_true() -> None:
    given = run("temp > 30", block())
    assert given.column("id").tolist() == [1, 3, 4]  # type: ignore[union-attr]
    assert given.ts_ns.tolist() == [10, 30, 40]
    assert given.watermark_ns.tolist() == [9, 29, 39]
    assert run("not temp > 30", block()).ts_ns.tolist() == [0]


def test_updates_and_deletes_are_judged_on_their_own_values() -> None:
    given = run("temp > 30 and unit == 'C'", block())
    assert given.opcode is not None
    assert given.opcode.tolist() == [Opcode.INSERT, Opcode.DELETE]


def test_the_origin_and_the_watermark_stay_even_when_all_events_go() -> None:
    assert run("temp > 45", block()).raw_row.tolist() == [3]  # type: ignore[union-attr]
    empty = run("False", block())
    assert len(empty) == 0
    assert empty.end_watermark_ns == 99


def test_a_block_of_which_all_stays_goes_on_as_it_is() -> None:
    whole = block()
    assert run("id >= 0", whole) is whole


@pytest.mark.parametrize("cut", range(6))
def test_how_the_stream_is_cut_does_not_show(cut: int) -> None:
    whole = block()
    parts = [run("temp > 30", whole.take(rows)) for rows in (np.arange(cut), np.arange(cut, 5))]
    assert [ts for part in parts for ts in part.ts_ns] == run("temp > 30", whole).ts_ns.tolist()


def test_the_stream_is_known_as_it_was() -> None:
    settings = FilterSettings.model_validate({"kind": "filter", "from": "in", "where": "temp > 30"})
    assert settings.resolve(STREAM, ENV) == {"out": STREAM}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "temp",
            "q.toml: windows.hot.where: a filter wants a bool, and 'temp' is float64; compare it with something, such as x > 0",
        ),
        ("tmp > 3", "q.toml: windows.hot.where: expression 'tmp > 3', column 1: there is no field 'tmp'; did you mean 'temp'?"),
    ],
)
def test_a_condition_that_is_none_is_refused_at_load(where: str, message: str) -> None:
    settings = FilterSettings.model_validate({"kind": "filter", "from": "in", "where": where})
    with pytest.raises(QueryError) as caught:
        settings.resolve(STREAM, ENV)
    assert str(caught.value) == message
