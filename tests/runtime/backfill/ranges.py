"""A live query in a process of its own over three parts of a stream, and what it made of each: before a range, of it, behind it."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.engine_process import PATIENCE_S, EngineProcess, Topics, wait_until
from tests.runtime import streams

PARTITIONS = 3
PARTS = (400, 500, 300)  # events before the range that is redone, of it, behind it
KEPT = {"retention.ms": "-1"}  # the stamps are of years ago, and a broker would take them away
FIRST_MS, STEP_MS = 1_700_000_000_000, 20
TALLIES = """
[query]
name = "{name}"
checkpoint = "50ms"
dead = {{ {dead} }}

[windows.events]
kind = "source"
schema = "device:string, id:int64, ts:stamp(ms), acc:float32[2]"
time = "ts"
max_delay = "100ms"
partitioned_by = ["device"]
connect = {{ {events} }}

[windows.counts]
kind = "aggregate"
from = "events"
by = ["device"]
size = "1s"
aggregates = {{ n = "count", last = "max(id)", mean_ts = "mean(id)" }}

[windows.tallies]
kind = "sink"
from = "counts"
connect = {{ {tallies} }}

[windows.late]
kind = "sink"
from = "counts.late"
fields = ["device", "id"]
connect = {{ {late} }}
"""
LEVELS = ("read_committed", "read_uncommitted")
Record = tuple[bytes | None, bytes | None, Any, int]  # key, value, headers, stamp


def stamp_ms(number: int) -> int:
    """The record stamp of event ``number``: that of its turn, whatever time it tells of."""
    return FIRST_MS + number * STEP_MS


@dataclass
class Live:
    """Topics of a tag on a broker and a query over them; ``marks`` are the ends of all topics between the parts of the stream."""

    brokers: str
    folder: Path
    query: Path = field(init=False)
    tag: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    names: Sequence[str] = streams.TOPICS
    marks: list[dict[str, list[int]]] = field(default_factory=list)
    events: list[streams.Event] = field(default_factory=list)  # those that are not broken
    sent: int = 0

    def __post_init__(self) -> None:
        self.topics = Topics(self.brokers, self.tag, self.names, PARTITIONS, KEPT)
        self.producer = Producer({"bootstrap.servers": self.brokers, "linger.ms": 2, "log_level": 0})

    def send(self, count: int, seed: int) -> None:
        """Events with keys, headers and stamps, every 40th of them broken."""
        pick = random.Random(seed)
        for event in streams.events(seed, count, STEP_MS, first=self.sent):
            is_broken = event["id"] % 40 == 7
            value = b"{broken" if is_broken else streams.value(event)
            self.events += [] if is_broken else [event]
            headers = [("turn", b"%d" % event["id"])] if pick.random() < 0.5 else []
            number = streams.partition_of(event["device"], PARTITIONS)
            self.producer.produce(
                f"{self.tag}.events", value, event["device"].encode(), number, timestamp=stamp_ms(event["id"]), headers=headers
            )
        assert self.producer.flush(PATIENCE_S) == 0
        self.sent += count

    def ends(self, name: str) -> list[int]:
        return ends_of(self.brokers, f"{self.tag}.{name}", PARTITIONS)

    def settle(self) -> None:
        """Waits until the live query has worked all off, and sets a mark."""
        ends = dict(enumerate(self.ends("events")))
        wait_until(lambda: self.topics.committed("events", self.tag) == ends, "the end of the stream")
        self.marks.append({name: self.ends(name) for name in self.names})

    def run(self, parts: Sequence[int]) -> EngineProcess:
        """Starts the query and lets it work off parts of so many events, one after the other."""
        engine = EngineProcess(self.query, self.folder / "state")
        engine.wait_for("is running")
        self.marks.append({name: self.ends(name) for name in self.names})
        for seed, count in enumerate(parts):
            self.send(count, seed)
            self.settle()
        return engine

    def offsets(self, mark: int) -> str:
        return ",".join(f"{number}={end}" for number, end in enumerate(self.marks[mark]["events"]))

    def check(self) -> None:
        """Holds what the live query wrote against plain Python."""
        wanted = streams.expected(self.events, PARTITIONS, is_ended=False)
        found = (self.topics.values(name) for name in ("scores", "tallies", "late"))
        streams.check(wanted, *found, is_once=True)

    def made(self, name: str, mark: int) -> list[list[Record]]:
        """What the live query wrote from a mark to the next, by partition."""
        begin, end = self.marks[mark][name], self.marks[mark + 1][name]
        return read(self.brokers, f"{self.tag}.{name}", PARTITIONS, list(map(range, begin, end)))

    def redone(self, name: str, suffix: str) -> list[list[Record]]:
        return read(self.brokers, f"{self.tag}.{name}{suffix}", PARTITIONS)


def read(brokers: str, topic: str, partitions: int, offsets: Sequence[range] | None = None) -> list[list[Record]]:
    """The committed records of a topic by partition, all or those of some offsets."""
    ends_of(brokers, topic, partitions)
    options = {
        "bootstrap.servers": brokers,
        "group.id": "r",
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "log_level": 0,
    }
    consumer, found, ended = Consumer(options), [list[Record]() for _ in range(partitions)], set[int]()
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    while len(ended) < partitions:
        for message in consumer.consume(1000, 0.2):
            if message.error() is not None:
                ended.add(message.partition())
            elif offsets is None or message.offset() in offsets[message.partition()]:
                row = message.key(), message.value(), message.headers(), message.timestamp()[1]
                found[message.partition()].append(row)
    consumer.close()
    return found


def ends_of(brokers: str, topic: str, partitions: int) -> list[int]:
    """The ends of a topic, once no transaction is open in it: its markers come a moment after the commit."""
    parts = [TopicPartition(topic, number) for number in range(partitions)]
    made = ({"bootstrap.servers": brokers, "group.id": "r", "log_level": 0, "isolation.level": level} for level in LEVELS)
    readers, found = [Consumer(options) for options in made], list[list[int]]()

    def are_equal() -> bool:
        found[:] = [[reader.get_watermark_offsets(part, timeout=PATIENCE_S)[1] for part in parts] for reader in readers]
        return found[0] == found[1]

    wait_until(are_equal, "the end of all transactions")
    for reader in readers:
        reader.close()
    return found[0]
