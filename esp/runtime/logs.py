"""Logs: one line a change of state, as text or JSON, on stderr; messages that repeat are rate-limited."""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Literal

LIMIT, INTERVAL_S = 5, 10.0  # lines of one message in an interval before the rest is only counted


class TextLines(logging.Formatter):
    """``2026-01-31T12:00:00.123 INFO esp.runner message``"""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_stamp(record)} {record.levelname} {record.name} {_one_line(record)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback of an unexpected error."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _stamp(record), "level": record.levelname.lower(), "logger": record.name, "message": _one_line(record)}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class RateLimit(logging.Filter):
    """Lets LIMIT lines of one message (its template) pass in an interval; the first of the next says how many it held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.seen: dict[tuple[str, str], tuple[float, int]] = {}  # message -> start of the interval, lines in it

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, str(record.msg)), self.clock()
        start, count = self.seen.get(key, (now, 0))
        if now - start >= INTERVAL_S:
            if count > LIMIT:
                record.msg = f"{record.msg} (held back: {count - LIMIT} more of these in {now - start:.0f} s)"
            start, count = now, 0
        self.seen[key] = (start, count + 1)
        return count < LIMIT


def set_up_logs(form: Literal["text", "json"] = "text", level: str = "info") -> None:
    """Sends the logs of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(RateLimit())
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
