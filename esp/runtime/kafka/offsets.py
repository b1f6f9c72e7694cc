"""What a topic holds, asked without a group: its partitions, where they begin and end, and the offsets of times."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from esp.errors import TransportError
from esp.runtime.events import RawBlock
from esp.runtime.kafka.bounded import BoundedKafkaSource
from esp.runtime.kafka.cluster import reach
from esp.runtime.kafka.settings import CreateTopic, KafkaConnection, client_options
from esp.runtime.kafka.spans import Span
from esp.runtime.unread import Damage, Moved, Unread

OF_OLD = 5  # parts of an entry that does not say yet whose setting it is
TOPICS_OWN = 1  # the source of a setting that was made for the topic itself


class TopicOffsets:
    """Answers for the partitions of one topic; ``firsts`` and ``ends`` are as they were when it was opened.

    The end is what this connection may read: with ``isolation = "read_committed"`` open transactions lie behind it.
    """

    def __init__(self, settings: KafkaConnection, consumer: Any, partitions: int, group: str, place: str) -> None:
        self.settings, self.consumer, self.group, self.place = settings, consumer, group, place
        self.partitions = range(partitions)

    async def look(self) -> None:
        places = [TopicPartition(self.settings.topic, partition) for partition in self.partitions]
        self.firsts = _by_partition(await self.consumer.beginning_offsets(places))
        self.ends = _by_partition(await self.consumer.end_offsets(places))

    async def at_times(self, stamps_ms: Mapping[int, int]) -> dict[int, int]:
        """The first offset in each partition whose record has this stamp or a later one; the end, where there is none."""
        if not stamps_ms:
            return {}
        asked = {TopicPartition(self.settings.topic, partition): max(0, ms) for partition, ms in stamps_ms.items()}
        found = await self.consumer.offsets_for_times(asked)
        return {
            tp.partition: self.ends[tp.partition] if place is None else min(place.offset, self.ends[tp.partition])
            for tp, place in found.items()
        }

    async def stamps_at(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """The stamp in milliseconds of the first record from an offset on; partitions where there is none are left out."""
        spans = {partition: Span(offset, offset, self.ends[partition]) for partition, offset in offsets.items()}
        source, stamps = BoundedKafkaSource(self.settings, self.group, self.place, spans), dict[int, int]()

        async def assigned(partitions: set[int]) -> dict[int, int | None]:
            return dict.fromkeys(partitions)

        async def revoked(_: set[int]) -> None:
            pass

        try:
            await source.start(assigned, revoked)
            while spans.keys() - stamps.keys() - source.finished:
                found = [_read(records) for records in await source.poll(0.1) if not isinstance(records, Moved)]
                for block in found:
                    if len(block):
                        stamps.setdefault(block.partition, int(block.ts_ms[0]))
                        source.pause({block.partition})
        finally:
            await source.stop()
        return stamps


@asynccontextmanager
async def topic_offsets(settings: KafkaConnection, group: str, place: str) -> AsyncIterator[TopicOffsets]:
    """Opens and closes it; ``group`` is the name that records are read under, and nothing is committed. StartError without a broker or without the topic, TransportError for what it refuses."""
    settings = settings.model_copy(update={"create": None})
    topic = await reach(settings, place)
    isolation = settings.client.get("isolation_level", settings.isolation or "read_uncommitted")
    consumer = AIOKafkaConsumer(**client_options(settings, place), isolation_level=isolation)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(settings.topic, partition) for partition in range(topic.partitions)])
        offsets = TopicOffsets(settings, consumer, topic.partitions, group, place)
        await offsets.look()
        yield offsets
    except KafkaError as err:
        raise TransportError(f"Kafka refused ({type(err).__name__}: {err})", where=f"{place}: {settings.brokers}") from err
    finally:
        await consumer.stop()


async def create_like(settings: KafkaConnection, model: KafkaConnection, place: str) -> None:
    """Makes the topic, if it is not there, with the partitions, replicas and settings of that of ``model``."""
    await reach(model, place)
    settings = settings.model_copy(update={"create": settings.create or await _made_like(model, place)})
    await reach(settings, place)


async def _made_like(model: KafkaConnection, place: str) -> CreateTopic:
    admin = AIOKafkaAdminClient(**client_options(model, place))
    try:
        await admin.start()
        (found,) = await admin.describe_topics([model.topic])
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, model.topic)])
    except KafkaError as err:
        raise TransportError(f"Kafka refused ({type(err).__name__}: {err})", where=f"{place}: {model.brokers}") from err
    finally:
        await admin.close()
    entries = [entry for answer in answers for resource in answer.resources for entry in resource[4]]
    own = {entry[0]: entry[1] for entry in entries if len(entry) > OF_OLD and entry[3] == TOPICS_OWN and entry[1] is not None}
    parts = found["partitions"]
    return CreateTopic(partitions=len(parts), replication=len(parts[0]["replicas"]), config=own)


def _read(found: RawBlock | Unread) -> RawBlock:
    """The records; of a damaged fetch those in front of the damage, for the stream itself will tell of it."""
    try:
        return found if isinstance(found, RawBlock) else found.block()
    except Damage as damage:
        return damage.before


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}
