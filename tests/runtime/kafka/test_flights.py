"""Two produce requests at a broker: never three, and never two of one partition."""

import asyncio
from typing import Any

import pytest
from aiokafka.producer.sender import Sender

from esp.runtime.events import raw_block
from esp.runtime.kafka.flights import MOST
from tests.conftest import Kafka
from tests.runtime.kafka.test_kafka import consume, make_sink
from tests.runtime.memory_stream import until

pytestmark = pytest.mark.kafka
PARTITIONS, BLOCKS = 3, 20


def test_two_requests_are_on_their_way_of_disjoint_partitions_and_order_holds(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, flying, gate = kafka.topic(PARTITIONS), list[set[int]](), asyncio.Event()
    send = Sender._send_produce_req

    async def held(self: Any, node_id: int, batches: Any) -> None:
        here = {tp.partition for tp in batches}
        assert not any(here & others for others in flying)
        flying.append(here)
        await gate.wait()
        await send(self, node_id, batches)
        flying.remove(here)

    async def run() -> None:
        sink = make_sink(kafka, topic)
        await sink.start()
        try:
            for partition in range(PARTITIONS):
                for number in range(BLOCKS):
                    await sink.send(raw_block([b"%d" % number], partition=partition))
                wanted = min(partition + 1, MOST)
                await until(lambda: len(flying) >= wanted)  # noqa: B023
                for _ in range(100):  # turns of the loop, many more than a request takes to leave
                    await asyncio.sleep(0)
                assert len(flying) == wanted
            gate.set()
            await sink.flush()
        finally:
            gate.set()
            await sink.stop()

    monkeypatch.setattr(Sender, "_send_produce_req", held)
    asyncio.run(run())
    assert MOST == 2
    found = consume(kafka, topic, PARTITIONS * BLOCKS, PARTITIONS)
    for partition in range(PARTITIONS):
        values = [m.value() for m in found if m.partition() == partition]
        assert values == [b"%d" % number for number in range(BLOCKS)]
