"""One page of metrics over several workers: what is added up, what keeps its worker, and what a worker leaves behind."""

from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from esp.runtime.workers.scrapes import Scrapes

PAGE = """# HELP esp_events_in_total Events
# TYPE esp_events_in_total counter
esp_events_in_total{{query="q",window="a"}} {count}
# HELP esp_latency_seconds Latency
# TYPE esp_latency_seconds histogram
esp_latency_seconds_bucket{{le="0.1",query="q"}} {fast}
esp_latency_seconds_bucket{{le="+Inf",query="q"}} {count}
esp_latency_seconds_count{{query="q"}} {count}
esp_latency_seconds_sum{{query="q"}} 1.5
# HELP esp_state_bytes State
# TYPE esp_state_bytes gauge
esp_state_bytes{{query="q"}} {count}
# HELP esp_model_info Model
# TYPE esp_model_info gauge
esp_model_info{{digest="{digest}"}} 1.0
"""


def page(count: int, fast: int = 0, digest: str = "d1") -> bytes:
    return PAGE.format(count=count, fast=fast, digest=digest).encode()


def read(scrapes: Scrapes, *own: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples by name and labels, as Prometheus reads them."""
    families = text_string_to_metric_families(scrapes.page(own).decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_counters_and_buckets_are_added_and_gauges_keep_their_worker() -> None:
    scrapes = Scrapes()
    scrapes.take(1, page(10, fast=4))
    scrapes.take(2, page(32, fast=30))
    found = read(scrapes)
    assert found[key("esp_events_in_total", query="q", window="a")] == 42
    assert found[key("esp_latency_seconds_bucket", query="q", le="0.1")] == 34
    assert found[key("esp_latency_seconds_bucket", query="q", le="+Inf")] == 42
    assert found[key("esp_latency_seconds_count", query="q")] == 42
    assert found[key("esp_latency_seconds_sum", query="q")] == 3.0
    assert found[key("esp_state_bytes", query="q", worker="1")] == 10
    assert found[key("esp_state_bytes", query="q", worker="2")] == 32
    assert found[key("esp_model_info", digest="d1")] == 1
    assert scrapes.page().count(b"# TYPE esp_events_in_total counter") == 1


def test_a_counter_does_not_fall_when_a_worker_is_started_again() -> None:
    scrapes = Scrapes()
    scrapes.take(1, page(10))
    scrapes.take(2, page(32))
    scrapes.end(2)
    scrapes.end(3)  # it ended before it was asked
    assert read(scrapes)[key("esp_events_in_total", query="q", window="a")] == 42
    assert key("esp_state_bytes", query="q", worker="2") not in read(scrapes)
    scrapes.take(2, page(5))
    assert read(scrapes)[key("esp_events_in_total", query="q", window="a")] == 47
    scrapes.end(2)
    scrapes.end(1)
    assert read(scrapes)[key("esp_events_in_total", query="q", window="a")] == 47


def test_models_that_differ_amid_a_deployment_are_both_told() -> None:
    scrapes = Scrapes()
    scrapes.take(1, page(1, digest="new"))
    scrapes.take(2, page(1, digest="old"))
    assert {labels for name, labels in read(scrapes) if name == "esp_model_info"} == {
        frozenset({("digest", "new")}),
        frozenset({("digest", "old")}),
    }


def test_families_of_the_supervisor_stand_beside_those_of_its_workers() -> None:
    scrapes, own = Scrapes(), GaugeMetricFamily("esp_state_bytes", "State", labels=["worker"])
    own.add_metric(["supervisor"], 7)
    scrapes.take(1, page(3))
    found = read(scrapes, own)
    assert found[key("esp_state_bytes", worker="supervisor")] == 7
    assert found[key("esp_state_bytes", query="q", worker="1")] == 3
