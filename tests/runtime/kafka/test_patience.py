"""What is asked of a broker that is away."""

import asyncio

import pytest
from aiokafka.errors import CoordinatorNotAvailableError, KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from esp.runtime.kafka import patience
from esp.runtime.kafka.patience import _PatientSender, patiently


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_BACKOFF_S", 0.0)


def test_what_fails_while_the_broker_is_away_is_tried_until_it_is_back() -> None:
    faults = [KafkaConnectionError("away"), KafkaConnectionError("still away")]

    async def attempt() -> int:
        if faults:
            raise faults.pop()
        return 7

    assert asyncio.run(patiently(attempt, "here")) == 7
    assert not faults


def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    async def attempt() -> int:
        raise TopicAuthorizationFailedError("no")

    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(patiently(attempt, "here"))


def test_a_sender_whose_connection_is_cut_while_it_looks_for_a_coordinator_looks_again() -> None:
    answers: list[int | Exception] = [KafkaConnectionError("cut"), CoordinatorNotAvailableError(), 5]
    refusals: list[Exception] = [TopicAuthorizationFailedError("no")]

    class Client:
        async def coordinator_lookup(self, kind: int, key: str) -> int:
            answer = (answers or refusals).pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def ready(self, node: int, group: object) -> bool:
            return True

        async def force_metadata_update(self) -> None:
            pass

    async def look() -> None:
        sender = _PatientSender(
            Client(), acks=-1, txn_manager=object(), message_accumulator=None, retry_backoff_ms=0, request_timeout_ms=1000
        )
        assert await sender._find_coordinator(1, "task") == 5
        sender._coordinator_dead(1)
        with pytest.raises(KafkaError, match="no"):
            await sender._find_coordinator(1, "task")

    asyncio.run(look())
    assert not answers
