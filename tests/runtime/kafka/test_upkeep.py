"""A changelog that becomes another one while it is used: whoever writes to it is told, and what the new one lacks is told until it is mended."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from esp.runtime.connect import connection
from esp.runtime.kafka import watch
from esp.runtime.kafka.settings import CreateTopic, KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.kafka.upkeep import Upkeep
from tests.conftest import Kafka
from tests.runtime.memory_stream import until

pytestmark = pytest.mark.kafka


def admin(kafka: Kafka) -> AdminClient:
    return AdminClient(kafka.client())


def set_policy(kafka: Kafka, topic: str, policy: str) -> None:
    change = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    client = admin(kafka)
    client.incremental_alter_configs([resource])[resource].result(30)


def seen(sink: Any, monkeypatch: pytest.MonkeyPatch) -> KafkaSink:
    monkeypatch.setattr(watch, "WATCH_S", 0.05)
    return cast(KafkaSink, sink)


def test_one_that_somebody_else_made_anew_is_told_once_and_gets_its_partitions_and_its_policy_is_told_until_it_is_right(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, renewed = kafka.topic(1), list[bool]()
    settings = connection({"connector": "kafka", "topic": topic, "brokers": kafka.bootstrap}, "q")
    assert isinstance(settings, KafkaConnection)
    sink = SimpleNamespace(topic_id="a", has_gone=False, partitions=3)
    upkeep = Upkeep(settings, seen(sink, monkeypatch), "q", lambda: renewed.append(True))

    async def check() -> None:
        keeping = asyncio.create_task(upkeep.run())
        await asyncio.sleep(0)
        sink.topic_id = "b"
        await until(lambda: renewed)
        assert "cleanup.policy = delete, and state would go from it" in upkeep.amiss
        set_policy(kafka, topic, "compact")
        await until(lambda: not upkeep.amiss)
        keeping.cancel()

    asyncio.run(check())
    assert renewed == [True]
    assert len(admin(kafka).list_topics(topic, 10).topics[topic].partitions) == 3


def test_one_that_has_gone_is_made_and_counts_as_another_where_topics_have_no_ids(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, renewed = f"{kafka.topic(1)}-log", list[bool]()
    settings = connection({"connector": "kafka", "topic": topic, "brokers": kafka.bootstrap}, "q")
    assert isinstance(settings, KafkaConnection)
    settings = settings.model_copy(update={"create": CreateTopic(partitions=2, config={"cleanup.policy": "compact"})})
    sink = SimpleNamespace(topic_id="", has_gone=True, partitions=2)
    upkeep = Upkeep(settings, seen(sink, monkeypatch), "q", lambda: renewed.append(True))

    async def check() -> None:
        keeping = asyncio.create_task(upkeep.run())
        await until(lambda: topic in admin(kafka).list_topics(timeout=10).topics)
        assert not renewed
        sink.has_gone = False
        await until(lambda: renewed)
        keeping.cancel()

    asyncio.run(check())
    assert not upkeep.amiss
