"""What a command line says of a backfill: times, offsets, lengths of time, and what cannot be right."""

from datetime import UTC, datetime
from typing import Any

import pytest

from esp.errors import UsageError
from esp.runtime.backfill.asked import Asked, Offsets, Time


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-22T09:00Z", ms(2026, 11, 22, 9)),
        ("2026-11-22T09:00:00.250+00:00", ms(2026, 11, 22, 9) + 250),
        ("2026-11-22 10:30+01:30", ms(2026, 11, 22, 9)),
        ("2026-11-22T09:00:00.250001Z", ms(2026, 11, 22, 9) + 251),  # a record of .250 is before it
        ("1969-12-31T23:59:59.9995Z", 0),
    ],
)
def test_a_time_names_the_first_stamp_that_is_not_before_it(text: str, wanted: int) -> None:
    assert Asked(from_time=text).begin == Time(wanted)
    assert Asked(until=text).end == Time(wanted)


def test_offsets_stand_for_one_partition_or_for_all() -> None:
    assert Asked(from_offset="0=100, 1=250").begin == Offsets({0: 100, 1: 250})
    assert Asked(from_offset="100").begin == Offsets({}, 100)
    assert Asked(until="0=7").end == Offsets({0: 7})
    assert Offsets({0: 7}).of(1) is None
    assert Offsets({}, 7).of(1) == 7


def test_what_is_not_said_is_the_beginning_the_end_and_no_warm_up() -> None:
    asked = Asked(until="now")
    assert (asked.begin, asked.end, asked.warm_up_ns) == ("earliest", "end", 0)
    assert Asked(from_offset="earliest", warm_up="1.5s").warm_up_ns == 1_500_000_000
    assert Asked(from_offset="7", warm_up="all").warm_up_ns is None


def test_the_same_command_names_the_same_backfill_and_another_range_another() -> None:
    one, same = Asked(from_offset="7", outputs=("a=b",)), Asked(from_offset="7", outputs=("a=b",), creates_topics=True)
    assert one.range_digest == same.range_digest
    assert one.range_digest != Asked(from_offset="8", outputs=("a=b",)).range_digest
    assert one.range_digest != Asked(from_offset="7", outputs=("a=c",)).range_digest


def test_a_time_that_is_yet_to_come_is_refused() -> None:
    noon = ms(2026, 11, 22, 12)
    Asked(from_time="2026-11-22T09:00Z", until="2026-11-22T12:00Z").refuse_future(noon)
    with pytest.raises(UsageError, match="--until: 2026-11-22T12:00Z is yet to come; say --until end"):
        Asked(from_time="2026-11-22T09:00Z", until="2026-11-22T12:00Z").refuse_future(noon - 1)
    with pytest.raises(UsageError, match="--from-time: 2026-11-22T13:00Z is yet to come"):
        Asked(from_time="2026-11-22T13:00Z").refuse_future(noon)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"suffix": "-redo"}, "it is not said what to work off anew; say --from-time"),
        ({"from_time": "2026-11-22T09:00Z", "from_offset": "0=1"}, "--from-time, --from-offset: there are two beginnings"),
        ({"from_time": "2026-11-22T09:00"}, "--from-time: '2026-11-22T09:00' names no time zone; add Z"),
        ({"until": "2026-11-22"}, "--until: '2026-11-22' names no time zone"),
        ({"from_time": "yesterday"}, "--from-time: 'yesterday' is no time; write it as"),
        ({"until": "0:5"}, "--until: '0:5' is no time"),
        ({"from_time": "100"}, "--from-time: '100' is no time"),
        ({"from_offset": "0=1,1"}, "--from-offset: '0=1,1' names no offsets; write PARTITION=OFFSET"),
        ({"from_offset": "-5"}, "--from-offset: '-5' names no offsets"),
        ({"from_offset": "0=1,0=2"}, "--from-offset: partition 0 is named twice"),
        (
            {"from_time": "2026-11-22T09:00Z", "until": "2026-11-22T09:30+01:00"},
            "--from-time: 2026-11-22T09:00Z is later than 2026-11-22T09:30+01:00; let it be before --until",
        ),
        ({"until": "end", "warm_up": "long"}, "--warm-up: 'long' is no duration"),
        ({"until": "end", "name": "a/b"}, "--name: 'a/b' is no name"),
    ],
)
def test_what_cannot_be_right_is_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as err:
        Asked(**options)
    assert str(err.value).startswith(line)
