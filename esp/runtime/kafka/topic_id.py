"""The id of a topic, which tells one that was deleted and made anew from the one before; aiokafka's own metadata are too old to have it."""

import uuid
from io import BytesIO
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import AbstractType, Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields


class Uuid(AbstractType[bytes]):
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_TEXT, _END = CompactString("utf-8"), ("tags", TaggedFields)
_BROKER = (("node", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _END)
_NODES = CompactArray(Int32)
_PARTITION = (
    ("error", Int16), ("partition", Int32), ("leader", Int32), ("epoch", Int32), ("replicas", _NODES), ("in_sync", _NODES),
    ("offline", _NODES), _END,
)  # fmt: skip
_TOPIC = (
    ("error", Int16), ("name", _TEXT), ("id", Uuid), ("is_internal", Boolean), ("partitions", CompactArray(*_PARTITION)),
    ("operations", Int32), _END,
)  # fmt: skip


class _Answer(Response):
    """Metadata, version 12 (Kafka 3.1)."""

    API_KEY, API_VERSION = 3, 12
    SCHEMA = Schema(
        ("throttle_ms", Int32), ("brokers", CompactArray(*_BROKER)), ("cluster", _TEXT), ("controller", Int32),
        ("topics", CompactArray(*_TOPIC)), _END,
    )  # fmt: skip


class _Question(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE, FLEXIBLE_VERSION = 3, 12, _Answer, True
    SCHEMA = Schema(
        ("topics", CompactArray(("id", Uuid), ("name", _TEXT), _END)), ("may_create", Boolean), ("operations", Boolean), _END
    )


class _NoIdsError(Exception):
    """The broker does not speak the version that has ids."""


class _Ask(Request[_Question]):
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def prepare(self, versions: dict[int, tuple[int, int]]) -> _Question:
        lowest, highest = versions.get(self.API_KEY, (0, -1))
        if not lowest <= _Question.API_VERSION <= highest:
            raise _NoIdsError
        prepared: _Question = super().prepare(versions)
        return prepared

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(bytes(16), self.topic, {})], False, False, {})


async def topic_id(client: Any, topic: str) -> str:
    """The topic's id; empty where there is no topic, or the cluster knows no ids. Raises KafkaError or OSError."""
    node = client.get_random_node()
    if node is None:
        return ""
    try:
        answer = await client.send(node, _Ask(topic))
    except _NoIdsError:
        return ""
    except ValueError as err:
        raise KafkaError(f"an answer that is none ({err})") from err
    found = next((one for one in answer.topics if one[1] == topic and not one[0]), None)
    return "" if found is None or not any(found[2]) else str(uuid.UUID(bytes=found[2]))
