"""An engine beside a cluster whose nodes go and come: leaders and group coordinators move, replicas are missing, partitions have no leader."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from esp.runtime.kafka import watch
from tests.cluster import Cluster
from tests.conftest import skip_without_kafka
from tests.engine_process import Topics, wait_until
from tests.faults import Running
from tests.runtime.test_engine_faults import COPY

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("ESP_TEST_CLUSTER"), reason="three brokers want two idle cores: set ESP_TEST_CLUSTER=1"),
]
PARTITIONS = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    skip_without_kafka()
    made = Cluster().start()
    wait_until(
        lambda: len(AdminClient({"bootstrap.servers": made.bootstrap}).list_topics(timeout=120).brokers) == 2, "both brokers"
    )
    yield made
    made.remove()


class Case:
    """A query that copies numbers between topics of two replicas each, the dead letters on broker 3 alone."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder, self.tag, self.sent = cluster, folder, f"t{uuid.uuid4().hex[:10]}", 0
        self.admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        wanted = [NewTopic(f"{self.tag}.{name}", PARTITIONS, replica_assignment=[[2, 3], [3, 2]]) for name in ("in", "out")]
        for made in self.admin.create_topics([*wanted, NewTopic(f"{self.tag}.dead", 1, replica_assignment=[[3]])]).values():
            made.result(120)
        self.topics = Topics(cluster.bootstrap, self.tag, ("other",), PARTITIONS)
        names = {"tag": self.tag, "brokers": cluster.bootstrap, "source": "", "sink": ""}
        (folder / "query.toml").write_text(COPY.format(**names))

    def send(self, count: int) -> None:
        values = [(number % PARTITIONS, b'{"id":%d}' % number) for number in range(self.sent, self.sent + count)]
        self.topics.send("in", values)
        self.sent += count

    def until_all(self) -> None:
        wait_until(lambda: set(self.ids()) == set(range(self.sent)), "all outputs")

    def ids(self) -> list[int]:
        try:
            return sorted(json.loads(value)["id"] for value in self.topics.values("out"))
        except KafkaException:  # the reader's own broker has gone
            return []

    def is_in_sync(self) -> bool:
        """Whether both replicas of all partitions are there."""
        found = self.admin.list_topics(timeout=120).topics
        return all(len(part.isrs) == 2 for name in ("in", "out") for part in found[f"{self.tag}.{name}"].partitions.values())

    def want_in_sync(self, count: int) -> None:
        """How many replicas must have an output before it is acknowledged."""
        change = ConfigEntry("min.insync.replicas", str(count), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, f"{self.tag}.out", incremental_configs=[change])
        self.admin.incremental_alter_configs([resource])[resource].result(120)

    def has_letter(self) -> bool:
        try:
            return bool(self.topics.reader.get_watermark_offsets(TopicPartition(f"{self.tag}.dead", 0), timeout=10)[1] == 1)
        except KafkaException:  # its leader has just come back
            return False

    def leaders(self) -> set[int]:
        """Who leads the partitions of the source and the sink."""
        found = self.admin.list_topics(timeout=120).topics
        return {part.leader for name in ("in", "out") for part in found[f"{self.tag}.{name}"].partitions.values()}


def test_leaders_and_coordinators_move_and_nothing_is_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WATCH_S", 0.3)
    monkeypatch.setattr(watch, "STALL_S", 2.0)
    case = Case(cluster, tmp_path)
    with Running(tmp_path / "query.toml", tmp_path / "state") as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        cluster.stop(3)  # in good order: its leaders move to 2 first
        case.send(100)
        engine.until_not_ready(f"query.dead: partition 0 of topic '{case.tag}.dead' has no leader")
        case.until_all()
        assert case.leaders() == {2}

        case.want_in_sync(2)
        case.send(100)
        engine.until_not_ready("out: the broker does not acknowledge the records")
        engine.until_not_ready("NotEnoughReplicasError")
        cluster.start(3)
        engine.until_ready()
        case.until_all()

        wait_until(case.is_in_sync, "both replicas")
        case.want_in_sync(1)
        case.topics.send("in", [(0, b"no event")])  # its dead letter goes where there was no leader
        wait_until(case.has_letter, "the dead letter")
        cluster.kill(2)
        wait_until(lambda: case.leaders() == {3}, "the other leader")
        case.send(100)
        case.until_all()
        assert engine.stop().status == 0
