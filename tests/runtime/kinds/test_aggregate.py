"""The aggregate window against plain Python: dicts of lists, and the statistics module."""

import math
import random
import statistics
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from esp.errors import QueryError
from esp.runtime.events import END_NS, NEVER_NS, EventBlock, VarColumn
from esp.runtime.kinds.aggregate import AggregateSettings
from esp.runtime.kinds.window import Environment, Ports, Stream
from esp.runtime.schema import Schema
from tests.runtime.kinds.laws import Case, block_of, opened

SCHEMA = "device*:string, p:float64, n:int64, at:stamp, small:float32"
STREAM = Stream(Schema.parse(SCHEMA), partitioned_by=("device",))
RETAINED = Stream(STREAM.schema, retracts=True, partitioned_by=("device",))
ENV = Environment("query.toml: windows.agg")
ALL = {
    "rows": "count", "count_p": "count(p)", "sum_p": "sum(p)", "mean_p": "mean(p)", "min_p": "min(p)", "max_p": "max(p)", "std_p": "std(p)",
    "sum_n": "sum(n)", "mean_n": "mean( n )", "min_n": "min(n)", "max_n": "max(n)", "std_n": "std(n)", "first": "min(at)", "low": "min(small)",
}  # fmt: skip


def settings_of(**settings: Any) -> dict[str, Any]:
    return {"kind": "aggregate", "size": "1s", "aggregates": {"rows": "count"}, **settings}


def results(ports: Ports) -> list[dict[str, Any]]:
    """The rows that left on ``out``."""
    out = []
    for block in (block for port, block in ports if port == "out"):
        assert isinstance(block, EventBlock)
        for row in range(len(block)):
            cells: dict[str, Any] = {"ts": int(block.ts_ns[row]), "watermark": int(block.watermark_ns[row])}
            for name, column, valid in zip(block.schema.names, block.columns, block.validity, strict=True):
                value = column.value(row).decode() if isinstance(column, VarColumn) else column[row].item()
                cells[name] = None if valid is not None and not valid[row] else value
            out.append(cells)
    return out


def folded(rows: list[list[Any]], times: list[float], stream: Stream = STREAM, **settings: Any) -> list[dict[str, Any]]:
    """All results of a bounded stream that comes as one block."""
    options = {name: settings.pop(name) for name in ("delay_s", "opcode") if name in settings}
    block = block_of(SCHEMA, rows, ts_s=times, end_ns=END_NS, **options)
    return results(opened(Case("", settings_of(**settings), stream, lambda: block)).on_block("in", block))


def column_of(values: list[Any], aggregate: str, opcode: list[int] | None = None) -> Any:
    """One aggregate of field p over one window."""
    stream = STREAM if opcode is None else RETAINED
    rows = [["a", value, 0, 0, 0] for value in values]
    [row] = folded(rows, [0.5] * len(rows), stream, opcode=opcode, aggregates={"it": aggregate})
    return row["it"]


@pytest.mark.parametrize("seed", range(5))
def test_aggregates_are_those_of_the_statistics_module(seed: int) -> None:
    rng = random.Random(seed)
    rows, times = [], []
    for i in range(200):
        p, n = rng.choice([None, 1e6 + rng.random(), rng.gauss(0, 1)]), rng.choice([None, rng.randrange(-(10**15), 10**15)])
        rows.append([rng.choice([None, "a", "b"]), p, n, rng.choice([None, i]), rng.choice([None, rng.randrange(100) / 4])])
        times.append(i * 0.05 + rng.choice([0, -0.3]) + 1)
    groups: dict[tuple[int, Any], list[list[Any]]] = defaultdict(list)
    for row, time in zip(rows, times, strict=True):
        groups[math.floor(time - 0.25), row[0]].append(row)
    wanted = sorted(groups.items(), key=lambda item: item[0][0])  # the first event of a key decides within a window
    made = folded(rows, times, delay_s=1, offset="250ms", aggregates=ALL)
    assert [(row["window_start"], row["device"]) for row in made] == [((k[0] * 4 + 1) * 250_000_000, k[1]) for k, _ in wanted]
    for row, (_, group) in zip(made, wanted, strict=True):
        assert row["window_end"] == row["window_start"] + 10**9
        assert row["ts"] == row["watermark"] == row["window_end"] - 1
        assert row["rows"] == len(group)
        check(row, "p", [member[1] for member in group if member[1] is not None])
        check(row, "n", [member[2] for member in group if member[2] is not None])
        assert row["first"] == min((member[3] for member in group if member[3] is not None), default=None)
        assert row["low"] == min((member[4] for member in group if member[4] is not None), default=None)


