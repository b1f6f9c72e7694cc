"""What the client library does alone: aiokafka takes records and sends the same bytes on, unread, with the engine's guarantees.

With a function that scores a batch it is a peer.
"""

import argparse
import asyncio
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

MAX_IN_FLIGHT = 32  # batches that are not acknowledged
COMMIT_S = 1.0
Score = Callable[[Sequence[bytes]], Sequence[bytes | None]]  # None: no output comes of the record
Records = list[ConsumerRecord[bytes, bytes]]


class _Listener(ConsumerRebalanceListener):
    """Knows when the partitions have come."""

    def __init__(self) -> None:
        self.assigned = asyncio.Event()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.set()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass


async def run(brokers: str, source: str, target: str, group: str, linger_ms: float = 0, score: Score | None = None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, group_id=group, auto_offset_reset="earliest",
        enable_auto_commit=False, max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=100,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers, enable_idempotence=True, acks="all", linger_ms=linger_ms, max_batch_size=1 << 20
    )
    async with producer, consumer:
        consumer.subscribe([source], listener=(listener := _Listener()))
        await listener.assigned.wait()
        print("ready", flush=True)
        await _pass_on(consumer, producer, target, score, stopping)


async def _pass_on(consumer: Any, producer: Any, target: str, score: Score | None, stopping: asyncio.Event) -> None:
    loop, flying = asyncio.get_running_loop(), deque[tuple[Any, TopicPartition, int]]()
    committed_s, done = loop.time(), dict[TopicPartition, int]()
    while not stopping.is_set():
        taken = await consumer.getmany(timeout_ms=200, max_records=4096)
        outputs = _outputs(taken, score)
        for partition, records in taken.items():
            for acknowledged in await _send(producer, target, partition.partition, records, outputs):
                flying.append((acknowledged, partition, records[-1].offset + 1))
        while flying and (len(flying) > MAX_IN_FLIGHT or flying[0][0].done()):
            acknowledged, partition, next_offset = flying.popleft()
            await acknowledged
            done[partition] = next_offset
        if done and loop.time() - committed_s > COMMIT_S:
            await consumer.commit(done)
            committed_s, done = loop.time(), {}
    await asyncio.gather(*(acknowledged for acknowledged, _, _ in flying))


def _outputs(taken: dict[TopicPartition, Records], score: Score | None) -> Iterator[bytes | None]:
    """What each record becomes, all of them one batch to the model; without one what it is."""
    values = [record.value for records in taken.values() for record in records]
    return iter(score(values) if score is not None and values else values)


async def _send(producer: Any, target: str, partition: int, records: Records, outputs: Iterator[bytes | None]) -> list[Any]:
    """Hands outputs over in batches as large as they may be; gives what is awaited for their acknowledgement."""
    acknowledged, batch = [], producer.create_batch()
    for record, output in zip(records, outputs):
        if output is None:
            continue
        if batch.append(key=record.key, value=output, timestamp=record.timestamp) is None:
            acknowledged.append(await producer.send_batch(batch, target, partition=partition))
            batch = producer.create_batch()
            batch.append(key=record.key, value=output, timestamp=record.timestamp)
    if batch.record_count():
        acknowledged.append(await producer.send_batch(batch, target, partition=partition))
    return acknowledged


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--group", required=True)
    args = parser.parse_args()
    asyncio.run(run(args.brokers, args.source, args.target, args.group))
