"""From what was asked to offsets: which part of each partition of a source is read, settled once and for all at the start."""

import logging
from collections.abc import Mapping

from esp.errors import UsageError
from esp.runtime.backfill.asked import BEGIN, Asked, Bound, Offsets, Time
from esp.runtime.kafka.offsets import TopicOffsets, topic_offsets
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.spans import Span, Spans

log = logging.getLogger(__name__)
Places = dict[int, int]  # offsets by partition


async def plan(asked: Asked, settings: KafkaConnection, group: str, place: str) -> Spans:
    """The spans of the partitions that are to be read. Raises UsageError for what they cannot give."""
    async with topic_offsets(settings, group, place) as topic:
        partitions = _chosen(asked, topic, place)
        begins = await _begins(asked.begin, topic, partitions, place)
        ends = await _ends(asked.end, topic, partitions, place)
        for partition in partitions:
            begins[partition], ends[partition] = _kept(topic, partition, begins[partition], ends[partition], asked, place)
        firsts = await _firsts(asked, topic, begins, ends, place)
        return {partition: Span(firsts[partition], begins[partition], ends[partition]) for partition in partitions}


def _chosen(asked: Asked, topic: TopicOffsets, place: str) -> list[int]:
    """The partitions that are read: all, or those that --from-offset (or --until alone) names."""
    chosen: set[int] | None = None
    for option, bound in (("--from-offset", asked.begin), ("--until", asked.end)):
        if not isinstance(bound, Offsets) or bound.everywhere is not None:
            continue
        if strange := sorted(bound.by_partition.keys() - set(topic.partitions)):
            what = f"there is no partition {strange[0]} ({place} has {len(topic.partitions)})"
            raise UsageError(what, where=option, mend=f"name some of 0 to {len(topic.partitions) - 1}")
        if chosen is not None and chosen != bound.by_partition.keys():
            odd = min(chosen ^ bound.by_partition.keys())
            what = f"partition {odd} is in one of --from-offset and --until alone"
            raise UsageError(what, where=option, mend="name the same partitions in both")
        chosen = set(bound.by_partition)
    return sorted(topic.partitions if chosen is None else chosen)


async def _begins(bound: Bound, topic: TopicOffsets, partitions: list[int], place: str) -> Places:
    if isinstance(bound, Time):
        return await topic.at_times(dict.fromkeys(partitions, bound.ms))
    if isinstance(bound, Offsets):
        return _checked(bound, topic, partitions, "--from-offset", place)
    return {partition: topic.firsts[partition] for partition in partitions}


async def _ends(bound: Bound, topic: TopicOffsets, partitions: list[int], place: str) -> Places:
    if isinstance(bound, Time):
        return await topic.at_times(dict.fromkeys(partitions, bound.ms))
    if isinstance(bound, Offsets):
        return _checked(bound, topic, partitions, "--until", place)
    return {partition: topic.ends[partition] for partition in partitions}


def _checked(bound: Offsets, topic: TopicOffsets, partitions: list[int], option: str, place: str) -> Places:
    places: Places = {}
    for partition in partitions:
        offset = bound.of(partition)
        assert offset is not None  # the partitions are those that it names
        if offset > topic.ends[partition]:
            what = f"offset {offset} is beyond the end of partition {partition}, which is {topic.ends[partition]} ({place})"
            raise UsageError(what, where=option, mend="say end for what is there now")
        places[partition] = offset
    return places


def _kept(topic: TopicOffsets, partition: int, begin: int, end: int, asked: Asked, place: str) -> tuple[int, int]:
    """The range of a partition, so far as retention has left it: where some of it is gone, ``on_lost`` decides."""
    if begin > end:
        what = f"partition {partition} would begin at offset {begin}, behind its end {end} ({place})"
        raise UsageError(what, where="backfill", mend="let the beginning be before --until")
    first = topic.firsts[partition]
    is_said = asked.begin != BEGIN and first > 0  # with a time nobody can tell what stood before the first record
    if not (is_said and (begin < first or (begin == first and isinstance(asked.begin, Time)))):
        return begin, max(begin, end)
    what = f"partition {partition} holds nothing before offset {first} any more, and the range may begin there ({place})"
    if topic.settings.on_lost == "fail":
        mend = 'say --from-offset earliest for what is left, or on_lost = "earliest" in the query'
        raise UsageError(what, where="backfill", mend=mend)
    log.warning("%s: on_lost = %s", what, topic.settings.on_lost)
    kept = max(begin, first) if topic.settings.on_lost == "earliest" else max(end, first)
    return kept, max(end, kept)


async def _firsts(asked: Asked, topic: TopicOffsets, begins: Places, ends: Mapping[int, int], place: str) -> Places:
    """Where reading begins, so that the windows are warm where the range begins."""
    warm_up_ns = asked.warm_up_ns
    if warm_up_ns is None:
        return {partition: min(begin, topic.firsts[partition]) for partition, begin in begins.items()}
    if not warm_up_ns or asked.begin == BEGIN:
        return begins
    stamps_ms = await _stamps(asked.begin, topic, {part: begin for part, begin in begins.items() if begin < ends[part]})
    found = await topic.at_times({partition: ms - -(-warm_up_ns // 1_000_000) for partition, ms in stamps_ms.items()})
    for partition, first in found.items():
        if 0 < first == topic.firsts[partition]:
            log.warning("%s: the warm-up of partition %d begins at offset %d, with what is left there", place, partition, first)
    return {partition: min(begin, found.get(partition, begin)) for partition, begin in begins.items()}


async def _stamps(begin: Bound, topic: TopicOffsets, begins: Places) -> Places:
    """The time at which the range begins, by partition."""
    return dict.fromkeys(begins, begin.ms) if isinstance(begin, Time) else await topic.stamps_at(begins)
