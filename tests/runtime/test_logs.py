"""Log lines: their two forms and the limit on repeated ones."""

import json
import logging

from esp.runtime.logs import INTERVAL_S, LIMIT, JsonLines, RateLimit, TextLines


def _record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("esp.test", logging.WARNING, __file__, 1, message, args, None)


def test_a_text_line_has_time_level_logger_and_message_on_one_line() -> None:
    line = TextLines().format(_record("broker %s\nis lost", "a:9092"))
    assert "\n" not in line
    assert line.endswith("WARNING esp.test broker a:9092 is lost")


def test_a_json_line_parses_and_holds_the_same() -> None:
    entry = json.loads(JsonLines().format(_record("broker %s is lost", "a:9092")))
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "esp.test", "broker a:9092 is lost")


def test_repeated_messages_are_held_back_and_counted() -> None:
    now = 0.0
    limit = RateLimit(lambda: now)
    passed = [limit.filter(_record("dead event %d", i)) for i in range(LIMIT + 7)]
    assert passed == [True] * LIMIT + [False] * 7
    assert limit.filter(_record("another message"))
    now = INTERVAL_S
    record = _record("dead event %d", 99)
    assert limit.filter(record)
    assert "7 more of these" in record.getMessage()
