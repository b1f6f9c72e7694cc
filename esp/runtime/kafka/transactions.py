"""The transactional producer of one task: starting it fences who held the task before; what it writes is seen whole or not at all."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, InvalidTransactionTimeout, KafkaError
from aiokafka.structs import OffsetAndMetadata

from esp.errors import EspError, FencedError, TransportError
from esp.runtime.events import RawBlock
from esp.runtime.kafka.client_log import Heard, listen
from esp.runtime.kafka.cluster import stop_in_time
from esp.runtime.kafka.fences import fenced, is_fence
from esp.runtime.kafka.patience import PatientProducer, patiently
from esp.runtime.kafka.settings import KafkaConnection, client_options
from esp.runtime.kafka.sink import KafkaSink

log = logging.getLogger(__name__)
ABORT_S = 5.0  # how long an end waits for its open transaction to be taken back


class TaskProducer:
    """Writes for one task, a transaction from one checkpoint to the next; one is always open, and costs nothing while it is empty.

    ``lost`` is why the task is no longer ours: nothing is taken then, and ``on_lost`` has been called.
    """

    def __init__(
        self, settings: KafkaConnection, transactional_id: str, timeout_ms: int, place: str, on_lost: Callable[[FencedError], None]
    ) -> None:
        self.settings, self.id, self.timeout_ms, self.place, self.on_lost = settings, transactional_id, timeout_ms, place, on_lost
        self.lost: FencedError | None = None
        self.sinks: dict[str, KafkaSink] = {}
        self._producer: Any = None
        self._heard = Heard()

    async def start(self) -> None:
        """Fences whoever holds the task, and ends what it left open. TransportError when the broker refuses."""
        listen(self._heard)
        try:
            await patiently(self._begin, self.place)
        except KafkaError as err:
            raise self._refused(err) from err

    async def _begin(self) -> None:
        self._producer = PatientProducer(
            **client_options(self.settings, self.place), transactional_id=self.id, transaction_timeout_ms=self.timeout_ms,
            acks="all", linger_ms=0,
        )  # fmt: skip
        self._producer._message_accumulator._batch_ttl = math.inf  # who leads no partition now is awaited like who is gone
        try:
            await self._producer.start()
            await self._producer.begin_transaction()
        except BaseException:
            await stop_in_time(self._producer.stop(), self._producer.client, self.place)
            raise

    def carry(self, sinks: Mapping[str, KafkaSink]) -> None:
        """Takes the records of sinks into its transactions."""
        self.sinks |= {name: sink.over(self._producer) for name, sink in sinks.items()}

    async def send(self, name: str, block: RawBlock) -> None:
        """Hands a block of a sink over; a task that is lost swallows it."""
        if self.lost is None and name in self.sinks:
            with self._losing():
                await self.sinks[name].send(block)

    async def flush(self) -> None:
        """Returns when all that was handed over is acknowledged, or the task is lost."""
        if self.lost is None:
            with self._losing():
                await asyncio.gather(*(sink.flush() for sink in self.sinks.values()))

    async def commit(self, group: str, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Commits what was acknowledged together with the offset that the task goes on from, and begins anew.

        FencedError when the task is lost; TransportError when the broker refuses.
        """
        if self.lost is not None:
            raise self.lost
        with self._losing():
            try:
                offsets = {TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata)}
                await self._producer.send_offsets_to_transaction(offsets, group)
                await self._producer.commit_transaction()
                await self._producer.begin_transaction()
            except (KafkaError, IllegalOperation) as err:
                raise self._refused(err) from err
        if self.lost is not None:
            raise self.lost

    async def close(self) -> bool:
        """Takes back what is open, and ends the producer; tells whether there was something to take back."""
        if self._producer is None:
            return False
        is_held, is_aborted = self.lost is None, False
        self.lost = self.lost or FencedError("the task is given up", where=self.place)  # what comes for it yet is swallowed
        await asyncio.gather(*(sink.drop() for sink in self.sinks.values()))
        if is_held and self._producer._txn_manager.is_in_transaction():
            is_aborted = not self._producer._txn_manager.is_empty_transaction()
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(ABORT_S):
                    await self._producer.abort_transaction()
        await stop_in_time(self._producer.stop(), self._producer.client, self.place)
        self._hear_out()
        return is_aborted

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except FencedError as err:
            if self.lost is None:
                self.lost = err
                self.on_lost(err)

    def _refused(self, err: KafkaError | IllegalOperation) -> EspError:
        if is_fence(err, self._producer):
            return fenced(self.place, self._producer)
        if isinstance(err, InvalidTransactionTimeout):
            return TransportError(
                f"the broker takes no transactions of {self.timeout_ms / 1000:g} s", where=self.place,
                mend="lower transaction_timeout, or raise the broker's transaction.max.timeout.ms",
            )  # fmt: skip
        return TransportError(
            f"the transaction was refused ({type(err).__name__}: {err})", where=f"{self.place}: {self.settings.brokers}",
            mend="see the broker's log; the engine goes on from its checkpoint",
        )  # fmt: skip

    def _hear_out(self) -> None:
        """Asks every future that aiokafka leaves behind for its failure, which is known: else each would complain on stderr."""
        manager, accumulator = self._producer._txn_manager, self._producer._message_accumulator
        batches = [*accumulator._pending_batches, *(batch for each in accumulator._batches.values() for batch in each)]
        left = [manager._transaction_waiter, *(future for batch in batches for future in (batch.future, batch._drain_waiter))]
        for future in left:
            if future is not None and future.done() and not future.cancelled():
                future.exception()
