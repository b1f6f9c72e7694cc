"""Partitions that a topic gets: a changelog has as many as its source, also where those are added later."""

import asyncio
import contextlib
import logging

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import InvalidPartitionsError, KafkaError

from esp.errors import StateError
from esp.runtime.kafka.cluster import FIRST_BACKOFF_S, partitions_of
from esp.runtime.kafka.patience import patiently
from esp.runtime.kafka.settings import KafkaConnection, client_options

log = logging.getLogger(__name__)


async def widen(settings: KafkaConnection, place: str, wanted: int) -> int:
    """Sees to it that a topic has at least so many partitions; gives how many it has. StateError where the cluster refuses more."""

    async def attempt() -> int:
        admin = AIOKafkaAdminClient(**client_options(settings, place))
        try:
            await admin.start()
            before, _ = await partitions_of(admin, settings.topic)
            if before >= wanted:
                return before
            with contextlib.suppress(InvalidPartitionsError):  # another engine was quicker
                await admin.create_partitions({settings.topic: NewPartitions(wanted)})
            line = "%s: the changelog '%s' gets as many partitions as its source, %d; it had %d"
            log.warning(line, place, settings.topic, wanted, before)
            while True:
                there, _ = await partitions_of(admin, settings.topic)
                if there >= wanted:
                    return there
                await asyncio.sleep(FIRST_BACKOFF_S)
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await admin.close()

    try:
        return await patiently(attempt, f"{place}: {settings.topic}")
    except KafkaError as err:
        raise StateError(
            f"the changelog '{settings.topic}' has fewer partitions than its source, {wanted}, and gets no more ({type(err).__name__})",
            where=f"{place}: {settings.brokers}", mend="give it as many, or let us alter it",
        ) from err  # fmt: skip
