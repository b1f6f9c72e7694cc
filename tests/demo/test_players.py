"""What is planned to be played, and when."""

from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np
import pytest

from esp.demo.broker import EmbeddedBroker
from esp.demo.folders import QueryFolder
from esp.demo.players import CAMERAS, Player, malformed_digit, plan_digits, plan_shoulder
from esp.demo.topics import Cluster
from tests.demo.records import images, recordings

SHOULDER = QueryFolder(Path(), {"windows": {"recent": {"length": 4, "hop": 3, "max_gap": "500ms"}}})


def test_digits_are_due_at_an_even_rate_and_carry_that_time() -> None:
    plan = plan_digits(images("305"), rate=100, seconds=0.1, start_ms=5_000)
    assert [round(event.due_s, 6) for event in plan.events] == [i / 100 for i in range(10)]
    assert plan.ts_ms == (5000, 5010, 5020, 5030, 5040, 5050, 5060, 5070, 5080, 5090)
    assert plan.labels == tuple("3053053053")
    assert plan.cameras == tuple(f"camera-{i % CAMERAS + 1}" for i in range(10))


def test_digit_event_holds_camera_id_time_and_its_64_pixels() -> None:
    plan = plan_digits(images("305"), rate=100, seconds=0.05, start_ms=5_000, first_id=70)
    assert msgpack.unpackb(plan.events[4].value) == {"camera": "camera-5", "id": 74, "ts": 5040, "pixels": bytes([1] * 64)}


def test_camera_decides_the_partition_and_all_partitions_have_some() -> None:
    plan = plan_digits(images("305"), rate=1000, seconds=0.1, start_ms=0)
    places = {(event.key, event.partition) for event in plan.events}
    assert len(places) == CAMERAS
    assert {partition for _, partition in places} == {0, 1, 2, 3}


def test_malformed_digit_is_one_pixel_short() -> None:
    assert len(msgpack.unpackb(malformed_digit().value)["pixels"]) == 63


def test_sequences_expected_are_those_that_the_lengths_allow() -> None:
    # length 4, hop 3: a recording of 3 gives none, of 4 one, of 10 three (ending at samples 4, 7 and 10), of 12 three
    data = recordings(("1", "up", 3), ("1", "up", 4), ("1", "down", 10), ("2", "up", 12))
    plan = plan_shoulder(data, SHOULDER, 2.0, 100_000)
    labels: dict[str, list[str]] = {"watch-1": [], "watch-2": []}
    for (device, _), (label, _) in plan.expected.items():
        labels[device].append(label)
    assert labels == {"watch-1": ["up", "down", "down", "down"], "watch-2": ["up", "up", "up"]}
    assert len(plan.events) == 29


def test_recordings_of_a_subject_follow_each_other_behind_a_gap_that_the_query_does_not_bridge() -> None:
    plan = plan_shoulder(recordings(("7", "up", 4), ("7", "down", 4)), SHOULDER, 1.0, 100_000)
    stamps = [msgpack.unpackb(event.value)["ts"] for event in plan.events]
    assert np.diff(stamps).tolist() == [20, 20, 20, 1020, 20, 20, 20]
    assert stamps[-1] < 100_000
    assert list(plan.expected) == [("watch-7", stamps[3]), ("watch-7", stamps[7])]


def test_devices_play_side_by_side_within_the_time_given_each_in_order() -> None:
    plan = plan_shoulder(recordings(("1", "up", 50), ("2", "up", 30)), SHOULDER, 1.5, 0)
    dues = [event.due_s for event in plan.events]
    assert dues == sorted(dues)
    assert dues[-1] <= 1.5
    samples = [msgpack.unpackb(event.value) for event in plan.events]
    for device in ("watch-1", "watch-2"):
        stamps = [sample["ts"] for sample in samples if sample["device"] == device]
        assert stamps == sorted(stamps)


def test_sample_holds_three_accelerations_and_three_rates() -> None:
    sample = msgpack.unpackb(plan_shoulder(recordings(("1", "up", 2)), SHOULDER, 1.0, 0).events[1].value)
    assert np.frombuffer(sample["acc"], "<f4").tolist() == [10, 11, 12]
    assert np.frombuffer(sample["gyro"], "<f4").tolist() == [13, 14, 15]


@pytest.mark.parametrize("ends", [Player.release, Player.stop])
def test_what_is_held_is_played_at_the_word_and_left_out_where_it_ends_before(ends: Callable[[Player], None]) -> None:
    plan = plan_digits(images("305"), rate=1000, seconds=0.02, start_ms=0)
    with EmbeddedBroker() as broker:
        player = Player(Cluster(broker.bootstrap, linger_ms=0, fetch_wait_ms=5), "digits", plan.events, hold_s=0.0145)
        player.start(0.0)  # all of it has been due for long
        player._thread.join(0.5)
        assert not player.is_done
        ends(player)
        player._thread.join()
    assert player.sent == (20 if ends is Player.release else 15)
    assert not player.refused
