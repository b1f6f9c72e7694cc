"""The changelog of a source: a compacted topic with the state of each partition's task, as a chain of links cut into records.

A record's key is ``NUMBER-full-CHUNK-CHUNKS`` or ``NUMBER-more-CHUNK-CHUNKS``; its value is a piece of the link's bytes. A full
link comes in one transaction with tombstones for all links before it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, RequestTimedOutError

from esp.errors import StartError, StateError, TransportError
from esp.runtime.events import U8, RawBlock, raw_block
from esp.runtime.kafka import columns
from esp.runtime.kafka.cluster import Topic, topic_config
from esp.runtime.kafka.consumed import block_of
from esp.runtime.kafka.patience import patiently
from esp.runtime.kafka.settings import CreateTopic, KafkaConnection, client_options
from esp.runtime.state.chain import Chain, Link, Stored
from esp.runtime.state.segment import unpack_segment
from esp.runtime.unread import Damage

CHUNK_BYTES = 512 << 10
POLL_MS = 500
TOGETHER = 8  # chunks that are handed over at once
FETCH_BYTES = 16 << 20
T = TypeVar("T")
_KEY = re.compile(rb"(\d+)-(full|more)-(\d+)-(\d+)")


@dataclass(slots=True)
class _Pieces:
    """The chunks of one link, by number."""

    count: int
    found: dict[int, U8] = field(default_factory=dict)

    def data(self) -> U8:
        return np.concatenate([self.found[at] for at in range(self.count)])


@dataclass(slots=True)
class Log:
    """What a partition of the changelog holds: links by number and kind."""

    links: dict[tuple[int, bool], _Pieces] = field(default_factory=dict)

    def add(self, block: RawBlock) -> int:
        """Takes records in; gives their bytes."""
        buffer, size = block.buffer, 0
        for key_at, key_size, at, value_size in zip(block.key_at, block.key_size, block.value_at, block.value_size):
            match = _KEY.fullmatch(buffer[key_at : key_at + max(key_size, 0)].tobytes())
            if match is None:
                continue
            name = int(match[1]), match[2] == b"full"
            if value_size < 0:
                self.links.pop(name, None)
            else:
                self.links.setdefault(name, _Pieces(int(match[4]))).found[int(match[3])] = buffer[at : at + value_size]
                size += int(value_size)
        return size

    def chain(self) -> list[Stored]:
        """The newest full link and the changes after it; empty where there is none."""
        whole = sorted(name for name, pieces in self.links.items() if len(pieces.found) == pieces.count)
        bases = [number for number, is_full in whole if is_full]
        return [_stored(*name, self.links[name]) for name in whole if bases and name[0] >= bases[-1]]

    def copies(self) -> Iterator[tuple[int, bool, U8]]:
        """Number, kind and bytes of the links of that chain."""
        for link in self.chain():
            yield link.number, link.is_full, self.links[link.number, link.is_full].data()

    def keys(self) -> list[bytes]:
        """The keys of all its records."""
        return [key for name, pieces in self.links.items() for key in _keys(*name, pieces.count)]


def _stored(number: int, is_full: bool, pieces: _Pieces) -> Stored:
    def read() -> tuple[Any, bytes, int]:
        data = pieces.data()
        return *unpack_segment(data.data, f"changelog: link {number}"), len(data)

    return Stored(number, is_full, read)


def _keys(number: int, is_full: bool, count: int) -> list[bytes]:
    return [b"%012d-%s-%05d-%05d" % (number, b"full" if is_full else b"more", chunk, count) for chunk in range(count)]


def chunks_of(size_bytes: int) -> int:
    return -(-size_bytes // CHUNK_BYTES)


def keys_of(chain: Chain) -> list[bytes]:
    """The keys of the records of a chain."""
    first = chain.number - len(chain.sizes) + 1
    return [key for at, size in enumerate(chain.sizes) for key in _keys(first + at, at == 0, chunks_of(size))]


def blocks_of(link: Link, gone: Iterable[bytes], topic: str, partition: int) -> Iterator[RawBlock]:
    """The records of a link, some at a time, then tombstones for the keys that it makes needless."""
    keys = _keys(link.number, link.is_full, chunks_of(link.packed.size_bytes))
    for first in range(0, len(keys), TOGETHER):
        some = range(first, min(first + TOGETHER, len(keys)))
        values = [_piece(link.packed.parts, at * CHUNK_BYTES) for at in some]
        yield raw_block(values, topic=topic, partition=partition, keys=[keys[at] for at in some])
    if tombs := list(gone):
        yield raw_block([None] * len(tombs), topic=topic, partition=partition, keys=tombs)


def _piece(parts: Iterable[bytes], at: int) -> bytes:
    """The chunk that begins at a byte of parts that follow one another."""
    found = []
    for part in parts:
        found.append(memoryview(part)[max(at, 0) : max(at + CHUNK_BYTES, 0)])
        at -= len(part)
    return b"".join(found)


def made_like(settings: KafkaConnection, source: Topic) -> KafkaConnection:
    """The connection with which a changelog that is missing is made: as many partitions as the source, and as many replicas, if it is not said."""
    wanted = settings.create or CreateTopic()
    replicas = wanted.replication if "replication" in wanted.model_fields_set else source.replicas
    return settings.model_copy(
        update={"create": wanted.model_copy(update={"partitions": source.partitions, "replication": replicas})}
    )


async def check_policy(settings: KafkaConnection, where: str) -> None:
    """StartError where the topic lets records go that are still needed."""
    policy = await topic_config(settings, where, "cleanup.policy")
    if policy not in (None, "compact"):
        raise StartError(
            f"the changelog '{settings.topic}' has cleanup.policy = {policy}, and state would go from it",
            where=f"{where}: {settings.brokers}", mend="set cleanup.policy = compact",
        )  # fmt: skip


async def read_log(
    settings: KafkaConnection, partition: int, since: int, place: str, on_progress: Callable[[int, float], None]
) -> Log:
    """What a partition of the changelog holds from an offset on, as far as it is committed.

    ``on_progress`` is told bytes and the share of offsets that are read. Raises TransportError, StateError for damaged records.
    """
    tp = TopicPartition(settings.topic, partition)

    async def read(consumer: Any) -> Log:
        found = Log()
        consumer.assign([tp])
        begin = max(since, (await consumer.beginning_offsets([tp]))[tp])
        at, end, read_bytes = begin, (await consumer.end_offsets([tp]))[tp], 0
        consumer.seek(tp, begin)
        while at < end:
            records = (await consumer.getmany(tp, timeout_ms=POLL_MS)).get(tp, [])
            read_bytes += await asyncio.to_thread(_take, found, records, tp, place)
            at = await consumer.position(tp)
            on_progress(read_bytes, min((at - begin) / (end - begin), 1.0))
        return found

    return await _asked(settings, partition, place, read)


async def end_of(settings: KafkaConnection, partition: int, place: str) -> int:
    """The offset behind the last record of a partition."""
    tp = TopicPartition(settings.topic, partition)

    async def ask(consumer: Any) -> int:
        return int((await consumer.end_offsets([tp]))[tp])

    return await _asked(settings, partition, place, ask)


async def _asked(settings: KafkaConnection, partition: int, place: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    """What a consumer of its own gives; asked anew while the broker is away. TransportError for what waiting does not mend."""
    where = f"{place}: {settings.topic}/{partition}"

    async def attempt() -> T:
        consumer = _consumer(settings, place)
        try:
            await consumer.start()
            return await ask(consumer)
        except KafkaTimeoutError as err:  # the topic is not there, and is awaited
            raise RequestTimedOutError(*err.args) from err
        finally:
            await consumer.stop()

    try:
        return await patiently(attempt, where)
    except KafkaError as err:
        raise TransportError(f"the changelog cannot be read ({type(err).__name__}: {err})", where=where) from err


def _consumer(settings: KafkaConnection, place: str) -> Any:
    options = {
        **client_options(settings, place), "enable_auto_commit": False, "auto_offset_reset": "earliest",
        "isolation_level": "read_committed", "fetch_max_bytes": FETCH_BYTES, "max_partition_fetch_bytes": FETCH_BYTES,
        "fetch_max_wait_ms": 20,
    }  # fmt: skip
    if columns.are_wanted(settings, place):
        return columns.open_consumer(settings, lambda partition, offset: None, place, options)
    return AIOKafkaConsumer(**options)


def _take(found: Log, records: list[Any], tp: TopicPartition, place: str) -> int:
    """Takes in what a fetch brought: bytes of whole batches, or records of aiokafka's."""
    if records and not hasattr(records[0], "block"):
        return found.add(block_of(tp.topic, tp.partition, records))
    try:
        return sum(found.add(fetched.block()) for fetched in records)
    except Damage as damage:
        mend = "see to the broker's disk, or start anew with --fresh"
        raise StateError(f"the changelog is damaged ({damage})", where=f"{place}: {tp.topic}/{tp.partition}", mend=mend) from damage
