"""Patience: what a running query asks of its broker is asked again until the broker is there."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.sender import Sender

from esp.runtime.kafka.binding import rebound

log = logging.getLogger(__name__)
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 2.0
T = TypeVar("T")


async def patiently(attempt: Callable[[], Awaitable[T]], place: str) -> T:
    """What an attempt gives, which is made again, ever more seldom, while the broker is away. KafkaError for what waiting does not mend."""
    backoff_s = FIRST_BACKOFF_S
    while True:
        try:
            return await attempt()
        except KafkaError as err:
            if not err.retriable:
                raise
            if backoff_s == FIRST_BACKOFF_S:
                log.warning("%s: %s; trying on", place, err)
        await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
        backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)


class _PatientSender(Sender):
    """Looks for a coordinator until it is there: aiokafka's sender ends for good when the connection is cut while it asks."""

    async def _find_coordinator(self, coordinator_type: Any, coordinator_key: str) -> Any:
        while True:
            try:
                return await super()._find_coordinator(coordinator_type, coordinator_key)
            except KafkaError as err:
                cause = err.__cause__  # a fault that would pass is raised as one that does not, with the first behind it
                if not (isinstance(cause, KafkaError) and cause.retriable):
                    raise
            await self.client.force_metadata_update()
            await asyncio.sleep(self._retry_backoff)


class PatientProducer(AIOKafkaProducer):
    """aiokafka's producer with that sender."""

    __init__ = rebound(AIOKafkaProducer.__init__, Sender=_PatientSender)
