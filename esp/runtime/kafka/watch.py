"""Watching one client of a cluster: what keeps it from its work, told once when it comes and once when it has gone."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from esp.runtime.kafka.client_log import Heard
from esp.runtime.kafka.pacing import Pace
from esp.runtime.kafka.topic_id import topic_id

log = logging.getLogger(__name__)
WATCH_S = 2.0
ANSWER_S = 5.0  # how long the cluster may take to answer
STALL_S = 10.0  # how long work may stand still before that is a trouble
GONE = "the Kafka broker is gone"
NO_TOPIC = "there is no topic"


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at: a client of aiokafka and its topic.

    ``stalled`` says what else has stood still too long (empty = nothing); it gets the time since when the cluster answers.
    ``changed`` is called with the topic's id when it is another one of that name, ``seen`` whenever the cluster has told of the topic.
    """

    client: Any
    topic: str
    place: str
    heard: Heard
    pace: Pace
    stalled: Callable[[float], str]
    changed: Callable[[str], None]
    seen: Callable[[], None] = lambda: None


class Watch:
    """Looks every two seconds. ``trouble`` is what is wrong, empty while all is well; ``topic_id`` is the topic's, where it is known."""

    def __init__(self, watched: Watched, first_id: str = "") -> None:
        self.watched, self.topic_id = watched, first_id
        self.trouble, self.faults, self._away_s, self._since_s = "", 0, 0.0, 0.0
        self._answering_s = time.monotonic()
        self._complaints = watched.heard.count  # as many when all was well the last time
        self._task = asyncio.create_task(self._run())

    @property
    def away_s(self) -> float:
        """Seconds in trouble, in all."""
        return self._away_s + (time.monotonic() - self._since_s if self.trouble else 0.0)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self._tell(self._explained(await self._look()))

    def _explained(self, found: str) -> str:
        """What was found, with the last of what the client has complained of since all was well."""
        heard = self.watched.heard
        if not found:
            self._complaints = heard.count
        return f"{found} ({heard.fault})" if found and heard.count > self._complaints and heard.fault else found

    def _tell(self, found: str) -> None:
        """Keeps what was found, and says what is new in it."""
        was, self.trouble = self.trouble, found
        place, pace = self.watched.place, self.watched.pace
        if found:
            pace.grow()
        if found.startswith(GONE):
            self._answering_s = time.monotonic()
        if found and not was:
            self.faults, self._since_s = self.faults + 1, time.monotonic()
        if found and _kind(found) != _kind(was):
            log.warning("%s: %s; trying on", place, found)
        if was and not found:
            pace.reset()
            took_s = time.monotonic() - self._since_s
            self._away_s += took_s
            what = "the Kafka broker is back" if was.startswith(GONE) else "all is well again"
            log.info("%s: %s after %.1f s", place, what, took_s)

    async def _look(self) -> str:
        """What is wrong now."""
        watched = self.watched
        try:
            async with asyncio.timeout(ANSWER_S):
                if not await watched.client.force_metadata_update():
                    return GONE
                found = await topic_id(watched.client, watched.topic)
        except TimeoutError:
            return f"{GONE}: no answer in {ANSWER_S:g} s"
        except Exception as err:  # whatever stops the client from asking, the cluster is not reached
            log.debug("%s: the cluster was not asked (%r)", watched.place, err)
            return GONE
        self._compare(found)
        watched.seen()
        return self._of_topic() or watched.stalled(self._answering_s)

    def _compare(self, found: str) -> None:
        if found and self.topic_id and found != self.topic_id:
            log.warning("%s: the topic was deleted and made anew", self.watched.place)
            self.watched.changed(found)
        self.topic_id = found or self.topic_id

    def _of_topic(self) -> str:
        cluster, topic = self.watched.client.cluster, self.watched.topic
        if topic in cluster.unauthorized_topics:
            return f"the cluster does not let us at topic '{topic}'"
        partitions = cluster.partitions_for_topic(topic)
        if not partitions:
            return f"{NO_TOPIC} '{topic}' any more, or we may not see it"
        led = cluster.available_partitions_for_topic(topic) or set()
        if without := sorted(partitions - led):
            return f"partition {', '.join(map(str, without))} of topic '{topic}' has no leader"
        return ""

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def _kind(trouble: str) -> str:
    """A trouble without its details, which change from look to look."""
    return GONE if trouble.startswith(GONE) else trouble.partition(" (")[0]


async def first_id(client: Any, topic: str) -> str:
    """The topic's id when a client begins; empty where it cannot be told."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await topic_id(client, topic)
    except (KafkaError, OSError, TimeoutError) as err:
        log.debug("the id of topic %s was not told (%r)", topic, err)
        return ""
