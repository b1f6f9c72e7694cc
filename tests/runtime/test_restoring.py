"""What is told while tasks are restored: a bar on a terminal, lines elsewhere, metrics, and that the query is not ready."""

import asyncio
import io
import logging
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from esp.runtime import restoring
from esp.runtime.meters import QueryMeter
from esp.runtime.metrics import exposition
from esp.runtime.restoring import show
from esp.runtime.state.progress import Restore, Transactions
from tests.runtime.memory_stream import until

RESTORES = {
    ("events", 0): Restore(3_000_000, 9_000_000),
    ("events", 1): Restore(1_000_000, 1_000_000, 0.5, "local disk", is_done=True),
}


def shown(is_over: Any) -> None:
    """Shows until something is so."""

    async def work() -> None:
        showing = asyncio.create_task(show("rooms", RESTORES))
        await until(is_over)
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)

    asyncio.run(work())


def test_a_line_at_times_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(restoring, "LINE_S", 0.001)
    with caplog.at_level(logging.INFO, "esp.restoring"):
        shown(lambda: len(caplog.messages) >= 2)
    assert caplog.messages[0] == "query rooms: 1 tasks are being restored, 4.0 of 10.0 MB"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(restoring, "Console", lambda stderr: Console(file=out, force_terminal=True, width=120))
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: True, write=lambda text: None, flush=lambda: None))
    shown(lambda: "4.0/10.0 MB" in out.getvalue())
    assert "restoring rooms" in out.getvalue()


def test_metrics_tell_of_restores_and_transactions_and_that_the_query_is_not_ready() -> None:
    meter = QueryMeter({}, restores=deepcopy(RESTORES), transactions={"events": Transactions(7, 1, 2)})
    runner: Any = SimpleNamespace(
        meter=meter, scorers={}, is_ready=True, is_connected=True, checkpoints=0, peers=dict, registries=dict
    )  # fmt: skip
    found = {
        (sample.name, *(sample.labels.get(label, "") for label in ("partition", "way", "result"))): sample.value
        for family in text_string_to_metric_families(exposition({"rooms": runner}).decode())
        for sample in family.samples
    }
    assert found["esp_restore_bytes", "0", "", ""] == 3_000_000
    assert found["esp_restore_total_bytes", "0", "", ""] == 9_000_000
    assert {key: value for key, value in found.items() if key[0] == "esp_restore_seconds"} == {
        ("esp_restore_seconds", "1", "local disk", ""): 0.5
    }
    assert [found["esp_transactions_total", "", "", result] for result in ("committed", "aborted", "fenced")] == [7, 1, 2]
    assert found["esp_ready", "", "", ""] == 0
    meter.restores["events", 0].is_done = True
    assert b'esp_ready{query="rooms"} 1.0' in exposition({"rooms": runner})
