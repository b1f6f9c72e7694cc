"""A producer whose transaction has ended behind its sink's back: another engine has taken over, or nobody knows why."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from esp.errors import FencedError, TransportError
from esp.runtime.events import raw_block
from esp.runtime.kafka.cluster import Topic
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink


def _ended(cause: Exception | None) -> Any:
    """Stands in for aiokafka's producer: its sender has ended, and so nothing is taken."""
    sender: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failure = KafkaError("Unexpected error during batch delivery")
    failure.__cause__ = cause
    sender.set_exception(failure)

    async def send_batch(*_: Any, **__: Any) -> None:
        raise IllegalOperation("Can't send messages while not in transaction")

    manager = SimpleNamespace(transactional_id="g-in-0")
    client = SimpleNamespace(cluster=SimpleNamespace(partitions_for_topic=lambda _: {0}))
    return SimpleNamespace(send_batch=send_batch, client=client, _sender=SimpleNamespace(sender_task=sender), _txn_manager=manager)


@pytest.mark.parametrize(
    ("cause", "told", "words"),
    [(ProducerFenced(), FencedError, "another engine has started 'g-in-0'"), (None, TransportError, "the records were not taken")],
)
def test_the_end_of_a_transaction_is_told_in_a_line(cause: Exception | None, told: type[Exception], words: str) -> None:
    async def main() -> None:
        sink = KafkaSink(KafkaConnection(connector="kafka", topic="out", records="client"), "query.toml")
        sink._topic = Topic(1, None)
        sink._lanes = {0: None}  # type: ignore[dict-item]
        twin = sink.over(_ended(cause))
        await twin.send(raw_block([b"x"]))
        with pytest.raises(told, match=words):
            await twin.flush()

    asyncio.run(main())