def check(row: dict[str, Any], name: str, values: list[Any]) -> None:
    assert row["min_" + name] == min(values, default=None)
    assert row["max_" + name] == max(values, default=None)
    if values:
        assert row["sum_" + name] == pytest.approx(math.fsum(values), rel=1e-14, abs=1e-13)
        assert row["mean_" + name] == pytest.approx(statistics.fmean(values), rel=1e-14, abs=1e-13)
    else:
        assert (row["sum_" + name], row["mean_" + name]) == (None, None)
    if len(values) > 1:
        assert row["std_" + name] == pytest.approx(statistics.stdev(values), rel=1e-9)
    else:
        assert row["std_" + name] is None


def test_results_leave_when_the_watermark_reaches_the_end_of_their_window() -> None:
    #  watermark    0.9   1.0     (delay 1 s)
    #  window 0..1 ----------| closes at 1.0, not at 0.9
    window = opened(Case("", settings_of(), STREAM, lambda: None))
    early = block_of(SCHEMA, [["a", 1, 1, 1, 1]] * 2, ts_s=[0.0, 1.9], delay_s=1)
    assert results(window.on_block("in", early)) == []
    [row] = results(window.on_block("in", block_of(SCHEMA, [["b", 1, 1, 1, 1]], ts_s=[2.0], delay_s=1)))
    assert (row["device"], row["window_end"], row["rows"]) == ("a", 10**9, 1)


def test_an_empty_block_closes_windows_by_its_end_watermark() -> None:
    window = opened(Case("", settings_of(), STREAM, lambda: None))
    window.on_block("in", block_of(SCHEMA, [["a", 1, 1, 1, 1]], ts_s=[0.2]))
    [(_, out)] = window.on_block("in", block_of(SCHEMA, [], ts_s=[], end_ns=10**9))
    assert (len(out), out.end_watermark_ns) == (1, 10**9)


def test_late_event_goes_to_the_late_port_and_an_old_one_whose_window_is_open_does_not() -> None:
    rows = [[device, 1, 1, 1, 1] for device in "abcd"]
    block = block_of(SCHEMA, rows, ts_s=[1.5, 3.2, 1.9, 2.9], delay_s=1)  # watermarks .5, 2.2, 2.2, 2.2
    ports = opened(Case("", settings_of(), STREAM, lambda: block)).on_block("in", block)
    assert [row["device"] for row in results(ports)] == ["a"]
    [late] = [block for port, block in ports if port == "late"]
    assert isinstance(late, EventBlock)
    assert [late.columns[0].value(0), late.ts_ns.tolist(), str(late.schema)] == [b"c", [1_900_000_000], str(block.schema)]


