"""Fixtures that several parts share: a real Kafka broker (`kafka`), one of a test's own that may be killed (`own_broker`), one that asks who comes in."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.broker import Broker, missing
from tests.secured_broker import SecuredBroker

settings.register_profile("any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@dataclass(frozen=True)
class Kafka:
    """A running broker: its address, and topics of a name nobody else has."""

    bootstrap: str

    def topic(self, partitions: int = 1, config: dict[str, str] | None = None) -> str:
        from confluent_kafka.admin import AdminClient, NewTopic

        name, admin = f"test-{uuid.uuid4().hex[:12]}", AdminClient(self.client())
        kept = {"retention.ms": "-1"}  # records with stamps of years ago
        made = admin.create_topics([NewTopic(name, partitions, 1, config=kept | (config or {}))])
        made[name].result(240)
        return name

    def client(self, **options: Any) -> dict[str, Any]:
        """Options for a client of confluent-kafka; what it says of its connections would be taken for words of a command under test."""
        return {"bootstrap.servers": self.bootstrap, "log_level": 0, **options}


@pytest.fixture(autouse=True)
def unmeasured(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` remembers nothing between tests, and by its clock all takes equally long: it keeps numba, whatever the machine does."""
    from esp.runtime.backends import choice

    folder = tmp_path_factory.getbasetemp() / f"backends-{uuid.uuid4().hex}"
    monkeypatch.setattr(choice, "CHOOSER", choice.Chooser(folder, count().__next__))


def skip(reason: str) -> None:
    if os.environ.get("ESP_REQUIRE_KAFKA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def skip_without_kafka() -> None:
    """Leaves a test out where no broker of our own can be started."""
    if reason := missing():
        skip(reason)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A broker for all tests of the run: the one that ESP_TEST_BROKERS names, else Apache Kafka started here."""
    if named := os.environ.get("ESP_TEST_BROKERS"):
        yield Kafka(named)
        return
    if reason := missing():
        skip(reason)
    broker = Broker().start()
    yield Kafka(broker.bootstrap)
    broker.remove()


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker of the test's own, started, which the test may kill."""
    if reason := missing():
        skip(reason)
    broker = Broker().start()
    yield broker
    broker.remove()


@pytest.fixture(scope="session")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A broker with a listener for each way of getting in."""
    if reason := missing():
        skip(reason)
    broker = SecuredBroker(tmp_path_factory.mktemp("certificates"))
    broker.start()
    yield broker
    broker.remove()
