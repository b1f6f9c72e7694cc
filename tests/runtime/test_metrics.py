"""What Prometheus scrapes: parsed by its own client library, with the figures of a stream that is known."""

import asyncio
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from esp.astore.binary import to_bytes
from esp.astore.model import Input
from esp.runtime.connect.memory import TOPICS
from esp.runtime.drift import Drift
from esp.runtime.events import raw_block
from esp.runtime.meters import QueryMeter
from esp.runtime.metrics import exposition
from tests.runtime import moves

UNITS = {
    "bytes",
    "seconds",
    "events",
    "info",
    "compilations",
    "partitions",
    "checkpoints",
    "ready",
    "in",
    "out",
    "late",
    "dead",
    "engine",
    "model",
}


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: dict[str, Any], family: str, sample: str = "", **labels: str) -> float:
    """The one sample with these labels."""
    (match,) = [
        each.value for each in found[family].samples if each.name == family + sample and labels.items() <= each.labels.items()
    ]
    return float(match)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Seven records in two blocks: five good, one broken, one without acceleration (the model refuses it); one more waits."""
    TOPICS.clear()
    folder = moves.write_query(tmp_path_factory.mktemp("moves"))

    async def run() -> str:
        async with moves.running(folder) as engine:
            await engine.scored_by(1, 2, 3)
            moves.topic("samples").append([moves.event(4), b"{broken", b'{"device":"d","ts":5,"acc":null}', moves.event(5)])
            await engine.worked_off()
            await engine.runner.pause()
            moves.topic("samples").append([moves.event(6)])
            for name, source in engine.runner.sources.items():
                engine.runner.meter.lag[name] = await source.lag()
            return (await engine.client.get("/metrics")).text

    text = asyncio.run(run())
    TOPICS.clear()
    return families(text)


def test_events_are_counted_in_every_window(scraped: dict[str, Any]) -> None:
    def counts(window: str, kind: str) -> list[float]:
        labels = {"query": "moves", "window": window, "kind": kind}
        return [value(scraped, f"esp_events_{what}", "_total", **labels) for what in ("in", "out", "late", "dead")]

    assert counts("samples", "source") == [7, 6, 0, 1]
    assert counts("scored", "score") == [6, 5, 0, 1]
    assert counts("scores", "sink") == [5, 5, 0, 0]


def test_histograms_count_every_block_and_event(scraped: dict[str, Any]) -> None:
    assert value(scraped, "esp_batch_events", "_count", query="moves") == 2
    assert value(scraped, "esp_batch_events", "_sum", query="moves") == 3 + 4
    assert value(scraped, "esp_batch_events", "_bucket", query="moves", le="2.0") == 0
    assert value(scraped, "esp_batch_events", "_bucket", query="moves", le="4.0") == 2
    assert value(scraped, "esp_queue_seconds", "_count", query="moves") == 7
    for stage, window in (("decode", "samples"), ("score", "scored"), ("encode", "scores")):
        assert value(scraped, f"esp_{stage}_seconds", "_count", query="moves", window=window) == 2
        assert 0 < value(scraped, f"esp_{stage}_seconds", "_sum", query="moves", window=window) < 60


def test_buckets_rise_to_the_count(scraped: dict[str, Any]) -> None:
    histograms = [family for family in scraped.values() if family.type == "histogram"]
    assert len(histograms) == 7
    for family in histograms:
        buckets = [(float(s.labels["le"]), s.value) for s in family.samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)
        assert buckets[-1] == (math.inf, value(scraped, family.name, "_count"))


def test_the_model_and_the_version_are_told(scraped: dict[str, Any]) -> None:
    import esp
    from esp.astore.binary import from_bytes

    digest = from_bytes(to_bytes(moves.tiny())).digest[:12]
    assert value(scraped, "esp_model_info", query="moves", window="scored", name="tiny", digest=digest, backend="numpy") == 1
    assert value(scraped, "esp_engine_info", version=esp.__version__) == 1


def test_lag_readiness_and_checkpoints_are_told(scraped: dict[str, Any]) -> None:
    assert value(scraped, "esp_consumer_lag_events", query="moves", source="samples", partition="0") == 1
    assert value(scraped, "esp_ready", query="moves") == 1
    assert value(scraped, "esp_checkpoints", "_total", query="moves") == 2
    assert value(scraped, "esp_state_bytes", query="moves") >= 0
    assert value(scraped, "process_resident_memory_bytes") > 1 << 20
    assert value(scraped, "process_cpu_seconds", "_total") > 0


def test_every_family_has_help_and_a_name_that_ends_in_its_unit(scraped: dict[str, Any]) -> None:
    for family in scraped.values():
        assert family.documentation
        assert family.samples
        assert re.fullmatch(r"[a-z_]+", family.name)
        assert family.name.rpartition("_")[2] in UNITS, family.name


def test_names_that_hold_quotes_are_escaped() -> None:
    class Runner:
        from esp.runtime.meters import QueryMeter, WindowMeter

        meter = QueryMeter({'a"b\\': WindowMeter("source", events_in=3)})
        scorers: dict[str, Any] = {}  # noqa: RUF012
        is_ready = is_connected = True
        checkpoints = 0

    found = families(exposition({"q": Runner()}).decode())
    assert value(found, "esp_events_in", "_total", window='a"b\\') == 3


def test_an_engine_without_queries_still_answers() -> None:
    assert value(families(exposition({}).decode()), "esp_kernel_compilations", "_total") >= 0


def test_latency_is_now_less_the_time_stamp_of_the_record(tmp_path: Path) -> None:
    """Records stamped a long time ago: the latency of each is above an hour."""
    TOPICS.clear()

    async def run() -> str:
        async with moves.running(moves.write_query(tmp_path)) as engine:
            block = raw_block([moves.event(1), moves.event(2)], ts_ms=[1_600_000_000_000] * 2)
            moves.topic("samples").append_block(block)
            await engine.worked_off()
            return (await engine.client.get("/metrics")).text

    found = families(asyncio.run(run()))
    TOPICS.clear()
    assert value(found, "esp_latency_seconds", "_count", query="moves") == 2
    assert value(found, "esp_latency_seconds", "_bucket", query="moves", le="10.0") == 0
    assert value(found, "esp_latency_seconds", "_sum", query="moves") > 3600


def test_drift_of_an_input_is_shown_once_its_model_has_statistics_and_events_came() -> None:
    item = Input("motion", "float32", (4, 2), statistics={"mean": [0.0, 1.0], "std": [2.0, 1.0]})
    drift = Drift(item)
    drift.observe(np.full((3, 4, 2), 4.0, np.float32))
    scorer = SimpleNamespace(drifts=[drift], astore=SimpleNamespace(name="m", short_digest="0" * 12), backend="numba")
    runner = SimpleNamespace(meter=QueryMeter({}), scorers={"scored": scorer}, is_ready=True, is_connected=True, checkpoints=0)
    text = exposition({"q": runner}).decode()
    assert 'esp_input_drift_deviations{channel="0",input="motion",query="q",window="scored"} 2.0' in text
    assert 'esp_input_drift_deviations{channel="1",input="motion",query="q",window="scored"} 3.0' in text
