"""A partition that is added to a source's topic while its tasks are kept in Kafka: the changelog gets one too, and the state moves with it."""

import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions

from tests.conftest import Kafka
from tests.engine_process import PATIENCE_S, EngineProcess, Topics, wait_until
from tests.runtime import streams

pytestmark = pytest.mark.kafka
BEFORE, AFTER = 2, 3


def partitions(topics: Topics, name: str) -> int:
    return len(topics.admin.list_topics(name, PATIENCE_S).topics[name].partitions)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_a_partition_that_is_added_has_its_state_in_the_changelog_too(
    kafka: Kafka, tmp_path: Path, delivery: str, is_running: bool
) -> None:
    tag = f"t{uuid.uuid4().hex[:10]}"
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, BEFORE)
    connectors = streams.kafka(tag, kafka.bootstrap)
    connectors["events"] += ", client = { metadata_max_age_ms = 500 }"
    query = streams.query_file(tmp_path, connectors, name=tag, checkpoint="100ms", max_batch=16, delivery=delivery)
    made = streams.events(5, n=1500)
    records = [(streams.partition_of(event["device"], AFTER), streams.value(event)) for event in made]
    changelog = f"{tag}-events-changelog"

    def is_done(count: int) -> bool:
        return sum(topics.committed("events", tag).values()) == count

    with EngineProcess(query, tmp_path / "state") as engine:
        wait_until(lambda: engine.ready()[0], "the engine")
        if not is_running:
            assert engine.stop() == 0
        topics.admin.create_partitions([NewPartitions(f"{tag}.events", AFTER)])[f"{tag}.events"].result(PATIENCE_S)
        wait_until(lambda: partitions(topics, f"{tag}.events") == AFTER, "the new partition in what the broker tells")
        topics.partitions = AFTER
        if is_running:
            topics.send("events", records[:700])
            wait_until(lambda: is_done(700), "the first events of all partitions")
            engine.kill()
    with EngineProcess(query, tmp_path / "elsewhere") as engine:  # without what lies on the disk of before
        if not is_running:
            wait_until(lambda: engine.ready()[0], "the engine")
            topics.send("events", records[:700])
            wait_until(lambda: is_done(700), "the first events of all partitions")
        topics.send("events", records[700:])
        wait_until(lambda: is_done(1500), "the end of the stream")
        assert engine.stop() == 0
        log = (tmp_path / ("state.log" if is_running else "elsewhere.log")).read_text()
        assert log.count(f"the changelog '{changelog}' gets as many partitions as its source, {AFTER}; it had {BEFORE}") == 1
    assert partitions(topics, changelog) == AFTER
    topics.partitions = BEFORE  # of the outputs, which were added none
    wanted = streams.expected(made, AFTER, is_ended=False)
    read = [[value for part in topics.committed_values(name) for value in part] for name in ("scores", "tallies", "late")]
    streams.check(wanted, *read, is_once=delivery == "exactly_once")
