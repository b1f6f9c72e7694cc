"""The live table on a terminal and its lines elsewhere."""

import io

import pytest
from rich.console import Console

from esp.demo import table
from esp.demo.table import Board, Rate, Row

ROW = Row("digits_camera", 20000, 20000, 19999, 4.5, 123.4, 0.9816, ("0123456789ab", "ba9876543210"))


def test_rate_is_taken_over_at_least_half_a_second() -> None:
    rate = Rate()
    assert [rate.update(count, now_s) for count, now_s in ((0, 10.0), (10, 10.25), (100, 10.5), (500, 11.5))] == [
        0.0,
        0.0,
        200.0,
        400.0,
    ]


def test_table_fits_80_columns_with_whole_digests() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    console.print(Board(console, lambda: [ROW], "a note").render())
    for part in ("digits_camera", "20000", "19999", "4.5", "123.4", "0.9816", "0123456789ab", "ba9876543210", "a note"):
        assert part in out.getvalue()


def test_without_a_terminal_there_is_a_line_for_each_query_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now_s = io.StringIO(), 100.0
    monkeypatch.setattr(table.time, "monotonic", lambda: now_s)
    with Board(Console(file=out, width=300, force_terminal=False), lambda: [ROW]) as board:
        board.tick()
        now_s += 0.9
        board.tick()  # within the same second: nothing
        board.say("swapped")
        now_s += 0.1
        board.tick()
    assert out.getvalue().splitlines() == [board.line(ROW), "swapped", board.line(ROW)]
    assert "scored 19999 of 20000" in board.line(ROW)
