"""A fetcher that has two requests at a broker while there is much to fetch: the broker works on one, we on what the other brought."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher
from aiokafka.protocol.fetch import FetchRequest

from esp.runtime.kafka.binding import require, require_use

MUCH_BYTES = 1 << 20  # a response that large tells of a stream that is behind
Request = tuple[int, Any]  # a node and what it is asked


class PipelinedFetcher(Fetcher):
    """aiokafka's own, but that what is in flight is known by partition, not by node.

    A broker answers the requests of a connection one by one, and holds one that finds nothing. So a second is sent only where both are
    sure to find something, and is not held. Once there is little to fetch, there is one request again, for all partitions of a broker.
    """

    _fetch: Any = Fetcher._proc_fetch_request

    def __init__(self, *args: Any, **options: Any) -> None:
        self._flying: dict[TopicPartition, int] = {}  # partitions that are being fetched, by node
        self._rich: set[TopicPartition] = set()  # those whose last response was large
        super().__init__(*args, **options)

    def _get_actions_per_node(self, assignment: Any) -> Any:
        landed = SimpleNamespace(tps=[tp for tp in assignment.tps if tp not in self._flying], state_value=assignment.state_value)
        requests, *others = super()._get_actions_per_node(landed)
        return ([part for node, request in requests for part in self._parts(assignment, node, request)], *others)

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> Any:
        tps = [tp for tp, _ in _flat(request)]
        self._flying |= dict.fromkeys(tps, node_id)
        try:
            return await self._fetch(assignment, node_id, request)
        finally:
            for tp in tps:
                del self._flying[tp]
            self._rich.difference_update(tps)
            if sum(self._size(tp) for tp in tps) >= MUCH_BYTES:
                self._rich.update(tps)

    def _size(self, tp: TopicPartition) -> int:
        """Bytes that were fetched of a partition and wait."""
        records = getattr(self._records.get(tp), "_partition_records", None)
        return len(records.data) if records is not None else 0

    def _parts(self, assignment: Any, node: int, request: Any) -> Sequence[Request]:
        """What is sent to a node now, of a request for all its partitions that do not fly."""
        wanted, flies = _flat(request), node in self._flying.values()
        if not all(tp in self._rich and place[1] < self._end(assignment.state_value(tp)) for tp, place in wanted):
            return [] if flies else [(node, request)]
        middle = len(wanted) if flies else (len(wanted) + 1) // 2
        return [(node, self._unheld(part)) for part in (wanted[:middle], wanted[middle:]) if part]

    def _end(self, state: Any) -> int:
        """Up to where a partition can be read, as far as is known."""
        end = state.lso if self._isolation_level == READ_COMMITTED else state.highwater
        return -1 if end is None else int(end)

    def _unheld(self, wanted: Sequence[tuple[TopicPartition, tuple[int, int, int]]]) -> Any:
        """A request that the broker answers at once."""
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for tp, place in wanted:
            topics.setdefault(tp.topic, []).append(place)
        half = max(self._fetch_max_bytes // 2, self._max_partition_fetch_bytes)
        return FetchRequest(
            0, self._fetch_min_bytes, half, self._isolation_level, list(topics.items()), rack_id=self._client_rack or ""
        )


def _flat(request: Any) -> list[tuple[TopicPartition, tuple[int, int, int]]]:
    """The partitions of a request, each with its number, offset and most bytes."""
    return [(TopicPartition(topic, place[0]), place) for topic, places in request.topics for place in places]


require(Fetcher._get_actions_per_node, "self assignment")
require(Fetcher._proc_fetch_request, "self assignment node_id request")
require_use(Fetcher._get_actions_per_node, ["tps", "state_value", "_in_flight", "position", "_client_rack", "_fetch_max_bytes"])
require_use(Fetcher._fetch_requests_routine, ["_get_actions_per_node", "_proc_fetch_request"])
