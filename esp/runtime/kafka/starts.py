"""Where partitions begin: at the group's commits, at what ``start`` says, or, where records have gone, at what ``on_lost`` says."""

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition

from esp.runtime.kafka.settings import KafkaConnection


async def first_offsets(consumer: Any, settings: KafkaConnection, partitions: set[int]) -> dict[int, int]:
    """The group's commits, and for partitions without one what ``start`` says.

    A group that has begun takes up a partition that was added since from its beginning. Where a new group begins elsewhere
    is committed at once: a restart must not begin later than the first start did.
    """
    if not partitions:
        return {}
    offsets = {partition: await consumer.committed(TopicPartition(settings.topic, partition)) for partition in partitions}
    new = [TopicPartition(settings.topic, partition) for partition, offset in offsets.items() if offset is None]
    if not new:
        return offsets
    if settings.start == "earliest" or await _has_begun(consumer, settings, partitions):
        return offsets | _by_number(await consumer.beginning_offsets(new))
    found = await _started(consumer, settings, new)
    await consumer.commit(found)
    return offsets | _by_number(found)


async def offsets_as_told(consumer: Any, settings: KafkaConnection, partitions: set[int]) -> dict[int, int]:
    """The offsets that ``on_lost`` says."""
    parts = [TopicPartition(settings.topic, partition) for partition in partitions]
    ask = consumer.beginning_offsets if settings.on_lost == "earliest" else consumer.end_offsets
    return _by_number(await ask(parts))


async def _has_begun(consumer: Any, settings: KafkaConnection, besides: set[int]) -> bool:
    """Whether the group has a commit for any partition but these, or had one for any of these."""
    all_of_it = consumer._client.cluster.partitions_for_topic(settings.topic) or besides
    known = [await consumer.committed(TopicPartition(settings.topic, partition)) for partition in sorted(all_of_it)]
    return any(offset is not None for offset in known)


async def _started(consumer: Any, settings: KafkaConnection, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    ends = dict(await consumer.end_offsets(partitions))
    if settings.start_ms is None:
        return ends
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, settings.start_ms))
    return {tp: ends[tp] if found[tp] is None else found[tp].offset for tp in partitions}


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}