def test_results_of_one_close_are_in_order_of_window_end_and_then_of_first_event() -> None:
    rows = [[device, 1, 1, 1, 1] for device in "cabca"]
    made = folded(rows, [1.5, 0.1, 1.2, 0.3, 1.0], delay_s=10)
    assert [(row["window_start"] // 10**9, row["device"]) for row in made] == [(0, "a"), (0, "c"), (1, "c"), (1, "b"), (1, "a")]


def test_events_before_1970_fall_into_the_window_below() -> None:
    assert [row["window_start"] for row in folded([["a", 1, 1, 1, 1]], [-0.5])] == [-(10**9)]


def test_nothing_but_nulls_gives_null_and_counts_rows() -> None:
    [row] = folded([["a", None, None, None, None]] * 3, [0.1] * 3, aggregates=ALL)
    assert {name: row[name] for name in ALL} == dict.fromkeys(ALL) | {"rows": 3, "count_p": 0}


def test_one_value_has_no_std() -> None:
    assert column_of([4.0], "std(p)") is None


@pytest.mark.parametrize(
    ("values", "aggregate", "wanted"),
    [
        ([1.0, math.inf], "sum(p)", math.inf), ([math.inf, -math.inf], "sum(p)", math.nan), ([1.0, math.nan], "mean(p)", math.nan),
        ([1.0, -math.inf], "mean(p)", -math.inf), ([1.0, math.nan], "max(p)", math.nan), ([1.0, math.inf], "max(p)", math.inf),
        ([1.0, math.inf], "min(p)", 1.0), ([math.inf], "min(p)", math.inf), ([1.0, -math.inf], "min(p)", -math.inf),
        ([-math.inf], "max(p)", -math.inf), ([1.0, math.inf], "std(p)", math.nan), ([1e16, 1.0, -1e16], "sum(p)", 1.0),
        ([1e308, 1e308], "sum(p)", math.inf), ([1e308, 1e308], "mean(p)", 1e308), ([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], "std(p)", 30**0.5),
    ],
)  # fmt: skip
def test_special_values(values: list[float], aggregate: str, wanted: float) -> None:
    assert column_of(values, aggregate) == pytest.approx(wanted, rel=1e-12, nan_ok=True)


def test_a_sum_of_integers_is_exact_and_null_once_past_int64() -> None:
    def total(*values: int) -> Any:
        return folded([["a", 0, n, 0, 0] for n in values], [0.5] * len(values), aggregates={"it": "sum(n)"})[0]["it"]

    assert total(2**62, 2**62 - 2, 1) == 2**63 - 1
    assert total(2**62, 2**62, 1) is None
    assert total(2**62, 2**62, -(2**62)) == 2**62


@pytest.mark.parametrize(
    ("aggregate", "wanted"), [("count", 2), ("count(p)", 2), ("sum(p)", 10.5), ("mean(p)", 5.25), ("std(p)", 6.125**0.5)]
)
def test_deletes_take_back_what_was_added_special_values_too(aggregate: str, wanted: float) -> None:
    values = [3.5, math.inf, -2.25, math.nan, None, 7.0, math.nan, math.inf, None, -2.25]  # 3.5 and 7.0 are left
    assert column_of(values, aggregate, [0] * 6 + [3, 4, 3, 3]) == pytest.approx(wanted, rel=1e-14)


def test_a_large_value_taken_back_leaves_the_sum_of_the_small_ones() -> None:
    assert column_of([3.5, 1e20, 7.0, 1e20], "sum(p)", [0, 0, 0, 3]) == 10.5


def test_std_after_deletes_is_that_of_what_is_left() -> None:
    rng = random.Random(5)
    values = [1e6 + rng.gauss(0, 3) for _ in range(300)]
    std = column_of([*values, *values[:250]], "std(p)", [0] * 300 + [3] * 250)
    assert std == pytest.approx(statistics.stdev(values[250:]), rel=1e-6)


def test_an_update_is_the_new_row_added_and_the_old_one_taken_back() -> None:
    assert column_of([1.0, 5.0, 1.0], "sum(p)", [0, 1, 3]) == 5.0


def test_a_group_that_is_deleted_whole_makes_no_result() -> None:
    assert folded([["a", 1, 1, 1, 1]] * 2, [0.5] * 2, RETAINED, opcode=[0, 3]) == []


def test_scope_partition_adds_the_partition_to_the_key() -> None:
    settings = settings_of(by=["n"], scope="partition")
    stream = AggregateSettings.model_validate(settings).resolve(STREAM, ENV)["out"]
    assert str(stream.schema) == "n*:int64, partition*:int32, window_start:stamp(ms), window_end:stamp(ms), rows:int64"
    assert stream.partitioned_by == ("partition",)
    [row] = folded([["a", 1, 8, 1, 1], ["b", 1, 8, 1, 1]], [0.5, 0.6], by=["n"], scope="partition")
    assert (row["n"], row["partition"], row["rows"]) == (8, 3, 2)


def test_an_aggregate_of_aggregates_loses_nothing() -> None:
    rows, times = [["a", 1.0, 1, 1, 1]] * 40, [i / 4 for i in range(40)]
    inner = opened(Case("", settings_of(aggregates={"p": "sum(p)"}), STREAM, lambda: None))
    inner_stream = AggregateSettings.model_validate(settings_of(aggregates={"p": "sum(p)"})).resolve(STREAM, ENV)["out"]
    outer = opened(Case("", settings_of(size="2s", aggregates={"p": "sum(p)", "rows": "count"}), inner_stream, lambda: None))
    ports = []
    for _, block in inner.on_block("in", block_of(SCHEMA, rows, ts_s=times, end_ns=END_NS)):
        ports += outer.on_block("in", block)
    assert [(row["p"], row["rows"]) for row in results(ports)] == [(8.0, 2)] * 5


def refusal(stream: Stream = STREAM, **settings: Any) -> str:
    with pytest.raises(QueryError) as caught:
        AggregateSettings.model_validate(settings_of(**settings)).resolve(stream, ENV)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("aggregate", "said"),
    [
        ("men(p)", "'men(p)' is no aggregate; did you mean 'mean'?"), ("sum", "write sum(FIELD)"), ("mean(device)", "'device' is a string"),
        ("sum(q)", "there is no field 'q'"), ("sum(at)", "'at' is a stamp"), ("p + 1", "is no aggregate"),
    ],
)  # fmt: skip
def test_an_aggregate_that_cannot_be_is_refused(aggregate: str, said: str) -> None:
    message = refusal(aggregates={"it": aggregate})
    assert message.startswith("query.toml: windows.agg.aggregates.it: ")
    assert said in message


def test_min_and_max_of_a_stream_that_retracts_are_refused() -> None:
    assert "cannot take back" in refusal(RETAINED, aggregates={"it": "max(p)"})


def test_an_aggregate_named_as_a_key_is_refused() -> None:
    assert "'device' is there twice" in refusal(aggregates={"device": "count"})


def test_a_key_without_what_the_source_is_partitioned_by_is_refused() -> None:
    assert 'scope = "partition"' in refusal(by=["n"])


def test_all_events_are_one_group_where_by_is_empty() -> None:
    rows = [[device, 1, 1, 1, 1] for device in "abc"]
    one = Stream(STREAM.schema, partitioned_by=())
    assert [row["rows"] for row in folded(rows, [0.5] * 3, one, by=[])] == [3]


def test_equal_keys_meet_whatever_their_bits() -> None:
    keys = [0.0, -0.0, float("nan"), -np.float64("nan"), None]
    rows = [["a", key, 1, 1, 1] for key in keys]
    made = folded(rows, [0.5] * 5, Stream(STREAM.schema, partitioned_by=()), by=["p"])
    assert [row["rows"] for row in made] == [2, 2, 1]


@pytest.mark.parametrize("size_ns", [1, 10**9, 2**61])
@pytest.mark.parametrize("offset_ns", [0, 2**61])
def test_windows_at_the_edges_of_event_time_close_at_the_end_of_the_stream(size_ns: int, offset_ns: int) -> None:
    times = [NEVER_NS + 1, END_NS - 1]
    block = replace(
        block_of(SCHEMA, [["a", 1, 1, 1, 1]] * 2, ts_s=[0, 0], end_ns=END_NS), ts_ns=np.array(times), watermark_ns=np.array(times)
    )
    settings = settings_of(size=size_ns, offset=offset_ns)
    made = results(opened(Case("", settings, STREAM, lambda: block)).on_block("in", block))
    assert [row["window_start"] for row in made] == [(ts - offset_ns) // size_ns * size_ns + offset_ns for ts in times]
    assert [row["rows"] for row in made] == [1, 1]
    assert all(NEVER_NS < row["ts"] < END_NS for row in made)
