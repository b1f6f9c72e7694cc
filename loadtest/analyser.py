"""The analyser, a process of its own: takes every output record with the time of its receipt, and reads them once all are there."""

import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import msgpack
import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition

from loadtest.children import is_orphan, leave_signals_to_parent
from loadtest.plan import I64

TAKE = 5000  # records of one call
IDLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Received:
    """One row an output record, in the order of receipt: event, label (-1 = none), when it came, when the broker appended it."""

    number: I64
    label: I64
    at_ns: I64
    appended_ms: I64


@dataclass(slots=True)
class _Taken:
    """Records as they came: the values of a call joined, and their times; they are taken apart after the run."""

    values: list[bytes] = field(default_factory=list)
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
        self.values.append(b"".join([message.value() for message in messages]))
        self.at_ns.append(now_ns)
        self.counts.append(len(messages))


def analyse(brokers: str, topic: str, partitions: int, control: Connection) -> None:
    """The process: says True when it listens; on a word from the parent reads up to the end of the topic and answers with Received."""
    leave_signals_to_parent()
    consumer = Consumer(
        {
            "bootstrap.servers": brokers, "log_level": 0, "group.id": f"{topic}-analyser", "enable.auto.commit": False,
            "auto.offset.reset": "error", "fetch.wait.max.ms": 100, "queued.min.messages": 1_000_000,
        }
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    taken = _Taken()
    control.send(True)
    while not control.poll() and not is_orphan():
        _take(consumer, taken)
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(partitions)}
    while any(taken.next_offset.get(p, 0) < end for p, end in ends.items()) and not is_orphan():
        _take(consumer, taken)
    consumer.close()
    control.send(_read(taken))


def _take(consumer: Consumer, taken: _Taken) -> None:
    """Waits for one record, then takes what else is there: a call for many would wait until it has them."""
    first = consumer.poll(IDLE_S)
    if first is not None:
        taken.add([first, *consumer.consume(TAKE, 0)])


def _read(taken: _Taken) -> Received:
    number, label = [], []
    for values in taken.values:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(values)
        for event in unpacker:
            number.append(event["id"])
            label.append(_label(event.get("label")))
    at_ns = np.repeat(np.asarray(taken.at_ns, np.int64), np.asarray(taken.counts, np.int64))
    return Received(np.asarray(number, np.int64), np.asarray(label, np.int64), at_ns, np.asarray(taken.appended_ms, np.int64))


def _label(value: object) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else -1
