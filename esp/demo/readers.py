"""Reads what the queries give, as a consumer would, and holds every record against what was played."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgpack
import numpy as np

from esp.demo.players import DigitsPlan, ShoulderPlan
from esp.demo.topics import PARTITIONS, Cluster

BATCH_RECORDS, WAIT_S = 500, 0.05
Take = Callable[[Any, float], None]  # a record, and when it came on the monotonic clock


class Latencies:
    """End-to-end latencies in seconds, from the moment when an event was due to the one when its score was read."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def quantile_ms(self, share: float) -> float:
        return float(np.quantile(self.seconds, share)) * 1000 if self.seconds else float("nan")


class DigitsTally:
    """Scores, counts and dead letters of the digits query against the plan."""

    def __init__(self, plan: DigitsPlan, start_s: float) -> None:
        self.plan, self.start_s = plan, start_s
        self.times = np.zeros(len(plan.events), np.int32)  # how often each id was scored
        self.unknown = self.right = 0
        self.by_model: dict[str, list[int]] = {}  # digest -> scored, right
        self.latencies = Latencies()
        self.scored: Counter[tuple[str, str, int]] = Counter()  # camera, label, second -> images, by the scores
        self.counted: Counter[tuple[str, str, int]] = Counter()  # the same, by the windows
        self.last_ms: dict[int, int] = {}  # partition -> latest event time
        self.partition_of: dict[str, int] = {}
        self.dead_reasons: list[str] = []

    def take_score(self, record: Any, now_s: float) -> None:
        score = msgpack.unpackb(record.value())
        which = score["id"] - self.plan.first_id
        if not 0 <= which < len(self.times):
            self.unknown += 1
            return
        self.times[which] += 1
        is_right = score["label"] == self.plan.labels[which]
        seen = self.by_model.setdefault(score["model"], [0, 0])
        seen[0] += 1
        seen[1] += is_right
        self.right += is_right
        self.latencies.seconds.append(now_s - self.start_s - self.plan.events[which].due_s)
        self._note(score["camera"], score["label"], score["ts"], record.partition())

    def _note(self, camera: str, label: str, ts_ms: int, partition: int) -> None:
        self.scored[camera, label, ts_ms // 1000] += 1
        self.partition_of[camera] = partition
        self.last_ms[partition] = max(ts_ms, self.last_ms.get(partition, ts_ms))

    def take_count(self, record: Any, now_s: float) -> None:
        row = json.loads(record.value())
        self.counted[row["camera"], row["label"], stamp_ms(row["window_start"]) // 1000] += row["images"]

    def take_dead(self, record: Any, now_s: float) -> None:
        headers = dict(record.headers() or [])
        self.dead_reasons.append(headers.get("esp-reason", b"no reason given").decode())

    @property
    def lost(self) -> int:
        return int((self.times == 0).sum())

    @property
    def doubled(self) -> int:
        return int(np.maximum(self.times - 1, 0).sum())

    @property
    def accuracy(self) -> float:
        total = int(self.times.sum())
        return self.right / total if total else float("nan")

    def closed(self, max_delay_ms: int) -> Counter[tuple[str, str, int]]:
        """What the windows that must have closed should have counted: those whose end the watermark of their partition has passed."""
        return Counter(
            {
                (camera, label, second): images
                for (camera, label, second), images in list(self.scored.items())  # the reader may be at work
                if (second + 1) * 1000 <= self.last_ms[self.partition_of[camera]] - max_delay_ms
            }
        )


class ShoulderTally:
    """Activities against the plan: each expected sequence once, and nothing else."""

    def __init__(self, plan: ShoulderPlan, start_s: float) -> None:
        self.plan, self.start_s = plan, start_s
        self.times: Counter[tuple[str, int]] = Counter()
        self.right = self.unknown = 0
        self.models: Counter[str] = Counter()
        self.latencies = Latencies()

    def take(self, record: Any, now_s: float) -> None:
        row = json.loads(record.value())
        key = row["device"], stamp_ms(row["ts"])
        self.models[dict(record.headers() or []).get("esp-model", b"").decode()] += 1
        if key not in self.plan.expected:
            self.unknown += 1
            return
        label, due_s = self.plan.expected[key]
        self.times[key] += 1
        self.right += row["activity"] == label
        self.latencies.seconds.append(now_s - self.start_s - due_s)

    @property
    def scored(self) -> int:
        return self.times.total()

    @property
    def lost(self) -> int:
        return len(self.plan.expected) - len(self.times)

    @property
    def doubled(self) -> int:
        return self.scored - len(self.times)

    @property
    def accuracy(self) -> float:
        return self.right / self.scored if self.scored else float("nan")


def stamp_ms(value: str | int) -> int:
    """Milliseconds since 1970 of a stamp in JSON.

    >>> stamp_ms("1970-01-01T00:00:01.5Z")
    1500
    """
    if isinstance(value, int):
        return value
    stamp = datetime.fromisoformat(value)
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1000)


class Reader:
    """Reads topics from their beginning in a thread of its own and hands each record to the tally that takes it."""

    def __init__(self, cluster: Cluster, takes: Mapping[str, Take]) -> None:
        from confluent_kafka import Consumer, TopicPartition  # an extra of the demonstration

        self.takes = takes
        self.last_s = time.monotonic()  # when something came last
        self.failure: BaseException | None = None
        options = {
            "bootstrap.servers": cluster.brokers,
            "group.id": "esp-demo",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": cluster.fetch_wait_ms,
            "log_level": 0,
        }
        self._consumer: Any = Consumer(options)
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic in takes for partition in range(PARTITIONS)])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> "Reader":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Reads on until nothing comes any more, then ends."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        try:
            while True:
                first = self._consumer.poll(WAIT_S)  # returns with the first record; consume would gather until the time is over
                now_s = time.monotonic()
                records = [] if first is None else [first, *self._consumer.consume(BATCH_RECORDS, 0)]
                good = [record for record in records if record.error() is None]
                if good:
                    self.last_s = now_s
                elif self._stopping.is_set():
                    return
                for record in good:
                    self.takes[record.topic()](record, now_s)
        except Exception as err:
            self.failure = err
