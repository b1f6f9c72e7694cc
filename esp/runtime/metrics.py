"""What Prometheus scrapes: the meters of every running query, turned into metric families when they are asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Protocol

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import esp
from esp.kernels.compile import compilations
from esp.runtime.meters import Histogram, QueryMeter
from esp.runtime.peer import Peer
from esp.runtime.scorer import Scorer

COUNTERS = {"in": "that came into a window", "out": "that left a window", "late": "that came after their window had closed", "dead": "that could not be taken"}  # fmt: skip
TASK = ["query", "source", "partition"]
STAGES = {"source": "decode", "score": "score", "sink": "encode"}  # window kind -> what its blocks' time is called


class Watched(Protocol):
    """What is read of a running query."""

    meter: QueryMeter
    scorers: dict[str, Scorer]
    is_ready: bool

    @property
    def is_connected(self) -> bool: ...

    @property
    def checkpoints(self) -> int: ...


class EngineCollector(Collector):
    """Collects from the runners that the engine has at that moment."""

    def __init__(self, runners: Mapping[str, Watched]) -> None:
        self.runners = runners

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("esp_engine", "Version of the engine", value={"version": esp.__version__})
        yield CounterMetricFamily(
            "esp_kernel_compilations", "Functions compiled in this process; none after warm-up", compilations()
        )
        process = psutil.Process()
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory of the engine", process.memory_info().rss)
        yield CounterMetricFamily("process_cpu_seconds", "Processor time of the engine", sum(process.cpu_times()[:2]))
        meters = {name: runner.meter for name, runner in self.runners.items()}
        yield from _event_counters(meters)
        yield from _histograms(meters)
        yield from _state(self.runners)
        yield from _peers(meters)
        yield from _restores(meters)
        yield from _transactions(meters)
        yield from _partitions(meters)
        yield from _models(self.runners)
        yield from _drift(self.runners)


def _event_counters(meters: Mapping[str, QueryMeter]) -> Iterator[Metric]:
    for what, meaning in COUNTERS.items():
        family = CounterMetricFamily(f"esp_events_{what}", f"Events {meaning}", labels=["query", "window", "kind"])
        for query, meter in meters.items():
            for name, window in meter.windows.items():
                family.add_metric([query, name, window.kind], getattr(window, f"events_{what}"))
        yield family


def _histograms(meters: Mapping[str, QueryMeter]) -> Iterator[Metric]:
    whole: dict[str, tuple[str, Any]] = {
        "esp_latency_seconds": ("From a record's time stamp until its outputs go to the sinks", lambda meter: meter.latency),
        "esp_queue_seconds": ("From the fetch to the worker", lambda meter: meter.queue),
        "esp_batch_events": ("Events of one partition that go through the windows as one block", lambda meter: meter.batch),
    }
    for name, (meaning, choose) in whole.items():
        family = HistogramMetricFamily(name, meaning, labels=["query"])
        for query, meter in meters.items():
            _add(family, [query], choose(meter))
        yield family
    for kind, stage in STAGES.items():
        family = HistogramMetricFamily(f"esp_{stage}_seconds", f"Time to {stage} one block", labels=["query", "window"])
        for query, meter in meters.items():
            for name, window in meter.windows.items():
                if window.kind == kind:
                    _add(family, [query, name], window.seconds)
        yield family


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [*map(repr, histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts.tolist()))), histogram.total)


def _state(runners: Mapping[str, Watched]) -> Iterator[Metric]:
    lag = GaugeMetricFamily("esp_consumer_lag_events", "Records that wait in a partition", labels=["query", "source", "partition"])
    size = GaugeMetricFamily("esp_state_bytes", "Size of the state tables", labels=["query"])
    saved = CounterMetricFamily("esp_checkpoints", "Checkpoints made durable", labels=["query"])
    ready = GaugeMetricFamily("esp_ready", "Whether the query runs and reaches its peers", labels=["query"])
    for name, runner in runners.items():
        for source, partitions in runner.meter.lag.items():
            for partition, events in partitions.items():
                lag.add_metric([name, source, str(partition)], events)
        size.add_metric([name], runner.meter.state_size_bytes)
        saved.add_metric([name], runner.checkpoints)
        ready.add_metric([name], float(runner.is_ready and runner.is_connected and not runner.meter.is_restoring))
    yield from (lag, size, saved, ready)


def _peers(meters: Mapping[str, QueryMeter]) -> Iterator[Metric]:
    whole: dict[str, tuple[str, Callable[[Peer], float]]] = {
        "esp_peer_faults": ("Troubles with a connector's peer", lambda peer: peer.faults),
        "esp_peer_away_seconds": ("Time in trouble with a connector's peer", lambda peer: peer.away_s),
        "esp_peer_retries": ("What was tried in vain at a connector's peer", lambda peer: peer.retries),
        "esp_peer_events_lost": ("Records that a source's peer no longer had when they were asked for", lambda peer: peer.events_lost),
    }  # fmt: skip
    for name, (meaning, choose) in whole.items():
        family = CounterMetricFamily(name, meaning, labels=["query", "window"])
        for query, meter in meters.items():
            for window, peer in meter.peers.items():
                family.add_metric([query, window], choose(peer))
        if family.samples:
            yield family


def _restores(meters: Mapping[str, QueryMeter]) -> Iterator[Metric]:
    done = GaugeMetricFamily("esp_restore_bytes", "State of a task that is restored", labels=TASK)
    total = GaugeMetricFamily("esp_restore_total_bytes", "State of a task that there is to restore", labels=TASK)
    seconds = GaugeMetricFamily(
        "esp_restore_seconds", "How long restoring a task took, by where its state was", labels=[*TASK, "way"]
    )
    for query, meter in meters.items():
        for (source, partition), restore in list(meter.restores.items()):
            task = [query, source, str(partition)]
            done.add_metric(task, restore.done_bytes)
            total.add_metric(task, restore.total_bytes)
            if restore.is_done:
                seconds.add_metric([*task, restore.way or "nothing"], restore.seconds)
    yield from (family for family in (done, total, seconds) if family.samples)  # none before the first partition comes


def _transactions(meters: Mapping[str, QueryMeter]) -> Iterator[Metric]:
    meaning = "Transactions of a source's tasks: committed, aborted (taken back), fenced (another engine had taken the task over)"
    family = CounterMetricFamily("esp_transactions", meaning, labels=["query", "source", "result"])
    for query, meter in meters.items():
        for source, counts in meter.transactions.items():
            for result in ("committed", "aborted", "fenced"):
                family.add_metric([query, source, result], getattr(counts, result))
    if family.samples:
        yield family


def _partitions(meters: Mapping[str, QueryMeter]) -> Iterator[Metric]:
    came = CounterMetricFamily(
        "esp_assigned_partitions", "Partitions that came, by where their state was", labels=["query", "state"]
    )
    went = CounterMetricFamily(
        "esp_revoked_partitions", "Partitions given up, with a last checkpoint or without", labels=["query", "state"]
    )
    took = HistogramMetricFamily("esp_handover_seconds", "Time to give partitions up", labels=["query"])
    for query, meter in meters.items():
        for family, moves in ((came, meter.assigned), (went, meter.revoked)):
            for state, count in moves.items():
                family.add_metric([query, state], count)
        _add(took, [query], meter.handover)
    yield from (came, went, took)


def _models(runners: Mapping[str, Watched]) -> Iterator[Metric]:
    meaning = "Partitions here that came from a newer deployment than the model that scores them"
    behind = GaugeMetricFamily("esp_model_mismatch_partitions", meaning, labels=["query", "window"])
    family = InfoMetricFamily("esp_model", "The model that scores in a window", labels=["query", "window"])
    for name, runner in runners.items():
        for window, scorer in runner.scorers.items():
            family.add_metric(
                [name, window], {"name": scorer.astore.name, "digest": scorer.astore.short_digest, "backend": scorer.backend}
            )
        for window, count in runner.meter.behind().items():
            behind.add_metric([name, window], count)
    yield family
    if behind.samples:  # without score windows there are none
        yield behind


def _drift(runners: Mapping[str, Watched]) -> Iterator[Metric]:
    meaning = "Distance of the recent mean of a model input from the training data's, in its standard deviations"
    family = GaugeMetricFamily("esp_input_drift_deviations", meaning, labels=["query", "window", "input", "channel"])
    for name, runner in runners.items():
        for window, scorer in runner.scorers.items():
            for drift in scorer.drifts:
                for channel, shift in enumerate(drift.shifts()):
                    family.add_metric([name, window, drift.name, str(channel)], shift)
    if family.samples:  # models may come without statistics
        yield family


def exposition(runners: Mapping[str, Watched], others: Iterable[Collector] = ()) -> bytes:
    """The text that ``GET /metrics`` answers with."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in (EngineCollector(runners), *others):
        registry.register(collector)
    text: bytes = generate_latest(registry)
    return text
