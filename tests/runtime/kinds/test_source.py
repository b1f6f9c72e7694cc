"""The source window: event time, watermark and dead letters of records written by hand."""

import json
from typing import Any

import pytest

from esp.errors import QueryError
from esp.runtime.events import END_NS, NEVER_NS, DeadBlock, EventBlock, RawBlock, raw_block
from esp.runtime.kinds.source import SourceSettings, SourceWindow
from esp.runtime.kinds.window import Environment
from tests.runtime.kinds.laws import Case, opened

ENV = Environment("query.toml: windows.in")
BASE = {"kind": "source", "schema": "device*:string, at:stamp(ms), p:float64"}
MS = 1_000_000


def source(**settings: Any) -> SourceWindow:
    window = opened(Case("", {**BASE, **settings}, None, lambda: raw_block([]), ENV))
    assert isinstance(window, SourceWindow)
    return window


def records(*values: Any, **columns: Any) -> RawBlock:
    """JSON records; bytes stand as they are."""
    return raw_block([value if isinstance(value, bytes) else json.dumps(value).encode() for value in values], **columns)


def event(at: int | None, p: float = 0.5) -> dict[str, Any]:
    return {"device": "a", "at": at, "p": p}


def taken(window: SourceWindow, raw: RawBlock) -> tuple[EventBlock, DeadBlock | None]:
    (_, out), *dead = window.on_block("in", raw)
    assert isinstance(out, EventBlock)
    return out, dead[0][1] if dead else None  # type: ignore[return-value]


