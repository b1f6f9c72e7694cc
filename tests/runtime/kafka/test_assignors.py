"""How a group shares its partitions: the sticky assignor moves no more than it must, and each consumer remembers for itself."""

from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from esp.runtime.kafka.assignors import assignor

TOPIC = "t"


class Cluster:
    """What an assignor asks of the cluster's metadata."""

    def __init__(self, partitions: int) -> None:
        self.partitions = set(range(partitions))

    def topics(self) -> set[str]:
        return {TOPIC}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self.partitions


class Group:
    """Members that come and go, each with an assignor of its own, as consumers of one process have."""

    def __init__(self, partitions: int) -> None:
        self.cluster, self.generation = Cluster(partitions), 0
        self.members: dict[str, Any] = {}

    def share(self, *names: str) -> dict[str, set[int]]:
        """A rebalance among these members, done by the first."""
        self.generation += 1
        for name in names:
            self.members.setdefault(name, assignor("sticky", lambda: self.generation))
        metadata = {name: ConsumerProtocolMemberMetadata.decode(self.members[name].metadata([TOPIC]).encode()) for name in names}
        answers = self.members[names[0]].assign(self.cluster, metadata)
        for name, answer in answers.items():
            self.members[name].on_assignment(ConsumerProtocolMemberAssignment.decode(answer.encode()))
        return {name: {tp.partition for tp in answer.partitions()} for name, answer in answers.items()}


def test_partitions_stay_where_they_are_but_for_those_that_a_new_member_needs() -> None:
    group = Group(8)
    one = group.share("a")
    two = group.share("a", "b")
    three = group.share("b", "a", "c")
    assert one == {"a": set(range(8))}
    assert (len(two["a"]), len(two["b"])) == (4, 4)
    assert sorted(map(len, three.values())) == [2, 3, 3]
    assert three["a"] < two["a"]
    assert three["b"] < two["b"]
    left = group.share("c", "b")
    assert left["b"] > three["b"]
    assert left["c"] > three["c"]


def test_who_was_away_gets_nothing_back_that_another_has_had_since() -> None:
    group = Group(4)
    group.share("a", "b")
    before = group.share("b")  # a is away, and does not know
    assert before == {"b": {0, 1, 2, 3}}
    after = group.share("a", "b")
    assert after["a"] | after["b"] == {0, 1, 2, 3}
    assert (len(after["a"]), len(after["b"])) == (2, 2)


def test_the_other_assignors_are_those_of_the_client() -> None:
    assert [assignor(name, lambda: 1).name for name in ("range", "roundrobin", "sticky")] == ["range", "roundrobin", "sticky"]
