"""The generator, a process of its own: sends each event when its time has come, however slow the rest of the world is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from confluent_kafka import Producer

from loadtest.children import leave_signals_to_parent
from loadtest.plan import I64, Load, due, send_times
from loadtest.workload import Workload

TICK_S = 0.0005  # the shortest sleep: a busy generator would take a core from those that are measured
LEAD_S = 0.5  # from the plan to its first event
FLUSH_S = 60.0
FILL_LINGER_MS = 50.0  # a topic is filled in large batches


@dataclass(frozen=True, slots=True)
class Sent:
    """What the generator did: when the first event was planned, how late each left (ns), and what the broker refused."""

    start_ns: int
    late_ns: I64
    took_s: float
    refused: list[str] = field(default_factory=list)


def generate(brokers: str, topic: str, load: Load, workload: Workload, answer: Connection) -> None:
    """The process: sends the load, then answers with :class:`Sent`."""
    leave_signals_to_parent()
    refused: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": brokers, "log_level": 0, "linger.ms": FILL_LINGER_MS if load.rate is None else load.linger_ms, "enable.idempotence": True, "batch.size": 1 << 20,
            "queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1 << 20, "delivery.report.only.error": True,
            "on_delivery": lambda error, message: refused.append(str(error)),
        }
    )  # fmt: skip
    producer.list_topics(topic, timeout=30)
    send = _sender(producer, topic, load, workload)
    began = time.perf_counter()
    start_ns, late_ns = _fill(load, send) if load.rate is None else _follow(load, send, producer)
    waiting = producer.flush(FLUSH_S)
    refused += ["not acknowledged in time"] * waiting
    answer.send(Sent(start_ns, late_ns, time.perf_counter() - began, refused[:10]))


def _sender(producer: Producer, topic: str, load: Load, workload: Workload) -> Callable[[int, int], None]:
    """A function that hands one event over: its number, its time in ns."""
    event = workload.packer()
    keys = [workload.key(camera) for camera in range(load.cameras)]
    produce: Any = producer.produce

    def send(number: int, ts_ns: int) -> None:
        camera = load.camera(number)
        key, value = keys[camera], event(camera, number, ts_ns)
        while True:
            try:
                return produce(topic, value, key, load.partition(number), timestamp=ts_ns // 1_000_000)
            except BufferError:  # the broker does not keep up: what waits for it is late, and counted so
                producer.poll(0.01)

    return send


def _fill(load: Load, send: Callable[[int, int], None]) -> tuple[int, I64]:
    start_ns = time.time_ns()
    for number in range(load.events):
        send(number, time.time_ns())
    return start_ns, np.zeros(0, np.int64)


def _follow(load: Load, send: Callable[[int, int], None], producer: Producer) -> tuple[int, I64]:
    """Sends by the plan; an event that is late still carries the time at which it should have left."""
    start_ns = time.time_ns() + int(LEAD_S * 1e9)
    planned, late_ns, sent = send_times(load, start_ns), np.zeros(load.events, np.int64), 0
    while sent < load.events:
        now_ns = time.time_ns()
        until = due(planned, sent, now_ns)
        for number, at_ns in enumerate(planned[sent:until].tolist(), sent):
            send(number, at_ns)
        late_ns[sent:until] = time.time_ns() - planned[sent:until]
        sent = until
        producer.poll(0)
        if sent < load.events:
            time.sleep(max(TICK_S, (int(planned[sent]) - time.time_ns()) / 1e9))
    return start_ns, late_ns
