"""Where the events go through: the embedded broker, or a real Kafka with topics of the run's own that are deleted afterwards."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from esp.demo.broker import EmbeddedBroker
from esp.demo.players import PARTITIONS
from esp.errors import StartError

ANSWER_S = 15.0


def new_suffix() -> str:
    """Makes the names of one run's topics its own."""
    return uuid.uuid4().hex[:8]


@contextlib.contextmanager
def embedded(topics: Sequence[str]) -> Iterator[str]:
    """An embedded broker with these topics; gives its address."""
    with EmbeddedBroker() as broker:
        for topic in topics:
            broker.create_topic(topic, PARTITIONS)
        yield broker.bootstrap


@contextlib.contextmanager
def on_cluster(brokers: str, topics: Sequence[str]) -> Iterator[str]:
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
        yield brokers
    finally:
        with contextlib.suppress(KafkaException):
            for future in admin.delete_topics(list(topics), request_timeout=ANSWER_S).values():
                with contextlib.suppress(KafkaException):
                    future.result(ANSWER_S)
