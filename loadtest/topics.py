"""The topics of one load test: made with a name that nobody else has, counted, and taken away again."""

import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

READY_S, DELETE_S, ASK_S, ANSWER_S = 30.0, 10.0, 0.05, 10.0


def require_broker(brokers: str) -> None:
    """RuntimeError unless a broker answers."""
    try:
        AdminClient({"bootstrap.servers": brokers, "log_level": 0}).list_topics(timeout=ANSWER_S)
    except KafkaException as err:
        raise RuntimeError(f"no broker answers at {brokers} within {ANSWER_S:g} s; start one, or leave --brokers out") from err


class Topics:
    """Topics ``PREFIX.NAME``; a context that deletes them at its end, unless their broker goes with them."""

    def __init__(self, brokers: str, prefix: str, partitions: int, *, deletes: bool) -> None:
        self.brokers, self.prefix, self.partitions, self.deletes = brokers, prefix, partitions, deletes
        client = {"bootstrap.servers": brokers, "log_level": 0}
        self._admin = AdminClient(client)
        self._reader = Consumer({**client, "group.id": f"{prefix}-count", "enable.auto.commit": False})
        self._made: list[str] = []

    def __enter__(self) -> "Topics":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        if self.deletes:
            self._delete(self._made)

    def name(self, short: str) -> str:
        return f"{self.prefix}.{short}"

    def make(self, *shorts: str, notes_append: bool = True) -> None:
        """Makes topics; those that note the append carry the broker's time with each record, the others the producer's."""
        config = {"message.timestamp.type": "LogAppendTime"} if notes_append else {}
        wanted = [NewTopic(self.name(short), self.partitions, 1, config=config) for short in shorts]
        for name, done in self._admin.create_topics(wanted).items():
            done.result(READY_S)
            self._made.append(name)
        self._wait_for_leaders()

    def drop(self, *shorts: str) -> None:
        """Takes topics away that are done with: the outputs of all runs together may be more than the disk holds."""
        gone = [self.name(short) for short in shorts]
        self._made = [name for name in self._made if name not in gone]
        self._delete(gone)

    def _delete(self, names: list[str]) -> None:
        for name, done in self._admin.delete_topics(names, request_timeout=DELETE_S).items() if names else ():
            try:
                done.result(DELETE_S)
            except (KafkaException, TimeoutError) as err:
                print(f"loadtest: topic {name} could not be deleted ({err}); delete it by hand", file=sys.stderr)

    def _wait_for_leaders(self) -> None:
        """A topic that has just been made has no leader for a moment."""
        deadline = time.monotonic() + READY_S
        for name in self._made:
            while not self._is_there(name):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"topic {name} has no leader after {READY_S:g} s")
                time.sleep(ASK_S)

    def _is_there(self, name: str) -> bool:
        try:
            self._reader.list_topics(name, timeout=READY_S)  # asks anew: what the client knows may be older than the topic
            return self._count(name) >= 0
        except KafkaException:
            return False

    def count(self, short: str) -> int:
        """How many records a topic holds."""
        return self._count(self.name(short))

    def _count(self, name: str) -> int:
        ends = [self._reader.get_watermark_offsets(TopicPartition(name, p), timeout=READY_S) for p in range(self.partitions)]
        return sum(high - low for low, high in ends)
