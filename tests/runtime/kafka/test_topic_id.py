"""The id of a topic: a broker that is too old has none, and no other failure is taken for that."""

import asyncio
import io
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from esp.runtime.kafka.topic_id import _Answer, topic_id

METADATA = 3  # the number of the request in Kafka's protocol
ID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")


def _client(versions: dict[int, tuple[int, int]], failure: Exception | None = None) -> Any:
    """Stands in for aiokafka's client over a broker that speaks these versions of each request."""

    async def send(_: int, request: Any) -> Any:
        asked = request.prepare(versions)
        assert (asked.API_KEY, asked.API_VERSION) == (METADATA, 12)
        if failure is not None:
            raise failure
        topic: Any = (0, "t", ID.bytes, False, [], 0, {})
        return _Answer.decode(io.BytesIO(_Answer(0, [], "c", 1, [topic], {}).encode()))

    return SimpleNamespace(get_random_node=lambda: 1, send=send)


def asked(client: Any) -> str:
    return asyncio.run(topic_id(client, "t"))


def test_a_broker_that_knows_ids_tells_them() -> None:
    assert asked(_client({METADATA: (0, 13)})) == str(ID)


@pytest.mark.parametrize("versions", [{}, {METADATA: (0, 11)}, {METADATA: (13, 14)}])
def test_a_broker_without_that_version_has_no_ids(versions: dict[int, tuple[int, int]]) -> None:
    assert asked(_client(versions)) == ""


@pytest.mark.parametrize("failure", [NotImplementedError("a codec is not there"), KafkaError("away")])
def test_what_fails_otherwise_is_no_missing_id(failure: Exception) -> None:
    with pytest.raises(type(failure)):
        asked(_client({METADATA: (0, 13)}, failure))
