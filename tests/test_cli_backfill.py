"""How a backfill tells how far it is: lines of the log where there is no terminal, a bar where there is one."""

import logging
import sys

import pytest

from esp.cli import backfill


def test_without_a_terminal_a_line_of_the_log_says_how_far_it_is(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(backfill, "monotonic", lambda: now)
    with caplog.at_level(logging.INFO), backfill._progress("q-backfill-x", has_bar=True) as tell:
        tell(1, 4)
        now += backfill.LINE_EVERY_S
        tell(2, 4)
        tell(3, 4)
        now += backfill.LINE_EVERY_S
        tell(0, 0)
    assert [record.getMessage() for record in caplog.records] == ["q-backfill-x: 50 %", "q-backfill-x: 0 %"]
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_lines_of_the_log_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    before = handler.stream
    with backfill._progress("q", has_bar=True) as tell:
        tell(1, 4)
        assert handler.stream is sys.stderr
    assert handler.stream is before
