"""How a consumer group shares its partitions: aiokafka's assignors by name, the sticky one with a memory for each consumer."""

from collections.abc import Callable
from typing import Any, Literal

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor


def assignor(name: Literal["sticky", "range", "roundrobin"], generation: Callable[[], int]) -> Any:
    """The assignor of one consumer; ``generation`` tells the generation of the group that the consumer is in."""
    if name == "range":
        return RangePartitionAssignor
    if name == "roundrobin":
        return RoundRobinPartitionAssignor
    return _sticky(generation)


def _sticky(generation: Callable[[], int]) -> Any:
    """aiokafka's keeps what it was assigned with its class, for all consumers of a process alike, and is never told the generation."""

    class Sticky(StickyPartitionAssignor):
        @classmethod
        def on_assignment(cls, assignment: Any) -> None:
            super().on_assignment(assignment)
            cls.on_generation_assignment(generation())

    return Sticky
