"""Reaching a Kafka cluster: wait for it at the start, see to the topic; leave it in good order."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from esp.errors import StartError
from esp.runtime.kafka.access import knock
from esp.runtime.kafka.client_log import Heard, listen
from esp.runtime.kafka.settings import KafkaConnection, client_options

log = logging.getLogger(__name__)
STOP_S = 10.0
CONFIG_S = 10.0  # how long the cluster may take to tell a setting: a busy one takes some
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 2.0


def is_fast() -> bool:
    """Whether aiokafka's C extension is in; without it records cost 20 to 170 times as much."""
    return not DefaultRecordBatchBuilder.__module__.endswith("record.default_records")


@dataclass(frozen=True, slots=True)
class Topic:
    """What was found out of a topic: its partitions, the largest record batch it takes (None = not told), replicas of a partition."""

    partitions: int
    max_message_bytes: int | None
    replicas: int = 1


async def reach(settings: KafkaConnection, where: str) -> Topic:
    """Waits for a broker, then for the topic. StartError without a broker or without the topic."""
    heard = listen()
    if settings.records == "client" and not is_fast():
        log.warning("%s: aiokafka came without its C extension and will be slow; install a wheel of it", where)
    if settings.security_protocol == "SASL_PLAINTEXT" and settings.sasl_mechanism in ("PLAIN", "OAUTHBEARER"):
        log.warning("%s: the secret goes to the broker in the clear; use SASL_SSL", where)
    deadline, backoff_s, place = time.monotonic() + settings.wait_for_broker_s, FIRST_BACKOFF_S, f"{where}: {settings.brokers}"
    while True:
        left_s = max(deadline - time.monotonic(), 0.0)
        try:
            async with asyncio.timeout(max(left_s, 1.0)):
                return await _look(settings, where, heard)
        except (KafkaError, OSError, TimeoutError) as err:
            fault = heard.fault or str(err) or type(err).__name__
            if left_s <= backoff_s:
                raise StartError(
                    f"no Kafka broker answered within {settings.wait_for_broker_s:g} s ({fault})",
                    where=place,
                    mend="start the broker, or mend 'brokers' and the security settings",
                ) from err
        if backoff_s == FIRST_BACKOFF_S:
            log.info("%s: waiting for the Kafka broker", place)
        await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
        backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)


async def _look(settings: KafkaConnection, where: str, heard: Heard) -> Topic:
    heard.fault = ""
    options = client_options(settings, where)
    if settings.security_protocol != "PLAINTEXT":
        await knock(options, f"{where}: {settings.brokers}")
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        if settings.topic not in await admin.list_topics():
            await _create(admin, settings, where)
        partitions, replicas = await partitions_of(admin, settings.topic)
        return Topic(partitions, await _max_message_bytes(admin, settings.topic), replicas)
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()


async def _create(admin: Any, settings: KafkaConnection, where: str) -> None:
    if settings.create is None:
        raise StartError(
            f"there is no topic '{settings.topic}'",
            where=f"{where}: {settings.brokers}",
            mend="create it, or say create = { partitions = 4 }",
        )
    wanted = NewTopic(settings.topic, settings.create.partitions, settings.create.replication, topic_configs=settings.create.config)
    answer = await admin.create_topics([wanted])
    code, message = answer.topic_errors[0][1], (*answer.topic_errors[0][2:], "")[0]
    error = for_code(code)
    if code and error is not TopicAlreadyExistsError:
        if error.retriable:
            raise error(message)
        raise StartError(
            f"the topic '{settings.topic}' cannot be created ({error.__name__}: {message})",
            where=f"{where}: {settings.brokers}",
            mend="create it by hand, or mend 'create'",
        )


async def partitions_of(admin: Any, topic: str) -> tuple[int, int]:
    """How many partitions the topic has, once each of them has a leader, and of how many replicas each."""
    while True:
        (found,) = await admin.describe_topics([topic])
        if not found["error_code"] and found["partitions"] and all(part["leader"] >= 0 for part in found["partitions"]):
            return len(found["partitions"]), min(len(part["replicas"]) for part in found["partitions"])
        await asyncio.sleep(FIRST_BACKOFF_S * random.uniform(0.5, 1.0))


async def _max_message_bytes(admin: Any, topic: str) -> int | None:
    """The topic's max.message.bytes; None where the cluster does not say (no right to ask, an old or an embedded one)."""
    told = await _config(admin, topic, "max.message.bytes")
    return None if told is None else int(told)


async def topic_config(settings: KafkaConnection, where: str, name: str) -> str | None:
    """A setting of the topic; None where the cluster does not say."""
    admin = AIOKafkaAdminClient(**client_options(settings, where))
    try:
        await admin.start()
        return await _config(admin, settings.topic, name)
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()


async def _config(admin: Any, topic: str, name: str) -> str | None:
    asked = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: None})
    try:
        answers = await asyncio.wait_for(admin.describe_configs([asked]), CONFIG_S)
        return next((str(entry[1]) for answer in answers for found in answer.resources for entry in found[4]), None)
    except Exception as err:  # whatever the reason, the engine can do without the answer
        log.debug("the settings of topic %s were not told (%r)", topic, err)
        return None


async def stop_in_time(stopping: Coroutine[Any, Any, None], client: Any, place: str) -> None:
    """Ends a consumer or producer, then its connections; one that waits for a broker that is gone is left after ten seconds."""
    task = asyncio.create_task(stopping)
    await asyncio.wait({task}, timeout=STOP_S)
    if task.done() and not task.cancelled() and task.exception() is None:
        return
    log.warning("%s: the Kafka client could not end in good order; its connections are cut", place)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(client.close(), return_exceptions=True)
