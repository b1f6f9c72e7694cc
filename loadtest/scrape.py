"""Numbers out of a Prometheus exposition: kernel compilations, batch sizes, where the engine's time went."""

import math
from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

STAGES = {
    "decode": "esp_decode_seconds",
    "score": "esp_score_seconds",
    "encode": "esp_encode_seconds",
    "queue": "esp_queue_seconds",
}


@dataclass(slots=True)
class Scrape:
    """Sums over all labels of the counters, and buckets of the histograms."""

    values: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    buckets: dict[str, dict[float, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    def quantile(self, histogram: str, share: float) -> float | None:
        """The upper bound of the bucket that holds a share of the values; None when there are none (or beyond the last bound)."""
        buckets = sorted(self.buckets[histogram].items())
        total = buckets[-1][1] if buckets else 0.0
        for bound, below in buckets:
            if total and below >= share * total:
                return bound if math.isfinite(bound) else None
        return None


def read_metrics(text: str) -> Scrape:
    scrape = Scrape()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                scrape.buckets[sample.name.removesuffix("_bucket")][float(sample.labels["le"])] += sample.value
            else:
                scrape.values[sample.name] += sample.value
    return scrape


def stage_us(scrape: Scrape, events: int) -> dict[str, float]:
    """Microseconds of each stage for one event; queue is how long an event waits for the worker."""
    return {stage: 1e6 * scrape.values[f"{name}_sum"] / events for stage, name in STAGES.items() if f"{name}_sum" in scrape.values}
