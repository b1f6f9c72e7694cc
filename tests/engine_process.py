"""An engine in a process of its own, and a Kafka client beside it, for tests that kill and stop engines."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_S, LONGEST_LOAD_S = 240.0, 400.0  # a machine may be ten times slower, and compile its kernels first
LISTENS = r"admin API and metrics at (https?://[\d.]+:\d+)\b.*\n"
T = TypeVar("T")


def wait_until(is_so: Callable[[], Any], what: str | Callable[[], str]) -> None:
    """Looks again and again at a world of other processes; AssertionError when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"never came: {what() if callable(what) else what}"
        time.sleep(0.02)


class EngineProcess:
    """``esp run`` as a child; its log lies beside its state."""

    def __init__(self, query: Path, state: Path, *options: object) -> None:
        state.parent.mkdir(parents=True, exist_ok=True)
        self.log = state.with_suffix(".log")
        command = [sys.executable, "-m", "esp", "run", str(query), "--state", str(state), "--listen", "127.0.0.1:0"]
        command += map(str, options)
        self.start_of_log = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONASYNCIODEBUG": ""})

    @property
    def text(self) -> str:
        return self.log.read_bytes()[self.start_of_log :].decode(errors="replace")  # its last line may be half there

    def wait_for(self, line: str) -> str:
        """Until a line of the log holds a pattern."""

        def is_there() -> "re.Match[str] | None":
            found = re.search(line, self.text)
            assert found or self.process.poll() is None, f"the engine has ended: {self.text}"
            return found

        wait_until(is_there, lambda: f"{line} in {self.text}")
        return self.text

    @property
    def url(self) -> str:
        found = re.search(LISTENS, self.wait_for(LISTENS))
        assert found
        return found[1]

    def ready(self) -> tuple[bool, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=PATIENCE_S) as answer:
                return True, json.load(answer)
        except urllib.error.HTTPError as err:
            return False, json.load(err)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE_S) as answer:
            return str(answer.read(), "utf-8")

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """Ends it in good order; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> "EngineProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


class Topics:
    """Topics of one tag on a broker: made, written and read whole."""

    def __init__(self, brokers: str, tag: str, names: Sequence[str], partitions: int, config: dict[str, str] | None = None) -> None:
        self.brokers, self.tag, self.partitions = brokers, tag, partitions
        self.options = {"bootstrap.servers": brokers, "log_level": 0, "reconnect.backoff.max.ms": 500}
        self.admin = AdminClient(self.options)
        kept = {"retention.ms": "-1"}  # windows of years ago are results too
        wanted = [NewTopic(f"{tag}.{name}", partitions, 1, config=kept | (config or {})) for name in names]
        for made in self.admin.create_topics(wanted).values():
            made.result(PATIENCE_S)
        self.reader = self._consumer()
        self._askers: dict[str, Any] = {}  # by their group
        self.producer = self.new_producer()

    def new_producer(self) -> Any:
        return Producer({**self.options, "enable.idempotence": True, "linger.ms": 2})

    def send(self, name: str, records: Sequence[tuple[int, bytes]]) -> None:
        """Writes (partition, value) records one by one; returns when the broker has them."""
        failed: list[str] = []

        def told(err: KafkaError | None, _message: object) -> None:
            failed.extend([] if err is None else [str(err)])

        for partition, value in records:
            self.producer.produce(f"{self.tag}.{name}", value, partition=partition, on_delivery=told)
            self.producer.poll(0)
        assert self.producer.flush(PATIENCE_S) == 0
        assert not failed, f"{len(failed)} of {len(records)} records were not taken: {failed[0]}"

    def load(self, name: str, records: Iterable[tuple[int, bytes]], pace_s: float = 0.001) -> "Load":
        """Writes records that never run out at a pace, from a thread, until it is told to end."""
        return Load(self.new_producer(), f"{self.tag}.{name}", iter(records), pace_s)

    def count(self, name: str) -> int:
        """Records in the topic."""
        return sum(self.ends(name))

    def ends(self, name: str, isolation: str = "read_committed") -> list[int]:
        """Behind the last record of each partition that is decided; under read_uncommitted behind those of open transactions too."""
        reader = self.reader if isolation == "read_committed" else self._asker("open", isolation)
        return _patiently(lambda: [reader.get_watermark_offsets(part, timeout=PATIENCE_S)[1] for part in self._parts(name)])

    def values(self, name: str) -> list[bytes]:
        """All that the topic holds, partition by partition."""
        return [value for part in self.by_partition(name) for value in part]

    def committed_values(self, name: str) -> list[list[bytes]]:
        """What a reader of committed records sees, by partition."""
        found: list[list[bytes]] = [[] for _ in range(self.partitions)]
        reader = Consumer(
            {
                **self.options, "group.id": "committed", "enable.auto.commit": False, "isolation.level": "read_committed",
                "enable.partition.eof": True, "auto.offset.reset": "earliest",
            }
        )  # fmt: skip
        # who ends a transaction is answered before its mark stands in each partition
        wait_until(lambda: self.ends(name) == self.ends(name, "read_uncommitted"), f"{name} without an open transaction")
        reader.assign(self._parts(name))
        ended: set[int] = set()
        while len(ended) < self.partitions:
            for message in reader.consume(1000, 0.2):
                if message.error() is None:
                    found[message.partition()].append(message.value())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ended.add(message.partition())
        reader.close()
        return found

    def by_partition(self, name: str) -> list[list[bytes]]:
        parts, ends = self._parts(name), self.ends(name)
        found: list[list[bytes]] = [[] for _ in parts]
        self.reader.assign(parts)
        while sum(map(len, found)) < sum(ends):
            for message in self.reader.consume(1000, 0.2):
                assert message.error() is None
                found[message.partition()].append(message.value())
        self.reader.unassign()
        return found

    def committed(self, name: str, group: str) -> dict[int, int]:
        """The offsets of a group, of the partitions that have one."""
        asker = self._asker(group)

        def ask() -> dict[int, int]:
            found = asker.committed(self._parts(name), timeout=PATIENCE_S)
            if errors := [part.error for part in found if part.error]:
                raise KafkaException(errors[0])
            return {part.partition: part.offset for part in found if part.offset >= 0}

        return _patiently(ask)

    def _asker(self, group: str, isolation: str = "read_committed") -> Any:
        """A client for questions of a group; kept, for they are asked again and again."""
        if group not in self._askers:
            self._askers[group] = self._consumer(group, isolation)
        return self._askers[group]

    def _consumer(self, group: str = "reader", isolation: str = "read_committed") -> Any:
        options = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "error", "isolation.level": isolation}
        return Consumer({**self.options, **options})

    def _parts(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(f"{self.tag}.{name}", number, 0) for number in range(self.partitions)]


class Load:
    """Records on their way to a topic, from its beginning to ``end``: however fast or slow the rest is, there are more.

    Where a test fails before the end, it ends by itself.
    """

    def __init__(self, producer: Any, topic: str, records: Iterator[tuple[int, bytes]], pace_s: float) -> None:
        self.producer, self.topic, self.records, self.pace_s = producer, topic, records, pace_s
        self.sent, self.failures, self._ending = 0, list[object](), threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        deadline = time.monotonic() + LONGEST_LOAD_S
        while not self._ending.wait(self.pace_s) and time.monotonic() < deadline:
            partition, value = next(self.records)
            self.producer.produce(self.topic, value, partition=partition, on_delivery=self._told)
            self.producer.poll(0)
            self.sent += 1

    def _told(self, err: KafkaError | None, _message: object) -> None:
        self.failures += [] if err is None else [err]

    def end(self) -> int:
        """No more; how many were written, all of which the broker has."""
        assert self._thread.is_alive(), f"it ended by itself, after {self.sent} records"
        self._ending.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.producer.flush(PATIENCE_S) == 0
        assert not self.failures, f"{len(self.failures)} of {self.sent} records were not taken: {self.failures[0]}"
        return self.sent


PASSING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._UNKNOWN_PARTITION, KafkaError._TRANSPORT, KafkaError._TIMED_OUT)


def _patiently(ask: Callable[[], T]) -> T:
    """The answer of a broker that may be on its way up, or has made the topic just now."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except KafkaException as err:
            is_passing = err.args[0].retriable() or err.args[0].code() in PASSING
            if not is_passing or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
