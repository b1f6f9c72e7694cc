"""The figures of a measurement, ready to be printed or written as JSON."""

from typing import Any

from loadtest.analysis import accuracy, after_first, after_warm_up, latencies, quantiles, sustained, tally, wrong
from loadtest.generator import Sent
from loadtest.measure import Route, Run
from loadtest.plan import Load, send_times
from loadtest.scrape import Scrape, read_metrics, stage_us
from loadtest.subjects import Samples
from loadtest.workload import Workload

SETTLED_S = 12.0  # when memory is looked at first
FAULTS = ("lost", "doubled", "unknown", "dead", "wrong")


def summarise(run: Run, route: Route, load: Load, workload: Workload, sent: Sent | None = None) -> dict[str, Any]:
    """Counts, rate, latency (of an open loop), CPU and memory of one subject; what it says of itself, where it does."""
    number, causes = run.received.number, workload.causes(load, route.is_scored)
    count, per_output = tally(len(causes), number, causes >= 0), workload.events_per_output(route.is_scored)
    steady_ms = after_warm_up(run.received.appended_ms)
    figures: dict[str, Any] = {
        "events": load.events, "outputs": count.sent, "lost": count.lost, "doubled": count.doubled, "unknown": count.unknown, "dead": run.dead,
        "events_per_s": per_output * sustained(steady_ms / 1e3),
    }  # fmt: skip
    if route.is_scored:
        figures["wrong"] = wrong(number, run.received.scores, workload.expected)
        figures["accuracy"] = accuracy(number, run.received.scores[:, 0], workload.truth)
    if sent is not None:
        planned = send_times(load, sent.start_ns)[causes]
        figures["latency_ms"] = quantiles(latencies(planned, number, run.received.at_ns) / 1e6)
        figures["append_latency_ms"] = quantiles(latencies(planned // 1_000_000, number, run.received.appended_ms))
        figures["generator_late_ms"] = quantiles(sent.late_ns / 1e6)
    if len(steady_ms):
        figures |= _cpu(run.samples, steady_ms[0] / 1e3, steady_ms[-1] / 1e3, per_output * after_first(steady_ms))
    figures["memory_mb"] = _memory(run.samples, run.began_s)
    if run.metrics[1]:
        figures |= _inside(read_metrics(run.metrics[0]), read_metrics(run.metrics[1]), load.events)
    return figures


def is_good(figures: dict[str, Any]) -> bool:
    """Whether every event came out once, and right."""
    return not any(figures.get(fault) for fault in FAULTS)


def _cpu(samples: Samples, from_s: float, to_s: float, events: int) -> dict[str, float]:
    spent_s = samples.cpu_between(from_s, to_s)
    if not events:
        return {}
    return {"steady_s": to_s - from_s, "cpu_us_per_event": 1e6 * spent_s / events, "cpu_cores": spent_s / (to_s - from_s)}


def _memory(samples: Samples, began_s: float) -> dict[str, float | None]:
    """Resident memory; growth is None when the run ended before the first look."""
    end, first = samples.resident_bytes[-1] / 1e6, None
    if samples.at_s[-1] - began_s > SETTLED_S:
        first = samples.resident_mb(began_s + SETTLED_S)
    growth = None if first is None else 100 * (end / first - 1)
    return {"after_12_s": first, "end": end, "peak": max(samples.resident_bytes) / 1e6, "growth_percent": growth}


def _inside(ready: Scrape, end: Scrape, events: int) -> dict[str, Any]:
    compiled = "esp_kernel_compilations_total"
    to_sink = {name: end.quantile("esp_latency_seconds", share) for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {
        "to_sink_latency_ms": {name: None if value is None else 1e3 * value for name, value in to_sink.items()},
        "batch_events": {name: end.quantile("esp_batch_events", share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "compilations": {"at_start": ready.values[compiled], "while_running": end.values[compiled] - ready.values[compiled]},
        "stage_us_per_event": stage_us(end, events),
    }
