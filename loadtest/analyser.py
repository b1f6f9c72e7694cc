"""The analyser, a process of its own: takes every output record with the time of its receipt, and reads them once all are there."""

import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition

from loadtest.children import is_orphan, leave_signals_to_parent
from loadtest.events import F32, Readings
from loadtest.plan import I64
from loadtest.workload import Workload

TAKE = 5000  # records of one call
IDLE_S = 0.05
UNREAD_BYTES = 256 << 20  # values that wait to be taken apart, at most


@dataclass(frozen=True, slots=True)
class Received:
    """One row an output record, in the order of receipt: event, scores (NaN = none), when it came, when the broker appended it."""

    number: I64
    scores: F32
    at_ns: I64
    appended_ms: I64


@dataclass(slots=True)
class _Taken:
    """Records as they came, and their times; values are taken apart after the run, or when there are too many to keep."""

    workload: Workload
    values: list[bytes] = field(default_factory=list)
    unread_bytes: int = 0
    readings: list[Readings] = field(default_factory=list)
    at_ns: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    appended_ms: list[int] = field(default_factory=list)
    next_offset: dict[int, int] = field(default_factory=dict)

    def add(self, messages: list[Any]) -> None:
        now_ns = time.time_ns()
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            self.next_offset[message.partition()] = message.offset() + 1
            self.appended_ms.append(message.timestamp()[1])
            self.unread_bytes += len(message.value())
        self.values += [message.value() for message in messages]
        self.at_ns.append(now_ns)
        self.counts.append(len(messages))
        if self.unread_bytes > UNREAD_BYTES:
            self.read()

    def read(self) -> None:
        self.readings.append(self.workload.read(self.values))
        self.values, self.unread_bytes = [], 0

    def received(self) -> Received:
        self.read()
        numbers, scores = zip(*self.readings)
        at_ns = np.repeat(np.asarray(self.at_ns, np.int64), np.asarray(self.counts, np.int64))
        return Received(np.concatenate(numbers), np.concatenate(scores), at_ns, np.asarray(self.appended_ms, np.int64))


def analyse(brokers: str, topic: str, partitions: int, workload: Workload, control: Connection) -> None:
    """The process: says True when it listens; on a word from the parent reads up to the end of the topic and answers with Received."""
    leave_signals_to_parent()
    consumer = Consumer(
        {
            "bootstrap.servers": brokers, "log_level": 0, "group.id": f"{topic}-analyser", "enable.auto.commit": False,
            "auto.offset.reset": "error", "fetch.wait.max.ms": 100, "queued.min.messages": 1_000_000,
        }
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    taken = _Taken(workload)
    control.send(True)
    while not control.poll() and not is_orphan():
        _take(consumer, taken)
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(partitions)}
    while any(taken.next_offset.get(p, 0) < end for p, end in ends.items()) and not is_orphan():
        _take(consumer, taken)
    consumer.close()
    control.send(taken.received())


def _take(consumer: Consumer, taken: _Taken) -> None:
    """Waits for one record, then takes what else is there: a call for many would wait until it has them."""
    first = consumer.poll(IDLE_S)
    if first is not None:
        taken.add([first, *consumer.consume(TAKE, 0)])
