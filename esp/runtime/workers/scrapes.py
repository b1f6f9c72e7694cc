"""One page of metrics over several workers: counters and histograms are summed, gauges keep their worker."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

SUMMED = ("counter", "histogram", "summary")
_Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, _Labels]  # name of a sample and its labels


class _Family:
    """A metric family under way: its samples in the order in which they came first."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text
        self.samples: dict[_Key, float] = {}

    def add(self, name: str, labels: _Labels, value: float) -> None:
        self.samples[name, labels] = self.samples.get((name, labels), 0.0) + value


class Scrapes:
    """What each worker said last. Of workers that have ended the sums remain, for a counter must not fall when one is started again."""

    def __init__(self) -> None:
        self._last: dict[int, list[Metric]] = {}
        self._gone: list[Metric] = []

    def take(self, worker: int, text: bytes) -> None:
        self._last[worker] = list(text_string_to_metric_families(text.decode()))

    def end(self, worker: int) -> None:
        """A worker has ended: what it counted stays, what it was goes."""
        counted = [family for family in self._last.pop(worker, []) if family.type in SUMMED]
        self._gone = [_metric(name, family) for name, family in _merged([(None, self._gone), (None, counted)]).items()]

    def page(self, own: Iterable[Metric] = ()) -> bytes:
        """The text in the format of Prometheus, with families of the supervisor's own."""
        found = _merged([(None, [*own, *self._gone]), *((str(worker), self._last[worker]) for worker in sorted(self._last))])
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page(found))
        text: bytes = generate_latest(registry)
        return text


class _Page(Collector):
    def __init__(self, families: dict[str, _Family]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        return (_metric(name, family) for name, family in self.families.items())


def _merged(pages: Iterable[tuple[str | None, Iterable[Metric]]]) -> dict[str, _Family]:
    found: dict[str, _Family] = {}
    for worker, families in pages:
        for family in families:
            into = found.setdefault(family.name, _Family(family.type, family.documentation))
            is_gauge = worker is not None and family.type not in SUMMED
            for sample in family.samples:
                labels = tuple(sample.labels.items())
                if is_gauge and family.name.endswith("_info"):  # what a worker is made of: the same for all, but amid a deployment
                    into.samples[sample.name, labels] = sample.value
                else:
                    into.add(sample.name, (*labels, ("worker", str(worker))) if is_gauge else labels, sample.value)
    return found


def _metric(name: str, family: _Family) -> Metric:
    metric = Metric(name, family.text, family.kind)
    for (sample, labels), value in family.samples.items():
        metric.add_sample(sample, dict(labels), value)
    return metric
