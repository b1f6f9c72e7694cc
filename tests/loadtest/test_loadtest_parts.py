"""Events as they are sent, the query that is measured, and figures out of samples and metrics."""

import tomllib

import pytest

from loadtest import topics
from loadtest.networks import QUERY
from loadtest.parties import renamed
from loadtest.report import short_of_time
from loadtest.run import ROOT, _refuse_far, kafka
from loadtest.scrape import read_metrics, stage_us
from loadtest.subjects import Samples

METRICS = """# TYPE esp_kernel_compilations_total counter
esp_kernel_compilations_total 3.0
# TYPE esp_batch_events histogram
esp_batch_events_bucket{le="1.0",query="a"} 2.0
esp_batch_events_bucket{le="4.0",query="a"} 9.0
esp_batch_events_bucket{le="+Inf",query="a"} 10.0
esp_batch_events_count{query="a"} 10.0
esp_batch_events_sum{query="a"} 40.0
# TYPE esp_score_seconds histogram
esp_score_seconds_bucket{le="+Inf",query="a",window="scored"} 4.0
esp_score_seconds_count{query="a",window="scored"} 4.0
esp_score_seconds_sum{query="a",window="scored"} 0.002
"""


def test_the_query_that_is_measured_differs_in_group_and_topics_alone() -> None:
    original = tomllib.loads((QUERY / "query.toml").read_text())
    names = {name: f"load-1.engine-0.{name}" for name in ("images", "scores", "counts", "late", "dead")}
    measured = tomllib.loads(renamed((QUERY / "query.toml").read_text(), "load-1", names))
    assert measured["query"].pop("group") == "load-1"
    topics = [measured["query"]["dead"], *(w["connect"] for w in measured["windows"].values() if "connect" in w)]
    assert {topic["topic"] for topic in topics} == set(names.values())
    for topic in topics:
        topic["topic"] = topic["topic"].replace("load-1.engine-0.", "digits.")
    assert measured == original


def test_cpu_seconds_between_two_moments_are_read_off_a_line_between_samples() -> None:
    samples = Samples([10.0, 11.0, 12.0], [1.0, 1.5, 2.5], [100_000_000, 120_000_000, 90_000_000])
    assert samples.cpu_between(10.5, 11.5) == pytest.approx(0.75)
    assert samples.resident_mb(11.9) == 120.0


def test_a_scrape_gives_counters_bucket_quantiles_and_time_an_event() -> None:
    scrape = read_metrics(METRICS)
    assert scrape.values["esp_kernel_compilations_total"] == 3
    assert scrape.quantile("esp_batch_events", 0.2) == 1.0
    assert scrape.quantile("esp_batch_events", 0.5) == 4.0
    assert scrape.quantile("esp_batch_events", 0.99) is None
    assert stage_us(scrape, 1000) == {"score": pytest.approx(2.0)}


def test_a_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "ANSWER_S", 0.5)
    with pytest.raises(RuntimeError, match="no broker answers at"), kafka("127.0.0.1:1"):
        pass


@pytest.mark.parametrize("broker", ["10.0.0.7:9092", "example.org:9092", "9092"])
def test_only_brokers_on_this_machine_are_loaded(broker: str) -> None:
    with pytest.raises(ValueError):
        _refuse_far(broker)


def test_loopback_brokers_are_taken() -> None:
    for broker in ("127.0.0.1:9092", "localhost:9092", "[::1]:9092"):
        _refuse_far(broker)
    assert (ROOT / "loadtest" / "run.py").is_file()


def test_a_party_that_was_done_too_soon_to_be_timed_is_named() -> None:
    assert short_of_time({"engine": {"steady_s": 0.2}, "quix": {"steady_s": 9.0}, "confluent": {}}) == ["engine", "confluent"]
