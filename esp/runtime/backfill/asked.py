"""What a backfill is asked to do, as it is written on the command line, and what that means: times, offsets, lengths of time."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from esp.errors import UsageError
from esp.runtime.durations import parse_duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSETS = re.compile(r"\s*\d+\s*(=\s*\d+\s*)?(,\s*\d+\s*=\s*\d+\s*)*")
BEGIN, END = "earliest", "end"  # of what a partition holds; ``now`` is another word for the end


@dataclass(frozen=True, slots=True)
class Offsets:
    """Offsets by partition, or one for all of them."""

    by_partition: Mapping[int, int]
    everywhere: int | None = None

    def of(self, partition: int) -> int | None:
        return self.by_partition.get(partition, self.everywhere)


@dataclass(frozen=True, slots=True)
class Time:
    """The first record with this stamp (milliseconds since 1970) or a later one."""

    ms: int


Bound = Offsets | Time | str


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a backfill as they were written; whatever is empty was not said.

    ``outputs`` are SINK=TOPIC, ``models`` WINDOW=FILE. Raises UsageError for what cannot be right, whatever the topics hold.
    """

    from_time: str = ""
    from_offset: str = ""
    until: str = ""
    warm_up: str = ""
    name: str = ""
    suffix: str = ""
    outputs: Sequence[str] = ()
    models: Sequence[str] = ()
    closes_windows: bool = False
    creates_topics: bool = False
    is_into_live: bool = False

    def __post_init__(self) -> None:
        if self.from_time and self.from_offset:
            raise UsageError("there are two beginnings", where="--from-time, --from-offset", mend="say one of them")
        if not self.is_backfill:
            raise UsageError("it is not said what to work off anew", mend="say --from-time, --from-offset or --until")
        if self.name and not re.fullmatch(r"[\w.-]+", self.name):
            raise UsageError(f"'{self.name}' is no name", where="--name", mend="use letters, digits, dots, dashes")
        begin, end, _ = self.begin, self.end, self.warm_up_ns
        if isinstance(begin, Time) and isinstance(end, Time) and begin.ms > end.ms:
            raise UsageError(f"{self.from_time} is later than {self.until}", where="--from-time", mend="let it be before --until")

    def refuse_future(self, now_ms: float) -> None:
        """UsageError for a time that is yet to come: what is there now would pass for what will have been by then."""
        for option, text, bound in (("--from-time", self.from_time, self.begin), ("--until", self.until, self.end)):
            if isinstance(bound, Time) and bound.ms > now_ms:
                raise UsageError(f"{text} is yet to come", where=option, mend="say --until end for what is there now")

    @property
    def is_backfill(self) -> bool:
        return bool(self.from_time or self.from_offset or self.until)

    @property
    def begin(self) -> Bound:
        if self.from_time:
            return _time(self.from_time, "--from-time")
        text = self.from_offset.strip()
        return BEGIN if text in ("", BEGIN) else _offsets(text, "--from-offset")

    @property
    def end(self) -> Bound:
        text = self.until.strip()
        if text in ("", "now", END):
            return END
        return _offsets(text, "--until") if _OFFSETS.fullmatch(text) else _time(text, "--until")

    @property
    def warm_up_ns(self) -> int | None:
        """How far before the beginning records are read for the windows' sake; None = from the first record there is."""
        if self.warm_up == "all":
            return None
        try:
            return parse_duration(self.warm_up or 0)
        except ValueError as err:
            raise UsageError(str(err), where="--warm-up", mend="or say all") from err

    @property
    def range_digest(self) -> str:
        """Names what is asked for: the same command gives the same."""
        return hashlib.sha256(json.dumps(self.range_asked(), sort_keys=True).encode()).hexdigest()[:8]

    def range_asked(self) -> dict[str, object]:
        """What may not change while a backfill is broken off."""
        told = asdict(self)
        for key in ("name", "creates_topics", "is_into_live"):
            del told[key]
        return told


def _time(text: str, option: str) -> Time:
    try:
        stamp = datetime.fromisoformat(text.strip())
    except ValueError as err:
        raise UsageError(f"'{text}' is no time", where=option, mend="write it as 2026-11-22T09:00Z") from err
    if stamp.tzinfo is None:
        raise UsageError(f"'{text}' names no time zone", where=option, mend="add Z for UTC, or +01:00, say")
    return Time(-((_EPOCH - stamp) // timedelta(milliseconds=1)))  # rounded up: an earlier record is not of the range


def _offsets(text: str, option: str) -> Offsets:
    if not _OFFSETS.fullmatch(text):
        mend = "write PARTITION=OFFSET,... or one offset for all partitions"
        raise UsageError(f"'{text}' names no offsets", where=option, mend=mend)
    if "=" not in text:
        return Offsets({}, int(text))
    pairs = [(int(partition), int(offset)) for partition, offset in (pair.split("=") for pair in text.split(","))]
    named = [partition for partition, _ in pairs]
    for partition in named:
        if named.count(partition) > 1:
            raise UsageError(f"partition {partition} is named twice", where=option, mend="name it once")
    return Offsets(dict(pairs))
