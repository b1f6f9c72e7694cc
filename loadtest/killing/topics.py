"""The topics of a kill run: made, asked for their ends and the group's offsets while the broker comes and goes, read whole at the end."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from loadtest.killing.reference import Record

PATIENCE_S = 90.0
ASK_S = 5.0
GATHER_S = 0.1  # for a batch of records: the client waits so long for more, also where all has been read
T = TypeVar("T")


class Topics:
    """Topics NAME.SHORT of one run, all with as many partitions; ``kept`` are settings that bound what is kept of them."""

    def __init__(
        self, brokers: str, name: str, shorts: Sequence[str], partitions: int, kept: Mapping[str, str] | None = None
    ) -> None:
        self.brokers, self.name, self.partitions = brokers, name, partitions
        admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        keeping = {"retention.ms": "-1", **(kept or {})}  # windows bear their own time, which may be long ago
        topics = [NewTopic(f"{name}.{short}", partitions, 1, config=keeping) for short in shorts]
        for made in admin.create_topics(topics).values():
            made.result(PATIENCE_S)
        self._asker = self._consumer("read_uncommitted", name)

    def close(self) -> None:
        self._asker.close()

    def ends(self, short: str, isolation: str = "read_uncommitted") -> list[int]:
        """The offset behind the last record of each partition; under read_committed behind the last that is decided."""
        asker = self._asker if isolation == "read_uncommitted" else self._consumer(isolation, f"{self.name}-ends")

        def ask() -> list[int]:
            return [asker.get_watermark_offsets(part, timeout=ASK_S)[1] for part in self._parts(short)]

        found = _patiently(ask)
        if asker is not self._asker:
            asker.close()
        return found

    def undecided(self, short: str) -> list[int]:
        """Offsets behind a transaction that nobody has ended, by partition. One that was ended now is looked for again: its mark comes after."""
        deadline = time.monotonic() + PATIENCE_S
        while any(held := [a - b for a, b in zip(self.ends(short), self.ends(short, "read_committed"))]):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return held

    def committed(self, short: str) -> list[int]:
        """The group's offsets of a source topic, by partition."""
        found = _patiently(lambda: self._asker.committed(self._parts(short), timeout=ASK_S))
        return [max(part.offset, 0) for part in sorted(found, key=lambda part: part.partition)]

    def whole(self, short: str, isolation: str) -> list[list[Record]]:
        """All records, by partition; those of aborted transactions only under read_uncommitted."""
        reader, found, open_parts = self._consumer(isolation, f"{self.name}-reader"), self._nothing(), set(range(self.partitions))
        reader.assign(self._parts(short))
        while open_parts:
            for message in reader.consume(2000, GATHER_S):
                if (error := message.error()) is None:
                    found[message.partition()].append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_parts.discard(message.partition())
                else:
                    raise KafkaException(error)
        reader.close()
        return found

    def _nothing(self) -> list[list[Record]]:
        return [[] for _ in range(self.partitions)]

    def _parts(self, short: str) -> list[TopicPartition]:
        return [TopicPartition(f"{self.name}.{short}", number, OFFSET_BEGINNING) for number in range(self.partitions)]

    def _consumer(self, isolation: str, group: str) -> Any:
        return Consumer(
            {
                "bootstrap.servers": self.brokers, "log_level": 0, "group.id": group, "enable.auto.commit": False,
                "isolation.level": isolation, "enable.partition.eof": True, "reconnect.backoff.max.ms": 200,
            }
        )  # fmt: skip


def _record(message: Any) -> Record:
    headers = tuple((name, value) for name, value in message.headers() or ())
    return Record(message.partition(), message.offset(), message.key(), message.value(), headers, message.timestamp()[1])


def _patiently(ask: Callable[[], T]) -> T:
    """The answer of a broker that may be on its way up again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
