"""A Kafka source with an end: partitions and offsets are given by hand, nobody joins a group, and it ends where they end."""

import asyncio
import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka.errors import KafkaError

from esp.errors import TransportError
from esp.runtime.connector import Assigned, Revoked
from esp.runtime.events import RawBlock
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.source import KafkaSource
from esp.runtime.kafka.spans import Spans
from esp.runtime.unread import Moved, Unread

log = logging.getLogger(__name__)
PARTITION_FETCH_BYTES, FETCH_BYTES = 8 << 20, 32 << 20  # of one partition, of one broker: nobody waits for the first record
EMPTY_ANSWERS, EMPTY_S = 3, 2.0  # after so many answers without a record, and so long, there is nothing up to the end
SHRUNK_S = 30.0  # how long it is borne that a partition ends before the range does


def hasty(settings: KafkaConnection) -> KafkaConnection:
    """The settings of a source that fetches much at once, where nothing else is said."""
    changed: dict[str, Any] = {"create": None}
    if "max_partition_fetch_bytes" not in settings.model_fields_set:
        changed["max_partition_fetch_bytes"] = PARTITION_FETCH_BYTES
    return settings.model_copy(update=changed | {"client": {"fetch_max_bytes": FETCH_BYTES, **settings.client}})


@dataclass(slots=True)
class _Still:
    """How long nothing has come, of any partition: since when, and the answers of the broker by partition since."""

    since: float
    answers: dict[int, set[int]]


class BoundedKafkaSource(KafkaSource):
    """Reads a span of each partition. Offsets are committed to the group that is named; where there is no other state (``goes_on``:
    transactions commit them with the outputs), it goes on from them.

    A partition has ended when its position, not its last record, has come to the end: what stands there may be markers of
    transactions, aborted records, or nothing any more. The position moves over all of these but the last; of that the broker's
    answers tell, when they are empty again and again while nothing comes from elsewhere.
    """

    bounded = True

    def __init__(self, settings: KafkaConnection, group: str, where: str, spans: Spans, *, goes_on: bool = False) -> None:
        super().__init__(hasty(settings), group, where)
        self.spans, self.goes_on = spans, goes_on
        self.finished: set[int] = set()
        self._still = _Still(monotonic(), {})

    @property
    def ended(self) -> bool:  # type: ignore[override]
        return self._ready.is_set() and self.finished == self.spans.keys()

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        self._assigned, self._revoked, self._loop = assigned, revoked, asyncio.get_running_loop()
        await self._open()
        try:
            await self._consumer.start()
            if self.spans:
                self._consumer.assign([self._tp(partition) for partition in self.spans])
                for partition, span in self.spans.items():
                    self._consumer.seek(self._tp(partition), span.first)
        except KafkaError as err:
            raise self._error(err) from err
        await self._take_over(set(self.spans))
        self._check()
        self._finish({partition for partition, offset in self._position.items() if offset >= self.spans[partition].end})
        self._begin_to_watch()

    async def _first_offsets(self, partitions: set[int]) -> dict[int, int]:
        first = {partition: self.spans[partition].first for partition in partitions}
        if not self.goes_on:
            return first
        known = {partition: await self._consumer.committed(self._tp(partition)) for partition in partitions}
        return {partition: max(offset, known[partition] or 0) for partition, offset in first.items()}

    async def _offsets_of_new_topic(self, partitions: set[int]) -> dict[int, int]:
        if partitions:
            raise self._made_anew()
        return {}

    async def poll(self, timeout_s: float) -> Sequence[RawBlock | Unread | Moved]:
        found = await super().poll(timeout_s)
        if found:
            self._still = _Still(monotonic(), {})
        ended = set()
        for partition in self._position.keys() - self.finished:
            position = self._position[partition] = await self._consumer.position(self._tp(partition))
            if position >= self.spans[partition].end or self._is_empty_to_the_end(partition):
                ended.add(partition)
        self._finish(ended)
        return found

    def _is_empty_to_the_end(self, partition: int) -> bool:
        """Whether the broker has said often enough that it has nothing more; TransportError where the end has gone."""
        consumer, tp = self._consumer, self._tp(partition)
        answered_ms, still_s = consumer.last_poll_timestamp(tp), monotonic() - self._still.since
        if partition in self._paused or answered_ms is None:
            return False
        answers = self._still.answers.setdefault(partition, set())
        answers.add(answered_ms)
        if len(answers) <= EMPTY_ANSWERS or still_s < EMPTY_S:  # the first was there before
            return False
        stable, high = consumer.last_stable_offset(tp), consumer.highwater(tp)
        end = high if stable is None or stable < 0 else stable
        if end >= self.spans[partition].end:
            log.info("%s: partition %d holds nothing from %d to %d", self.place, partition, self._position[partition], end)
            return True
        if still_s > SHRUNK_S:
            raise TransportError(
                f"the partition ends at offset {end} now, before the range does ({self.spans[partition].end})",
                where=f"{self.place}/{partition}",
                mend="the broker has lost records: begin anew with --fresh",
            )
        return False

    def _finish(self, partitions: Set[int]) -> None:
        """Fetches no more of these, and lets go what was fetched ahead."""
        for partition in partitions:
            self._consumer.seek(self._tp(partition), max(self._position[partition], self.spans[partition].end))
            self._consumer.pause(self._tp(partition))
        self.finished |= partitions
        self._paused |= partitions

    def _go_back(self, partition: int, offset: int) -> None:
        if offset < self.spans[partition].end:  # what is damaged behind the end is nobody's matter here
            self.finished.discard(partition)
            self._paused.discard(partition)
            self._consumer.resume(self._tp(partition))
            super()._go_back(partition, offset)

    def _on_new_topic(self, found: str) -> None:
        self._fail(self._made_anew())

    def _made_anew(self) -> TransportError:
        what = "the topic was deleted and made anew while its range was worked off"
        return TransportError(what, where=self.place, mend="begin anew with --fresh")

    def rejoin(self) -> None:
        """Another has the task, and no group says who."""
        self._fail(TransportError("this backfill was begun elsewhere too", where=self.place, mend="let one of them run"))

    def resume(self, partitions: Set[int]) -> None:
        super().resume(partitions - self.finished)

    async def lag(self) -> dict[int, int]:
        return {partition: max(0, self.spans[partition].end - offset) for partition, offset in self._position.items()}
