"""Plays events into topics at planned times, as cameras and watches would: an open loop that waits for nobody."""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from esp.demo.folders import QueryFolder
from esp.demo.topics import PARTITIONS, Cluster
from esp.runtime.durations import parse_duration
from esp.train.data import Dataset

CAMERAS = 8
SAMPLE_MS = 20  # the watches measure 50 times a second
TICK_S = 0.002


@dataclass(frozen=True, slots=True)
class Planned:
    """An event and when it is due, in seconds after the start."""

    due_s: float
    partition: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class DigitsPlan:
    """What is played to the digits query: event ``i`` has the id ``first_id + i``, its camera and time, and the label it should get."""

    events: tuple[Planned, ...]
    first_id: int
    cameras: tuple[str, ...]
    ts_ms: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShoulderPlan:
    """What is played to the shoulder query; ``expected`` has the activity and the due time of each sequence by device and time of its last event."""

    events: tuple[Planned, ...]
    expected: dict[tuple[str, int], tuple[str, float]]


def plan_digits(data: Dataset, rate: float, seconds: float, start_ms: int, first_id: int = 0) -> DigitsPlan:
    """The images one after another, again and again, each from the next camera; event time is the time when it is due."""
    count, pixels = round(rate * seconds), [row.tobytes() for row in data.array]
    events, cameras, stamps, labels = [], [], [], []
    for i in range(count):
        camera, which = i % CAMERAS, i % len(pixels)
        due_s, name = i / rate, f"camera-{camera + 1}"
        ts_ms = start_ms + int(due_s * 1000)
        value = msgpack.packb({"camera": name, "id": first_id + i, "ts": ts_ms, "pixels": pixels[which]})
        events.append(Planned(due_s, camera % PARTITIONS, name.encode(), value))
        cameras.append(name)
        stamps.append(ts_ms)
        labels.append(data.labels[which])
    return DigitsPlan(tuple(events), first_id, tuple(cameras), tuple(stamps), tuple(labels))


def malformed_digit(partition: int = 0) -> Planned:
    """An event whose image is one pixel short."""
    value = msgpack.packb({"camera": "camera-1", "id": -1, "ts": int(time.time() * 1000), "pixels": bytes(63)})
    return Planned(0.0, partition, b"camera-1", value)


def plan_shoulder(data: Dataset, query: QueryFolder, seconds: float, end_ms: int) -> ShoulderPlan:
    """Each subject is a device that plays its recordings one after another; event time runs faster than the clock and ends at ``end_ms``."""
    settings = query.window("recent")
    length, hop = int(settings["length"]), int(settings["hop"])
    pause_ms = 2 * parse_duration(settings["max_gap"]) // 1_000_000
    subjects = sorted(set(data.groups), key=int)
    spans = {subject: _span_ms(data, subject, pause_ms) for subject in subjects}
    speed = max(spans.values()) / 1000 / seconds
    events: list[Planned] = []
    expected: dict[tuple[str, int], tuple[str, float]] = {}
    for place, subject in enumerate(subjects):
        device, begin_ms = f"watch-{subject}", end_ms - max(spans.values())
        ts_ms = begin_ms
        for recording, label in _recordings(data, subject):
            for i, sample in enumerate(recording):
                due_s = (ts_ms - begin_ms) / 1000 / speed
                events.append(Planned(due_s, place % PARTITIONS, device.encode(), _sample(device, ts_ms, sample)))
                if i + 1 >= length and (i + 1 - length) % hop == 0:
                    expected[device, ts_ms] = (label, due_s)
                ts_ms += SAMPLE_MS
            ts_ms += pause_ms
    events.sort(key=lambda event: event.due_s)  # stable: the events of a device keep their order
    return ShoulderPlan(tuple(events), expected)


def _recordings(data: Dataset, subject: str) -> list[tuple[np.ndarray[Any, Any], str]]:
    return [(row, label) for row, label, group in zip(data.rows, data.labels, data.groups) if group == subject]


def _span_ms(data: Dataset, subject: str, pause_ms: int) -> int:
    return sum(len(recording) * SAMPLE_MS + pause_ms for recording, _ in _recordings(data, subject))


def _sample(device: str, ts_ms: int, sample: np.ndarray[Any, Any]) -> bytes:
    axes = np.ascontiguousarray(sample, "<f4")
    packed: bytes = msgpack.packb({"device": device, "ts": ts_ms, "acc": axes[:3].tobytes(), "gyro": axes[3:].tobytes()})
    return packed


class Player:
    """Sends planned events of one topic, each when it is due, from a thread of its own.

    Being late with one moves none of the others; what the broker refuses is counted in ``refused``. What is due from ``hold_s`` on
    waits for ``release``.
    """

    def __init__(self, cluster: Cluster, topic: str, events: Sequence[Planned], hold_s: float = math.inf) -> None:
        from confluent_kafka import Producer  # an extra of the demonstration

        self.topic, self.events, self.hold_s = topic, events, hold_s
        self.sent = self.refused = 0
        self.failure = ""
        options = {"bootstrap.servers": cluster.brokers, "enable.idempotence": True, "linger.ms": cluster.linger_ms, "log_level": 0}
        self._producer: Any = Producer(options)
        self._stopping, self._released = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._start_s = 0.0

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def start(self, start_s: float) -> "Player":
        """Begins; ``start_s`` on the monotonic clock is the moment from which events are due."""
        self._start_s = start_s
        self._thread.start()
        return self

    def send(self, event: Planned) -> None:
        """Sends one event beside the plan."""
        self._produce(event)
        self._producer.poll(0)

    def release(self) -> None:
        """Lets what was held go."""
        self._released.set()

    def stop(self) -> None:
        """Ends early, if it is still playing, and waits for what is under way."""
        self._stopping.set()
        self._released.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _play(self) -> None:
        for event in self.events:
            while (wait_s := self._start_s + event.due_s - time.monotonic()) > 0:
                self._producer.poll(0)
                if self._stopping.wait(min(max(wait_s, TICK_S), 0.1)):
                    break
            while event.due_s >= self.hold_s and not self._released.wait(0.1):
                self._producer.poll(0)
            if self._stopping.is_set():
                break
            self._produce(event)
            self.sent += 1
        self._producer.flush(10)

    def _produce(self, event: Planned) -> None:
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    event.value,
                    event.key,
                    event.partition,
                    on_delivery=self._on_delivery,
                    timestamp=int(time.time() * 1000),
                )
            except BufferError:  # the broker is behind: wait for room
                self._producer.poll(0.1)
                continue
            return

    def _on_delivery(self, error: Any, message: Any) -> None:
        if error is not None:
            self.refused += 1
            self.failure = str(error)
