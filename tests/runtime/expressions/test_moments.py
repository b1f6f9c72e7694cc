"""Stamps and dates against Python's datetime."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from esp.runtime import expressions
from tests.runtime.expressions.blocks import block_of, rows_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), EPOCH, datetime(2000, 2, 29, 12, 30, 45, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 0, 1, 500_000, UTC), datetime(1900, 3, 1, tzinfo=UTC), datetime(2100, 2, 28, 6, 7, 8, tzinfo=UTC),
]  # fmt: skip


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def evaluate(text: str) -> list[Any]:
    rows = [{"ts": ns(moment), "d": (moment.date() - EPOCH.date()).days} for moment in MOMENTS]
    block = block_of("ts:stamp(ms), d:date", [*rows, {"ts": None, "d": None}])
    return rows_of(*expressions.compile(text, block.schema).evaluate(block))


@pytest.mark.parametrize("part", ["year", "month", "day", "hour", "minute", "second"])
def test_a_part_of_the_calendar_is_that_of_datetime(part: str) -> None:
    assert evaluate(f"{part}(ts)") == [*(getattr(moment, part) for moment in MOMENTS), None]


def test_weekdays_and_dates_are_those_of_datetime() -> None:
    assert evaluate("weekday(d)") == [*(moment.weekday() for moment in MOMENTS), None]
    assert evaluate("weekday(ts)") == evaluate("weekday(d)")
    assert evaluate("date(ts) == d") == [*[True] * len(MOMENTS), None]


def test_a_stamp_less_a_stamp_is_seconds() -> None:
    wanted = [(moment - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds() for moment in MOMENTS]
    assert evaluate("ts - stamp('2000-01-01')") == [*map(pytest.approx, wanted), None]


def test_a_stamp_moves_by_seconds_and_keeps_the_unit_of_its_wire() -> None:
    assert evaluate("ts + 90") == [*(ns(moment + timedelta(seconds=90)) for moment in MOMENTS), None]
    assert evaluate("ts - 0.25") == [*(ns(moment - timedelta(seconds=0.25)) for moment in MOMENTS), None]
    assert expressions.compile("ts + 90", block_of("ts:stamp(ms)", []).schema).type.unit == "ms"
    assert evaluate("ts + 9000000000000") == [None] * 7


def test_stamps_and_dates_compare_with_literals_of_their_kind() -> None:
    after = [moment > datetime(2000, 2, 29, tzinfo=UTC) for moment in MOMENTS]
    assert evaluate("ts > stamp('2000-02-29T00:00:00Z')") == [*after, None]
    assert evaluate("ts > stamp('2000-02-29T02:00:00+02:00')") == [*after, None]
    assert evaluate("d - date('1970-01-01')") == evaluate("d - date('1970-01-02') + 1")
