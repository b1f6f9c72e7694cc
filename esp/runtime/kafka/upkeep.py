"""Seeing to a changelog while it is used: one that has gone is made anew, and whoever writes to it is told that it is another one."""

import asyncio
import logging
from collections.abc import Callable

from aiokafka.errors import KafkaError

from esp.errors import EspError
from esp.runtime.kafka import changelog, watch
from esp.runtime.kafka.cluster import reach
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.kafka.widening import widen

log = logging.getLogger(__name__)


class Upkeep:
    """Looks as often as the watch of the sink does. ``amiss`` is what a changelog lacks that was made anew, empty while all is well.

    ``renewed`` is called when it is another one than before: nothing of what was written stands in it.
    """

    def __init__(self, settings: KafkaConnection, sink: KafkaSink, where: str, renewed: Callable[[], None]) -> None:
        self.settings, self.sink, self.where, self.renewed = settings, sink, where, renewed
        self.amiss = ""

    async def run(self) -> None:
        known, was_gone = self.sink.topic_id, False
        while True:
            await asyncio.sleep(watch.WATCH_S)
            found, is_gone = self.sink.topic_id, self.sink.has_gone
            is_another = found != known if known else was_gone and not is_gone  # older clusters know no ids
            if is_gone and not was_gone:
                log.warning("%s: the changelog '%s' has gone; it is made anew", self.where, self.settings.topic)
            if is_gone or is_another or self.amiss:
                self.amiss = await self._seen_to()
            if is_another:
                log.warning("%s: the changelog '%s' is another one; all state is written to it", self.where, self.settings.topic)
                self.renewed()
            known, was_gone = found, is_gone

    async def _seen_to(self) -> str:
        """Makes it where it is not there; tells what it still lacks."""
        try:
            await reach(self.settings, self.where)
            await widen(self.settings, self.where, self.sink.partitions)
            await changelog.check_policy(self.settings, self.where)
        except (EspError, KafkaError, OSError) as err:
            return str(err) or type(err).__name__
        return ""