def test_the_watermark_is_the_running_maximum_of_event_time_less_the_delay() -> None:
    out, dead = taken(source(time="at", max_delay="20ms"), records(*map(event, [100, 150, 120, 170])))
    assert dead is None
    assert (out.ts_ns // MS).tolist() == [100, 150, 120, 170]
    assert (out.watermark_ns // MS).tolist() == [80, 130, 130, 150]
    assert out.end_watermark_ns == 150 * MS


def test_event_time_is_the_records_stamp_where_no_field_is_named() -> None:
    out, _ = taken(source(), records(event(1), event(2), ts_ms=[7, 5]))
    assert (out.ts_ns // MS).tolist() == [7, 5]
    assert (out.watermark_ns // MS).tolist() == [7, 7]


def test_the_watermark_goes_on_from_block_to_block() -> None:
    window = source(time="at")
    taken(window, records(event(500)))
    out, _ = taken(window, records(event(100), event(600)))
    assert (out.watermark_ns // MS).tolist() == [500, 600]


def test_bad_records_and_null_times_are_dead_letters_in_order_and_move_no_watermark() -> None:
    values = [event(None), b"{", event(40), {"device": "a", "at": "soon"}, event(None), event(50)]
    raw = records(*values, offsets=[10, 11, 12, 13, 14, 15])
    out, dead = taken(source(time="at"), raw)
    assert out.raw is raw
    assert out.raw_row is not None
    assert out.raw_row.tolist() == [2, 5]
    assert (out.watermark_ns // MS).tolist() == [40, 50]
    assert dead is not None
    assert dead.row.tolist() == [0, 1, 3, 4]
    assert dead.window == "w"
    assert [reason == "field 'at', the event time, is null" for reason in dead.reasons] == [True, False, False, True]


RANGE = "is no event time: it is to lie between 1823-11-12 and 2116-02-20"


def test_record_stamps_out_of_range_are_dead_letters_and_never_wrap() -> None:
    stamps = [9_223_372_036_854_775_807, 7, 2**62 // MS, -(2**62) // MS, 2**62 // MS + 1, 5]
    out, dead = taken(source(), records(*[event(1)] * 6, ts_ms=stamps))
    assert (out.ts_ns // MS).tolist() == [7, stamps[2], 5]
    assert out.raw_row is not None
    assert out.raw_row.tolist() == [1, 2, 5]
    assert (out.watermark_ns // MS).tolist() == [7, stamps[2], stamps[2]]
    assert dead is not None
    assert dead.row.tolist() == [0, 3, 4]
    assert dead.reasons[0] == f"the record's time stamp, 9223372036854775807 ms, {RANGE}"


def test_event_times_near_the_limits_of_int64_are_dead_letters_with_value_and_range() -> None:
    window = source(schema="device*:string, at:stamp(ns), p:float64", time="at", max_delay="1ns")
    out, dead = taken(window, records(event(2**62 - 1), event(2**62), event(2**63 - 1), event(-(2**62)), event(1 - 2**62)))
    assert out.ts_ns.tolist() == [2**62 - 1, 1 - 2**62]
    assert out.watermark_ns.tolist() == [2**62 - 2] * 2
    assert dead is not None
    assert dead.reasons == tuple(f"field 'at', {ns} ns, {RANGE}" for ns in (2**62, 2**63 - 1, -(2**62)))


def test_a_block_of_bad_records_only_leaves_the_watermark_where_it_was() -> None:
    window = source(time="at")
    out, dead = taken(window, records(b"{"))
    assert (len(out), out.end_watermark_ns) == (0, NEVER_NS)
    assert dead is not None
    taken(window, records(event(9)))
    assert taken(window, records(b"{"))[0].end_watermark_ns == 9 * MS


def test_the_end_of_a_bounded_stream_is_a_watermark_after_everything() -> None:
    [(port, block)] = source().end_of_stream()
    assert isinstance(block, EventBlock)
    assert (port, len(block), block.end_watermark_ns, block.schema.names) == ("out", 0, END_NS, ("device", "at", "p"))


def refusal(env: Environment = ENV, **settings: Any) -> str:
    with pytest.raises(QueryError) as caught:
        SourceSettings.model_validate({**BASE, **settings}).resolve(None, env)
    return str(caught.value)


def test_settings_that_cannot_be_are_refused() -> None:
    assert refusal(time="att") == "query.toml: windows.in.time: there is no field 'att'; did you mean 'at'?"
    assert "event time 'p' is a float64" in refusal(time="p")
    assert "there is no field 'lane'" in refusal(partitioned_by=["lane"])
    assert refusal(schema="p:float46").startswith("query.toml: windows.in.schema: field 'p' has the unknown type 'float46'")
    assert refusal(format="xml").startswith("query.toml: windows.in: there is no codec 'xml'")
    assert "no fields" in refusal(schema=" ")


def test_defaults_fill_fields_and_required_ones_refuse_events() -> None:
    window = source(time="at", defaults={"at": "2001-09-09T01:46:40Z", "p": 2.5}, required=["device"])
    out, dead = taken(window, records({"device": "a"}, {"p": 1.0}, {"device": "b", "at": 1_000_000_000_001, "p": None}))
    assert (out.ts_ns // MS).tolist() == [1_000_000_000_000, 1_000_000_000_001]
    assert out.column("p").tolist() == [2.5, 2.5]  # type: ignore[union-attr]
    assert dead is not None
    assert dead.reasons == ("field 'device': wanted string, for it is a key, got nothing",)


def test_defaults_and_required_fields_that_cannot_be_are_refused() -> None:
    assert "windows.in.defaults: there is no field 'q'" in refusal(defaults={"q": 1})
    assert "windows.in.required: there is no field 'q'" in refusal(required=["q"])
    assert "windows.in.defaults.p: field 'p': wanted float64, got the text 'x'" in refusal(defaults={"p": "x"})
    assert "field 'p' is required and has a default" in refusal(defaults={"p": 1}, required=["p"])


def test_settings_without_defaults_are_those_of_a_checkpoint_before_there_were_any() -> None:
    assert not {"defaults", "required"} & SourceSettings.model_validate(BASE).model_dump(mode="json").keys()
    said = SourceSettings.model_validate({**BASE, "defaults": {"p": 1}, "required": ["at"]}).model_dump(mode="json")
    assert (said["defaults"], said["required"]) == ({"p": 1}, ["at"])


def test_what_the_stream_is_partitioned_by_is_passed_on() -> None:
    settings = SourceSettings.model_validate({**BASE, "partitioned_by": ["device"]})
    assert settings.resolve(None, ENV)["out"].partitioned_by == ("device",)
    assert SourceSettings.model_validate(BASE).resolve(None, ENV)["out"].partitioned_by is None
    assert SourceSettings.model_validate(BASE).resolve(None, Environment("", one_partition=True))["out"].partitioned_by == ()


def test_an_event_too_far_ahead_of_its_records_stamp_is_a_dead_letter_and_moves_no_watermark() -> None:
    window = source(time="at", max_ahead="1min", max_delay="10ms")
    stamps = [1_000_000, 1_000_100, 1_000_200, 1_000_300, 1_000_400]
    times = [1_000_000, 4_000_000_000_000, 1_060_200, 1_060_301, 1_000_400]  # the third just within, the fourth just beyond
    out, dead = taken(window, records(*map(event, times), ts_ms=stamps))
    assert (out.ts_ns // MS).tolist() == [1_000_000, 1_060_200, 1_000_400]
    assert (out.watermark_ns // MS).tolist() == [999_990, 1_060_190, 1_060_190]
    assert dead is not None
    assert dead.row.tolist() == [1, 3]
    assert dead.reasons[1] == "field 'at', 1060301000000 ns, lies more than max_ahead = 1min ahead of the record's time stamp"
    free, none = taken(source(time="at"), records(*map(event, times), ts_ms=stamps))  # without the bound it closes everything
    assert none is None
    assert (free.watermark_ns // MS).tolist() == [1_000_000, *[4_000_000_000_000] * 4]


def test_a_bound_ahead_leaves_null_times_their_reason_and_records_without_a_stamp_unjudged() -> None:
    out, dead = taken(source(time="at", max_ahead="0s"), records(event(None), event(5), event(7), ts_ms=[3, -1, 7]))
    assert (out.ts_ns // MS).tolist() == [5, 7]
    assert dead is not None
    assert dead.reasons == ("field 'at', the event time, is null",)


def test_a_bound_ahead_without_a_field_of_event_time_is_refused() -> None:
    with pytest.raises(
        QueryError, match=r"windows\.in\.max_ahead: event time is the record's own time stamp, ahead of which it cannot be; name"
    ):
        source(max_ahead="1s")


def test_a_bound_ahead_may_come_and_go_with_the_state_as_it_is() -> None:
    bare, bounded = (SourceSettings.model_validate({**BASE, "time": "at", **more}) for more in ({}, {"max_ahead": "1h"}))
    assert bare.model_dump(mode="json") == bounded.model_dump(mode="json")
