"""What a model adds to retained rows is null in their deletes: whatever would have to take it back is refused at load."""

from dataclasses import replace
from typing import Any

import pytest

from esp.errors import QueryError
from esp.runtime.kinds import KINDS
from esp.runtime.kinds.window import Stream
from tests.runtime.kinds.cases import MODELS, RETAINED, STREAM

SCORE = {"kind": "score", "model": "tiny", "model_field": "by", "output": {"p_class": "both"}}
SIZE = {"kind": "aggregate", "size": "1s"}


def out(stream: Stream, *windows: dict[str, Any]) -> Stream:
    """What leaves a chain of windows."""
    for window in windows:
        stream = KINDS[window["kind"]].model_validate({"from": "before", **window}).resolve(stream, MODELS).get("out", stream)
    return stream


def refusal(*windows: dict[str, Any]) -> str:
    with pytest.raises(QueryError) as caught:
        out(RETAINED, SCORE, *windows)
    return str(caught.value)


def test_the_fields_that_a_model_adds_are_marked_where_the_stream_retracts() -> None:
    assert out(STREAM, SCORE).unretracted == ()
    assert out(RETAINED, SCORE).unretracted == ("label", "probability", "both", "by")
    assert out(STREAM, SCORE, {"kind": "copy", "keep": 2}).unretracted == ()


def test_copy_score_aggregate_over_scores_is_refused_with_the_mend() -> None:
    copy = {"kind": "copy", "keep": 2}
    with pytest.raises(QueryError) as caught:
        out(STREAM, copy, SCORE, {**SIZE, "aggregates": {"mean_p": "mean(probability)"}})
    assert str(caught.value) == (
        "query.toml: windows.w.aggregates.mean_p: 'probability' is made by a model from rows that are retained, and their deletes do not "
        "carry it; aggregate before scoring, or score before the copy window"
    )
    assert out(STREAM, SCORE, copy, {**SIZE, "aggregates": {"mean_p": "mean(probability)"}}).unretracted == ()


def test_fields_that_deletes_carry_may_be_folded_beside_scores() -> None:
    assert "mean_p" in out(RETAINED, SCORE, {**SIZE, "aggregates": {"rows": "count", "mean_p": "mean(p)"}}).schema


def test_a_count_a_group_a_condition_and_a_tombstones_key_of_scores_are_refused() -> None:
    assert "windows.w.aggregates.n: 'label'" in refusal({**SIZE, "aggregates": {"n": "count(label)"}})
    assert "windows.w.by: 'label'" in refusal({**SIZE, "by": ["device", "label"], "aggregates": {"n": "count"}})
    assert "windows.w.where: 'probability'" in refusal({"kind": "filter", "where": "p > 0 and probability > 0.5"})
    assert "windows.w.key: 'label'" in refusal({"kind": "sink", "key": ["label"], "deletes": "tombstone"})
    out(RETAINED, SCORE, {"kind": "filter", "where": "p > 0"}, {"kind": "sink", "key": ["label"]})


def test_the_mark_goes_with_what_is_computed_and_leaves_with_what_is_replaced() -> None:
    compute = {"kind": "compute", "drop": ["by"], "fields": {"sure": " probability > 0.9", "label": "device", "twice": "p * 2"}}
    assert out(RETAINED, SCORE, compute).unretracted == ("probability", "both", "sure")
    assert "'sure'" in refusal(compute, {"kind": "filter", "where": "sure"})


def test_a_second_model_keeps_the_marks_of_the_first() -> None:
    second = {"kind": "score", "model": "tiny", "output": {"label": "l", "probability": "q"}}
    assert out(replace(RETAINED), SCORE, second).unretracted == ("label", "probability", "both", "by", "l", "q")
