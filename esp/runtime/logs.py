"""Logs: one line a change of state, as text or JSON, on stderr; messages that repeat are rate-limited."""

import copy
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

LIMIT, INTERVAL_S = 5, 10.0  # lines of one message in an interval before the rest is only counted


class TextLines(logging.Formatter):
    """``2026-01-31T12:00:00.123 INFO esp.runner message``, before the message ``[2]`` where it is of worker 2."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self.mark = "" if worker is None else f"[{worker}] "

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_stamp(record)} {record.levelname} {record.name} {self.mark}{_one_line(record)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, worker (where it is one of several), message, and the traceback of an unexpected error."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self.mark = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self.mark,
            "message": _one_line(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


@dataclass(slots=True)
class _Interval:
    """What one message did since ``start``."""

    start: float
    lines: int = 0
    last: logging.LogRecord | None = None


class RateLimit:
    """Lets LIMIT lines of one message (its template) pass in an interval, and keeps the last that it held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.seen: dict[tuple[str, str], _Interval] = {}

    def passes(self, record: logging.LogRecord) -> bool:
        interval = self.seen.setdefault((record.name, str(record.msg)), _Interval(self.clock()))
        interval.lines += 1
        interval.last = record
        return interval.lines <= LIMIT

    def ended(self, is_exit: bool = False) -> list[logging.LogRecord]:
        """Forgets the intervals that are over (all, at the exit), with a line for each that held something back: its last one, and how many."""
        told, now = [], self.clock()
        for key, interval in list(self.seen.items()):
            age_s = now - interval.start
            if age_s < INTERVAL_S and not is_exit:
                continue
            del self.seen[key]
            if interval.lines > LIMIT and interval.last is not None:
                last = copy.copy(interval.last)
                last.msg = f"{last.msg} (the last of {interval.lines - LIMIT} held back in {age_s:.0f} s)"
                told.append(last)
        return told


class LimitedLines(logging.StreamHandler[TextIO]):
    """Writes lines to a stream within the limit; with any line, and at the exit, it tells what was held back before."""

    def __init__(self, stream: TextIO, limit: RateLimit) -> None:
        super().__init__(stream)
        self.limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(is_exit=False)
        if self.limit.passes(record):
            super().emit(record)

    def close(self) -> None:
        self._tell(is_exit=True)
        super().close()

    def _tell(self, is_exit: bool) -> None:
        for held in self.limit.ended(is_exit):
            super().emit(held)


def set_up_logs(form: Literal["text", "json"] = "text", level: str = "info", worker: int | None = None) -> None:
    """Sends the logs of this process to stderr, with the number of the worker where it is one of several."""
    handler = LimitedLines(sys.stderr, RateLimit())
    handler.setFormatter(JsonLines(worker) if form == "json" else TextLines(worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the runner says in one line what it says in many
    for noisy in ("asyncio", "uvicorn", "numba"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _stamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(record.created))}.{record.msecs:03.0f}"


def _one_line(record: logging.LogRecord) -> str:
    return " ".join(record.getMessage().split())
