"""Durations as a query file writes them."""

import pydantic
import pytest

from esp.runtime.durations import Duration, duration_text, parse_duration


class Settings(pydantic.BaseModel):
    gap: Duration


@pytest.mark.parametrize(
    ("text", "ns"),
    [("2s", 2 * 10**9), ("500ms", 5 * 10**8), ("1.5 h", 5400 * 10**9), ("1min", 60 * 10**9), ("0s", 0), ("1d", 86_400 * 10**9)],
)
def test_text_is_read_as_nanoseconds(text: str, ns: int) -> None:
    assert Settings.model_validate({"gap": text}).gap == ns


@pytest.mark.parametrize("bad", ["2", "s", "2 parsecs", "-1s", 1.5, True, "0.1ns", "1000000d", None])
def test_what_is_no_duration_is_refused(bad: object) -> None:
    with pytest.raises(pydantic.ValidationError, match="gap"):
        Settings.model_validate({"gap": bad})


@pytest.mark.parametrize("ns", [0, 1, 1500, 10**9, 90 * 10**9, 86_400 * 10**9])
def test_written_text_reads_back(ns: int) -> None:
    assert parse_duration(duration_text(ns)) == ns
    assert Settings.model_validate(Settings(gap=ns).model_dump()).gap == ns
