"""Stamps (int64 nanoseconds) and dates (int32 days) as columns: their distance in seconds or days, and the parts of a calendar (UTC)."""

from datetime import UTC, date, datetime
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from esp.runtime.events import I64, Bools
from esp.runtime.expressions.arithmetic import F64, Checked, add, multiply, subtract, to_int

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
_CLOCK = {"hour": (3_600, 24), "minute": (60, 60), "second": (1, 60)}  # seconds each, and how many make the next
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_between(later: I64, earlier: I64) -> Checked:
    """A stamp less a stamp: seconds as float64."""
    rest, fits = _pair(subtract(later, earlier))
    return rest / SECOND_NS, fits


def later_by(stamp: I64, seconds: I64 | F64, *, sign: int = 1) -> Checked:
    """A stamp some seconds later (or, with sign -1, earlier)."""
    nanos, fits = _pair(
        to_int(np.rint, seconds * SECOND_NS) if seconds.dtype.kind == "f" else multiply(seconds, np.array([SECOND_NS]))
    )
    moved, moved_fits = _pair(add(stamp, nanos) if sign > 0 else subtract(stamp, nanos))
    return moved, fits & moved_fits


def days_between(later: npt.NDArray[np.int32], earlier: npt.NDArray[np.int32]) -> I64:
    """A date less a date: days as int64."""
    return later.astype(np.int64) - earlier


def to_date(stamp: I64) -> npt.NDArray[np.int32]:
    """The day of a stamp."""
    return np.floor_divide(stamp, DAY_NS).astype(np.int32)


def clock_part(stamp: I64, *, part: str) -> I64:
    """The hour, minute or second of a stamp."""
    seconds, count = _CLOCK[part]
    return np.floor_divide(stamp, seconds * SECOND_NS) % count


def calendar_part(days: npt.NDArray[np.int32], *, part: str) -> I64:
    """The year, month (1 to 12), day (1 to 31) or weekday (Monday = 0) of a date."""
    wide = days.astype(np.int64)
    if part == "weekday":
        return (wide + 3) % 7  # 1970-01-01 was a Thursday
    day = wide.astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    if part == "day":
        return cast(I64, (day - month.astype("datetime64[D]")).astype(np.int64) + 1)
    months = month.astype(np.int64)
    return months // 12 + 1970 if part == "year" else months % 12 + 1


def read_stamp(text: str) -> int:
    """Nanoseconds of ISO text (UTC if it names no zone); ValueError when it is none, or past what int64 holds."""
    moment = datetime.fromisoformat(text)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    nanos = (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000
    if not -(2**63) <= nanos < 2**63:
        raise ValueError("a stamp lies between the years 1678 and 2262")
    return nanos


def read_date(text: str) -> int:
    """Days of ISO text; ValueError when it is none."""
    return (date.fromisoformat(text) - _EPOCH.date()).days


def _pair(result: Checked) -> tuple[npt.NDArray[Any], Bools]:
    return result if isinstance(result, tuple) else (result, np.ones(len(result), np.bool_))
