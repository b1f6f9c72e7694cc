"""Where the events go through: the embedded broker, or a real Kafka with topics of the run's own that are deleted afterwards."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from esp.demo.broker import EmbeddedBroker
from esp.errors import StartError

PARTITIONS = 4
ANSWER_S = 15.0
EMBEDDED_FETCH_WAIT_MS = 5


@dataclass(frozen=True, slots=True)
class Cluster:
    """The address of the brokers, how long a producer gathers, and how long a fetch that finds nothing waits.

    The embedded broker answers a fetch with one produced batch a partition, and does not wake one that waits when something comes.
    """

    brokers: str
    linger_ms: int
    fetch_wait_ms: int


def new_suffix() -> str:
    """Makes the names of one run's topics its own."""
    return uuid.uuid4().hex[:8]


@contextlib.contextmanager
def embedded(topics: Sequence[str]) -> Iterator[Cluster]:
    """An embedded broker with these topics."""
    with EmbeddedBroker() as broker:
        for topic in topics:
            broker.create_topic(topic, PARTITIONS)
        yield Cluster(broker.bootstrap, linger_ms=10, fetch_wait_ms=EMBEDDED_FETCH_WAIT_MS)


@contextlib.contextmanager
def on_cluster(brokers: str, topics: Sequence[str]) -> Iterator[Cluster]:
    """These topics on a cluster, made now and deleted at the end, where the cluster allows it. StartError when it can't be reached."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin: Any = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    try:
        admin.list_topics(timeout=ANSWER_S)
        made = admin.create_topics([NewTopic(topic, PARTITIONS) for topic in topics], request_timeout=ANSWER_S)
        for future in made.values():
            future.result(ANSWER_S)
    except KafkaException as err:
        raise StartError(
            f"Kafka refused ({err.args[0].str()})", where=f"--brokers {brokers}", mend="check that it runs there"
        ) from err
    try:
        yield Cluster(brokers, linger_ms=1, fetch_wait_ms=100)
    finally:
        with contextlib.suppress(KafkaException):
            for future in admin.delete_topics(list(topics), request_timeout=ANSWER_S).values():
                with contextlib.suppress(KafkaException):
                    future.result(ANSWER_S)
