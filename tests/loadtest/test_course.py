"""A whole course over a real Kafka: what is right comes out whole, and who does not score is found out."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from loadtest import measure
from loadtest.course import filled, flowing, is_whole, ramping
from loadtest.networks import WORKLOADS
from loadtest.parties import Ground, engine, passthrough, peer
from loadtest.plan import Load
from loadtest.topics import Topics
from tests.conftest import Kafka
from tests.engine_process import PATIENCE_S, wait_until

pytestmark = pytest.mark.kafka
EVENTS = 3000


@pytest.fixture
def ground(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setattr(measure, "STALL_S", PATIENCE_S)
    workload, kit = WORKLOADS["sensor"](tmp_path / "kit")
    with Topics(kafka.bootstrap, f"load-{uuid.uuid4().hex[:8]}", 2, deletes=True) as topics:
        yield Ground(topics, workload, kit, tmp_path)


def is_gone(topics: Topics, short: str) -> bool:
    try:
        topics.count(short)
    except KafkaException:
        return True
    return False


def test_engine_and_peers_drain_one_topic_and_every_score_is_right(ground: Ground) -> None:
    peers = [peer(name, ground.workload, is_open_loop=False) for name in ("aiokafka", "confluent")]
    result = filled(ground, Load(EVENTS, None, partitions=2), [engine(ground.kit), *peers], 1, lambda said: None)
    assert is_whole(result), result
    assert list(result["parties"]) == ["engine", "aiokafka", "confluent"]
    assert ground.topics.count("events") == EVENTS
    wait_until(lambda: is_gone(ground.topics, "confluent-1.scores"), "outputs to be taken away, once they are counted")
    assert all(figures["events"] == EVENTS and figures["wrong"] == 0 for figures in result["parties"].values())


def test_a_peer_in_an_open_loop_has_a_latency_for_each_event(ground: Ground) -> None:
    party = peer("confluent", ground.workload, is_open_loop=True)
    result = flowing(ground, Load(500, 1000.0, partitions=2), [party], 1, lambda said: None)
    assert is_whole(result), result
    assert 0 < result["parties"]["confluent"]["latency_ms"]["p50"] <= result["parties"]["confluent"]["latency_ms"]["max"]


def test_a_ramp_shows_the_highest_rate_that_was_held(ground: Ground) -> None:
    party = peer("confluent", ground.workload, is_open_loop=True)
    result = ramping(ground, Load(10, 20.0, partitions=2), 40.0, [party], lambda said: None)
    figures = result["parties"]["confluent"]
    assert is_whole(result), result
    assert figures["held_rate"] in (0.0, *(step["rate"] for step in figures["steps"]))


def test_a_party_that_passes_events_on_unscored_is_wrong_in_every_one(ground: Ground) -> None:
    lazy = replace(passthrough(), is_scored=True)
    result = filled(ground, Load(EVENTS, None, partitions=2), [lazy], 1, lambda said: None)
    assert result["parties"]["passthrough"]["wrong"] == EVENTS
    assert not is_whole(result)


def test_a_party_that_dies_is_named_and_the_others_go_on(ground: Ground) -> None:
    broken = replace(ground, kit=replace(ground.kit, folder=ground.kit.folder / "nowhere"))
    party = peer("confluent", ground.workload, is_open_loop=False)
    result = filled(broken, Load(200, None, partitions=2), [party, passthrough()], 1, lambda said: None)
    assert "nowhere" in result["failed"]["confluent"]
    assert result["parties"]["passthrough"]["lost"] == 0
    assert not is_whole(result)
