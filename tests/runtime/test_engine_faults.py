"""An engine beside a broker that fails in every way: it waits and says why, or ends with its status; nothing is lost."""

import errno
import json
import logging
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from esp.runtime.kafka import pacing, watch
from esp.runtime.state import checkpoint as checkpoint_module
from tests.conftest import skip_without_kafka
from tests.engine_process import EngineProcess, Topics, wait_until
from tests.faults import FaultyBroker, Running

pytestmark = pytest.mark.kafka

COPY = """
[query]
name = "copy"
group = "{tag}"
checkpoint = "50ms"
dead = {{ connector = "kafka", topic = "{tag}.dead", brokers = "{brokers}" }}

[windows.in]
kind = "source"
schema = "id:int64"
connect = {{ connector = "kafka", topic = "{tag}.in", brokers = "{brokers}"{source} }}

[windows.out]
kind = "sink"
from = "in"
connect = {{ connector = "kafka", topic = "{tag}.out", brokers = "{brokers}"{sink} }}
"""
PARTITIONS = 2


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyBroker]:
    """A broker behind a proxy, for all tests of this file."""
    skip_without_kafka()
    broker = FaultyBroker()
    yield broker
    broker.remove()


@pytest.fixture(autouse=True)
def soon(faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The engine looks at its broker ten times as often as by itself; the way is free again after each test."""
    monkeypatch.setattr(watch, "WATCH_S", 0.2)
    monkeypatch.setattr(watch, "STALL_S", 120.0)  # a machine that stands still for a while is no trouble
    caplog.set_level(logging.INFO)
    yield
    faulty.proxy.restore()


class Case:
    """Topics of their own, and a query that copies numbers from one to the other."""

    def __init__(self, faulty: FaultyBroker, folder: Path, *, source: str = "", sink: str = "") -> None:
        self.faulty, self.folder, self.tag = faulty, folder, f"t{uuid.uuid4().hex[:10]}"
        self.topics = Topics(faulty.direct, self.tag, ("in", "out", "dead"), PARTITIONS)
        names = {"tag": self.tag, "brokers": faulty.bootstrap, "source": source, "sink": sink}
        self.names, self.sent = names, 0
        self._write()

    def _write(self) -> None:
        (self.folder / "query.toml").write_text(COPY.format(**self.names))

    def set_source(self, more: str) -> None:
        """More keys of the source's connector."""
        self.names["source"] = more
        self._write()

    def run(self) -> Running:
        return Running(self.folder / "query.toml", self.folder / "state")

    def send(self, count: int) -> None:
        values = [(number % PARTITIONS, b'{"id":%d}' % number) for number in range(self.sent, self.sent + count)]
        self.topics.send("in", values)
        self.sent += count

    def ids(self, topic: str = "out") -> list[int]:
        return sorted(json.loads(value)["id"] for value in self.topics.values(topic))

    def delete(self, topic: str) -> None:
        name = f"{self.tag}.{topic}"
        self.topics.admin.delete_topics([name])[name].result(120)
        wait_until(lambda: name not in self.topics.admin.list_topics(timeout=120).topics, "the topic's end")

    def make(self, topic: str) -> None:
        name = f"{self.tag}.{topic}"

        def is_made() -> bool:
            try:
                self.topics.admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(120)
            except KafkaException:  # the old one is not quite gone
                return False
            return True

        wait_until(is_made, "the topic")
        if topic == "in":  # the broker may still take records into the old one
            wait_until(lambda: self.topics.count(topic) == 0, "the new log")

    def forget(self, topic: str, before: int) -> None:
        """Takes away each partition's records before an offset, as retention does."""
        parts = [TopicPartition(f"{self.tag}.{topic}", number, before) for number in range(PARTITIONS)]
        for done in self.topics.admin.delete_records(parts).values():
            done.result(120)

    def set_topic(self, topic: str, **config: str) -> None:
        """Changes settings of a topic."""
        resource = ConfigResource(ResourceType.TOPIC, f"{self.tag}.{topic}")
        for name, value in config.items():
            change = ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            resource.add_incremental_config(change)
        self.topics.admin.incremental_alter_configs([resource])[resource].result(120)

    def is_refused(self, topic: str, value: bytes) -> bool:
        """Whether the broker does not take a record: it hears of new settings and rights a moment after they are made."""
        refusals, producer = list[bool](), Producer({**self.topics.options, "message.max.bytes": 1_000_000})
        producer.produce(f"{self.tag}.{topic}", value, partition=0, on_delivery=lambda err, _: refusals.append(err is not None))
        assert producer.flush(120) == 0
        return refusals == [True]

    def deny(self, topic: str, *denied: AclOperation) -> None:
        """Whoever comes may look at the topic, read and write it, but for what is denied."""
        usual = (AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE)
        kinds = dict.fromkeys(usual, AclPermissionType.ALLOW) | dict.fromkeys(denied, AclPermissionType.DENY)
        name, literal = f"{self.tag}.{topic}", ResourcePatternType.LITERAL
        rules = [AclBinding(ResourceType.TOPIC, name, literal, "User:*", "*", what, kind) for what, kind in kinds.items()]
        for made in self.topics.admin.create_acls(rules).values():
            made.result(120)

    def forgive(self, topic: str) -> None:
        """Takes all rules for a topic away."""
        some = AclBindingFilter(
            ResourceType.TOPIC,
            f"{self.tag}.{topic}",
            ResourcePatternType.LITERAL,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        self.topics.admin.delete_acls([some])[some].result(120)

    def members(self) -> int:
        """How many engines the group has."""
        return len(self.topics.admin.describe_consumer_groups([self.tag])[self.tag].result(120).members)

    def add_partition(self, topic: str) -> None:
        name = f"{self.tag}.{topic}"
        self.topics.admin.create_partitions([NewPartitions(name, PARTITIONS + 1)])[name].result(120)
        wait_until(
            lambda: len(self.topics.admin.list_topics(name, timeout=120).topics[name].partitions) > PARTITIONS, "the partition"
        )

    def until_all(self) -> None:
        """Until every number that was sent has come out."""
        wait_until(lambda: len(set(self.ids())) >= self.sent, "all outputs")
        assert set(self.ids()) == set(range(self.sent))


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith("esp") and one.levelno >= level]


def test_a_broker_that_refuses_connections_is_awaited_and_told_once_a_connector(
    faulty: FaultyBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        faulty.proxy.refuse()
        case.send(100)
        for window in ("in", "out", "query.dead"):
            engine.until_not_ready(f"{window}: the Kafka broker is gone")
        engine.until_not_ready("Connect call failed")
        faulty.proxy.restore()
        engine.until_ready()
        case.until_all()
        metrics = engine.ask("/metrics")
        assert engine.stop().status == 0
    assert len([line for line in lines(caplog) if "is gone" in line]) == 3  # source, sink, dead letters
    assert len([line for line in lines(caplog, logging.INFO) if "is back after" in line]) == 3
    assert len(lines(caplog)) == 3
    for window in ("in", "out", "query.dead"):
        assert f'esp_peer_faults_total{{query="copy",window="{window}"}} 1.0' in metrics
    assert case.ids() == list(range(200))


def test_a_broker_that_swallows_everything_is_found_out_and_awaited(
    faulty: FaultyBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ANSWER_S", 2.0)
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        faulty.proxy.hold()
        engine.until_not_ready("the Kafka broker is gone: no answer in 2 s")
        case.send(100)
        faulty.proxy.restore()
        engine.until_ready()
        case.until_all()
        assert engine.stop().status == 0
    assert case.ids() == list(range(200))


def test_a_slow_broker_is_borne_and_connections_that_break_inside_an_answer_lose_nothing(
    faulty: FaultyBroker, tmp_path: Path
) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        faulty.proxy.delay_s = 0.4
        case.send(100)
        case.until_all()
        faulty.proxy.delay_s = 0.0
        for _ in range(3):
            faulty.proxy.cut_inside = True
            case.send(100)
            faulty.proxy.cut()
            case.until_all()
        engine.until_ready()
        assert engine.stop().status == 0


def test_pauses_double_up_to_two_seconds_and_are_never_alike() -> None:
    pace = pacing.Pace()
    lengths = []
    for _ in range(7):
        pauses = {pace.pause_s() for _ in range(50)}
        assert len(pauses) > 40
        assert pace.length_s / 2 <= min(pauses) <= max(pauses) <= pace.length_s
        lengths.append(pace.length_s)
        pace.grow()
    assert lengths == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    pace.reset()
    assert pace.length_s == 0.1


def test_a_topic_deleted_and_made_anew_ends_the_query_unless_told_otherwise(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        case.delete("in")
        engine.until_not_ready(f"in: there is no topic '{case.tag}.in' any more")
        wait_until(lambda: not engine.runner.assigned["in"], "the end of its partitions")
        case.make("in")
        case.send(300)  # the new topic has already grown past the offsets of the old one
        ended = engine.end()
    assert ended.status == 1
    assert f"{case.tag}.in/0: the topic was deleted and made anew, and the state is that of the one before" in ended.line
    with case.run() as engine:  # the checkpoint knows it too
        assert engine.end() == ended
    case.set_source(', on_lost = "earliest"')
    with case.run() as engine:
        engine.until_ready()
        case.until_all()
        assert engine.stop().status == 0
    assert case.ids() == list(range(400))


def test_a_topic_made_anew_in_a_moment_is_found_out_by_its_id_and_read_from_its_beginning_where_told(
    faulty: FaultyBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(faulty, tmp_path, source=', on_lost = "earliest"')
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        case.delete("in")
        case.make("in")
        case.send(300)
        case.until_all()
        told = "it goes on at {0: 0, 1: 0} with the state as it is"
        wait_until(lambda: any(told in line for line in lines(caplog)), told)
        engine.until_ready()
        case.send(10)
        case.until_all()
        assert engine.stop().status == 0


def test_a_sink_topic_that_is_deleted_is_awaited(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.delete("out")
        engine.until_not_ready(f"out: there is no topic '{case.tag}.out' any more")
        case.send(100)
        case.make("out")
        engine.until_ready()
        case.until_all()
        assert engine.stop().status == 0
    assert case.ids() == list(range(100))


def test_offsets_that_retention_has_taken_end_the_query_or_are_passed_over_and_counted(
    faulty: FaultyBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        assert engine.stop().status == 0
    case.send(200)
    case.forget("in", 120)  # of each partition's 150
    with case.run() as engine:
        ended = engine.end()
    assert ended.status == 1
    assert "/50: offset 50 is no longer (or not yet) there; say on_lost = earliest or latest" in ended.line
    case.set_source(', on_lost = "earliest"')
    with case.run() as engine:
        engine.until_ready()
        wait_until(lambda: len(case.ids()) >= 160, "what is left")
        engine.until_metric('esp_peer_events_lost_total{query="copy",window="in"} 140.0')
        assert engine.stop().status == 0
    assert case.ids() == [*range(100), *range(240, 300)]
    assert len([line for line in lines(caplog) if "it goes on at 120, as on_lost = earliest says: 70 events are lost" in line]) == 2


def test_offsets_that_are_lost_in_mid_stream_are_passed_over_where_told(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path, source=', on_lost = "latest"')
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        faulty.proxy.refuse()  # and what a fetch that is under way would bring goes with its connection
        case.send(100)
        case.forget("in", 100)
        faulty.proxy.restore()
        engine.until_metric('esp_peer_events_lost_total{query="copy",window="in"} 100.0')
        case.send(50)
        wait_until(lambda: set(range(200, 250)) <= set(case.ids()), "what came after")
        assert engine.stop().status == 0
    assert case.ids() == [*range(100), *range(200, 250)]


def test_a_partition_that_is_added_is_taken_up_from_its_beginning(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path, source=', start = "latest"')
    with case.run() as engine:
        engine.until_ready()
        case.send(10)
        case.until_all()
        assert engine.stop().status == 0
    case.add_partition("in")
    producer = Producer({"bootstrap.servers": faulty.direct})  # one that knows the new partition
    for value in (b'{"id":10}', b'{"id":11}'):
        producer.produce(f"{case.tag}.in", value, partition=2)
    assert producer.flush(120) == 0
    with case.run() as engine:
        engine.until_ready()
        wait_until(lambda: case.ids() == list(range(12)), "what was there before the engine")
        assert engine.stop().status == 0


def test_a_group_that_begins_at_the_end_begins_there_at_every_start(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path, source=', start = "latest"')
    case.send(10)
    with case.run() as engine:
        engine.until_ready()
        assert engine.stop().status == 0
    case.send(10)
    with case.run() as engine:
        engine.until_ready()
        wait_until(lambda: case.ids() == list(range(10, 20)), "what came between the two")
        assert engine.stop().status == 0


def test_a_limit_that_is_lowered_ends_the_query_and_a_restart_makes_smaller_batches(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.set_topic("out", max_message_bytes="500")
        wait_until(lambda: case.is_refused("out", b'{"id":0%s}' % (b" " * 1000)), "the limit")
        faulty.proxy.hold()  # so that outputs come many at a time, however fast the engine is
        case.send(500)
        faulty.proxy.restore()
        ended = engine.end()
    assert ended.status == 1
    assert f"more than topic '{case.tag}.out' takes (the broker refused it); raise max.message.bytes of the topic" in ended.line
    with case.run() as engine:
        engine.until_ready()
        case.until_all()
        assert engine.stop().status == 0


def test_a_topic_that_is_not_shown_any_more_is_awaited(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.deny("out", AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE)
        engine.until_not_ready(f"out: there is no topic '{case.tag}.out' any more, or we may not see it")
        case.forgive("out")
        engine.until_ready()
        case.send(100)
        case.until_all()
        assert engine.stop().status == 0


@pytest.mark.parametrize(
    ("topic", "denied"), [("out", AclOperation.WRITE), ("in", AclOperation.READ), ("dead", AclOperation.WRITE)]
)
def test_a_right_that_is_taken_away_ends_the_query(faulty: FaultyBroker, tmp_path: Path, topic: str, denied: AclOperation) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(10)
        case.until_all()
        case.deny(topic, denied)
        if denied == AclOperation.WRITE:
            wait_until(lambda: case.is_refused(topic, b'{"id":0}'), "the denial")
        case.topics.send("in", [(0, b"no event"), (0, b'{"id":10}')])
        ended = engine.end()
    assert ended.status == 1
    assert f"{case.tag}.{topic}" in ended.line
    assert "TopicAuthorizationFailedError" in ended.line


def test_a_full_disk_is_told_and_the_stream_goes_on_until_there_is_room(
    faulty: FaultyBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, write, is_full = Case(faulty, tmp_path), checkpoint_module.write_segment, [False]

    def written(path: Path, image: Any) -> Any:
        if is_full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, image)

    monkeypatch.setattr(checkpoint_module, "write_segment", written)
    with case.run() as engine:
        engine.until_ready()
        is_full[0] = True
        case.send(100)
        engine.until_not_ready(
            "the checkpoint cannot be written: No space left on device; make room, or let the engine write there"
        )
        case.until_all()
        is_full[0] = False
        engine.until_ready()
        assert engine.stop().status == 0
    assert case.topics.committed("in", case.tag) == {0: 50, 1: 50}


def test_an_engine_that_slept_past_its_session_comes_back_and_loses_nothing(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path, source=", client = { session_timeout_ms = 1500, heartbeat_interval_ms = 300 }")
    with EngineProcess(case.folder / "query.toml", case.folder / "state") as engine:
        engine.wait_for("is running")
        case.send(100)
        case.until_all()
        engine.process.send_signal(signal.SIGSTOP)
        case.send(100)
        wait_until(lambda: case.members() == 0, "the group's giving it up")
        engine.process.send_signal(signal.SIGCONT)
        case.until_all()
        wait_until(lambda: engine.ready()[0], "its being ready")
        case.send(100)
        case.until_all()
        assert engine.stop() == 0
        assert "Traceback" not in engine.text
