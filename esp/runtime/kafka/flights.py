"""Two produce requests on their way to a broker at a time: while it writes one down, the next lies in its socket."""

from collections import defaultdict

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender

from esp.runtime.kafka.binding import require_use

MOST = 2  # of disjoint partitions, for the sender has one batch of a partition on its way


class Flights:
    """In the place of aiokafka's set of nodes that have a request on its way: it holds those that may not have another one."""

    def __init__(self) -> None:
        self._on_their_way: defaultdict[int, int] = defaultdict(int)

    def __contains__(self, node: int) -> bool:
        return self._on_their_way[node] >= MOST

    def add(self, node: int) -> None:
        self._on_their_way[node] += 1

    def remove(self, node: int) -> None:
        self._on_their_way[node] -= 1


require_use(AIOKafkaProducer.start, ["_sender"])
require_use(Sender._sender_routine, ["_in_flight", "add", "_muted_partitions", "drain_by_nodes"])
require_use(Sender._send_produce_req, ["_in_flight", "remove"])
require_use(MessageAccumulator.drain_by_nodes, ["_batches"])
