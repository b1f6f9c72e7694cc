"""Log lines: their two forms and the limit on repeated ones."""

import io
import json
import logging

from esp.runtime.logs import INTERVAL_S, LIMIT, JsonLines, LimitedLines, RateLimit, TextLines


def _record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("esp.test", logging.WARNING, __file__, 1, message, args, None)


def test_a_text_line_has_time_level_logger_and_message_on_one_line() -> None:
    line = TextLines().format(_record("broker %s\nis lost", "a:9092"))
    assert "\n" not in line
    assert line.endswith("WARNING esp.test broker a:9092 is lost")


def test_a_json_line_parses_and_holds_the_same() -> None:
    entry = json.loads(JsonLines().format(_record("broker %s is lost", "a:9092")))
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "esp.test", "broker a:9092 is lost")


class _Lines:
    """A handler with the limit over a clock of the test's own, and what it wrote."""

    def __init__(self) -> None:
        self.now, self.stream = 0.0, io.StringIO()
        self.handler = LimitedLines(self.stream, RateLimit(lambda: self.now))

    def log(self, message: str, *args: object) -> None:
        self.handler.handle(_record(message, *args))

    def written(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_repeated_messages_are_held_back_and_counted_before_the_next_of_them() -> None:
    lines = _Lines()
    for i in range(LIMIT + 7):
        lines.log("dead event %d", i)
    lines.log("another message")
    lines.now = INTERVAL_S
    lines.log("dead event %d", 99)
    first = [f"dead event {i}" for i in range(LIMIT)]
    told = f"dead event {LIMIT + 6} (the last of 7 held back in 10 s)"
    assert lines.written() == [*first, "another message", told, "dead event 99"]


def test_any_later_message_brings_what_was_held_back_before() -> None:
    lines = _Lines()
    for _ in range(LIMIT + 2):
        lines.log("broker is lost")
    lines.now = INTERVAL_S + 2
    lines.log("all is well")
    lines.log("all is well")
    assert lines.written()[LIMIT:] == ["broker is lost (the last of 2 held back in 12 s)", "all is well", "all is well"]


def test_what_was_held_back_is_told_once_at_the_exit() -> None:
    lines = _Lines()
    for _ in range(LIMIT + 1):
        lines.log("broker is lost")
    lines.handler.close()
    lines.handler.close()
    assert lines.written()[LIMIT:] == ["broker is lost (the last of 1 held back in 0 s)"]


def test_messages_that_stay_within_the_limit_leave_nothing_behind() -> None:
    lines = _Lines()
    for _ in range(LIMIT):
        lines.log("broker is lost")
    lines.now = INTERVAL_S
    lines.handler.close()
    assert lines.written() == ["broker is lost"] * LIMIT
