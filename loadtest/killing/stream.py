"""The input: good events, late ones, readings that are missing, records that cannot be read; sent at a steady rate from a thread."""

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Producer

from loadtest.killing.kit import CHANNELS

DEVICES, STEP_MS, START_MS = 24, 10, 1_700_000_000_000
FLUSH_S = 120.0


@dataclass(frozen=True, slots=True)
class Sending:
    """A record to be sent."""

    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


def records(seed: int, partitions: int) -> Iterator[Sending]:
    """Records without end; a device stays in its partition."""
    rng, number = random.Random(seed), 0
    while True:
        device = rng.randrange(DEVICES)
        late_ms = rng.choice([0] * 20 + [20, 40, 60, 80, 1500])
        event: dict[str, Any] = {
            "device": f"d{device}", "id": number, "ts": START_MS + number * STEP_MS - late_ms,
            "acc": [round(rng.uniform(-2, 2), 3) for _ in range(CHANNELS)], "load": round(rng.gauss(50, 20), 3), "unknown": [1],
        }  # fmt: skip
        what = rng.random()
        if what < 0.02:
            event["acc"] = None
        elif what < 0.04:
            event["load"] = None
        elif what < 0.05:
            event["ts"] = None
        value = json.dumps(event).encode()
        if 0.05 <= what < 0.07:
            value = value[: rng.randrange(1, len(value) - 1)]
        key = None if number % 7 == 3 else f"d{device}".encode()
        headers: list[tuple[str, str | bytes | None]] = [("trace", b"%d" % number)] if number % 3 else []
        yield Sending(device % partitions, key, value, headers)
        number += 1


class Stream:
    """Sends from a thread until it is stopped; ``sent`` says how many have been handed to the client."""

    def __init__(self, brokers: str, topic: str, seed: int, partitions: int, rate: float) -> None:
        self.topic, self.rate, self.sent = topic, rate, 0
        self.producer = Producer(
            {
                "bootstrap.servers": brokers,
                "log_level": 0,
                "linger.ms": 2,
                "enable.idempotence": True,
                "message.timeout.ms": 300_000,
            }
        )
        self._records = records(seed, partitions)
        self._refused: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.wait(0.002):
            while self.sent < self.rate * (time.monotonic() - began_s):
                self._send(next(self._records))
            self.producer.poll(0)

    def _send(self, record: Sending) -> None:
        self.producer.produce(
            self.topic, record.value, record.key, record.partition, headers=record.headers, on_delivery=self._delivered
        )
        self.sent += 1

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._refused.append(str(error))

    def stop(self) -> None:
        """Returns when the broker has all of it; RuntimeError when it has not taken every record."""
        self._stop.set()
        self._thread.join()
        waiting = self.producer.flush(FLUSH_S)
        if waiting or self._refused:
            raise RuntimeError(f"the broker did not take every event: {[*self._refused, f'{waiting} wait'][0]}")
