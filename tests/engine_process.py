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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_S = 120.0


def wait_until(is_so: Callable[[], Any], what: str) -> None:
    """Looks again and again at a world of other processes; AssertionError when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"never came: {what}"
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
        return self.log.read_bytes()[self.start_of_log :].decode()

    def wait_for(self, line: str) -> str:
        """Until a line of the log holds a pattern."""

        def is_there() -> "re.Match[str] | None":
            found = re.search(line, self.text)
            assert found or self.process.poll() is None, f"the engine has ended: {self.text}"
            return found

        wait_until(is_there, f"{line} in {self.text}")
        return self.text

    @property
    def url(self) -> str:
        found = re.search(r"https?://[\d.]+:\d+", self.wait_for("admin API and metrics at"))
        assert found
        return found[0]

    def ready(self) -> tuple[bool, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                return True, json.load(answer)
        except urllib.error.HTTPError as err:
            return False, json.load(err)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
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
        self.options = {"bootstrap.servers": brokers, "log_level": 0}
        self.admin = AdminClient(self.options)
        kept = {"retention.ms": "-1"}  # windows of years ago are results too
        wanted = [NewTopic(f"{tag}.{name}", partitions, 1, config=kept | (config or {})) for name in names]
        for made in self.admin.create_topics(wanted).values():
            made.result(PATIENCE_S)
        self.reader = self._consumer()
        self.producer = Producer({**self.options, "enable.idempotence": True, "linger.ms": 2})

    def send(self, name: str, records: Sequence[tuple[int, bytes]], pace_s: float = 0.0) -> None:
        """Writes (partition, value) records one by one; returns when the broker has them."""
        failed: list[str] = []

        def told(err: KafkaError | None, _message: object) -> None:
            failed.extend([] if err is None else [str(err)])

        for partition, value in records:
            self.producer.produce(f"{self.tag}.{name}", value, partition=partition, on_delivery=told)
            self.producer.poll(0)
            if pace_s:
                time.sleep(pace_s)
        assert self.producer.flush(PATIENCE_S) == 0
        assert not failed, f"{len(failed)} of {len(records)} records were not taken: {failed[0]}"

    def send_beside(self, name: str, records: Sequence[tuple[int, bytes]], pace_s: float) -> threading.Thread:
        """Writes them at their pace from a thread."""
        thread = threading.Thread(target=self.send, args=(name, records, pace_s))
        thread.start()
        return thread

    def count(self, name: str) -> int:
        """Records in the topic."""
        return sum(self._ends(name))

    def _ends(self, name: str) -> list[int]:
        while True:
            try:
                return [self.reader.get_watermark_offsets(part, timeout=PATIENCE_S)[1] for part in self._parts(name)]
            except KafkaException as err:
                passing = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._UNKNOWN_PARTITION, KafkaError._TRANSPORT)
                if not err.args[0].retriable() and err.args[0].code() not in passing:
                    raise

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
        parts, ends = self._parts(name), self._ends(name)
        found: list[list[bytes]] = [[] for _ in parts]
        self.reader.assign(parts)
        while sum(map(len, found)) < sum(ends):
            for message in self.reader.consume(1000, 0.2):
                assert message.error() is None
                found[message.partition()].append(message.value())
        self.reader.unassign()
        return found

    def committed(self, name: str, group: str) -> dict[int, int]:
        consumer = self._consumer(group)
        offsets = {part.partition: part.offset for part in consumer.committed(self._parts(name), timeout=PATIENCE_S)}
        consumer.close()
        return {partition: offset for partition, offset in offsets.items() if offset >= 0}

    def _consumer(self, group: str = "reader") -> Any:
        return Consumer({**self.options, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "error"})

    def _parts(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(f"{self.tag}.{name}", number, 0) for number in range(self.partitions)]
