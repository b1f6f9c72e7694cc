"""What stands still in a source: a partition that is fetched and gives no answer, a group that gives no partitions, a commit that waits."""

import time
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from esp.runtime.kafka import watch


class Fetching(Protocol):
    """What is asked of a source."""

    settings: Any
    _consumer: Any
    _position: dict[int, int]
    _paused: set[int]


class Standstill:
    """Remembers since when each thing has stood still."""

    def __init__(self, source: Fetching) -> None:
        self.source = source
        self._begun: dict[str, float] = {}
        self._answered: dict[int, tuple[Any, float]] = {}  # partition -> the stamp of its last answer, and when that was seen first

    def begin(self, what: str) -> None:
        self._begun[what] = time.monotonic()

    def end(self, what: str) -> None:
        self._begun.pop(what, None)

    def what(self, answering_s: float) -> str:
        """The first thing that has stood still too long; empty = none has. Before that time nobody could answer."""
        now = time.monotonic()
        for what, since in self._begun.items():
            if now - max(since, answering_s) > watch.STALL_S:
                return what
        patience_s = watch.STALL_S + self.source.settings.fetch_max_wait_ms / 1000
        silent = [partition for partition, since in self._silent(now).items() if now - max(since, answering_s) > patience_s]
        return f"partition {', '.join(map(str, sorted(silent)))} gives no answer" if silent else ""

    def _silent(self, now: float) -> dict[int, float]:
        """Since when each partition has not answered."""
        source, consumer = self.source, self.source._consumer
        stamps: dict[int, tuple[Any, float]] = {}
        for partition in source._position:
            part = TopicPartition(source.settings.topic, partition)
            if partition in source._paused or part in consumer._fetcher._records:
                continue
            try:
                stamp = consumer.last_poll_timestamp(part)
            except (AssertionError, IllegalStateError, AttributeError):  # it moves just now
                continue
            before = self._answered.get(partition)
            stamps[partition] = before if before is not None and before[0] == stamp else (stamp, now)
        self._answered = stamps
        return {partition: since for partition, (_, since) in stamps.items()}
