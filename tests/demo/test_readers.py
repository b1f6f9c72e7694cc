"""Records held against the plan: what is lost, doubled, wrong or counted otherwise is seen."""

from collections import Counter

from esp.demo.players import DigitsPlan, ShoulderPlan, plan_digits
from esp.demo.readers import DigitsTally, ShoulderTally, stamp_ms
from tests.demo.records import Record, activity, count, images, score


def digits_plan() -> DigitsPlan:
    """Four events: ids 0 to 3, cameras 1 to 4, due each half second, labels 3, 0, 5, 3."""
    return plan_digits(images("305"), rate=2, seconds=2, start_ms=10_000)


def test_each_id_once_is_neither_lost_nor_doubled() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    for number, label in enumerate("3053"):
        tally.take_score(score(number, f"camera-{number + 1}", label, 10_000 + 500 * number), 101.5)
    assert (tally.lost, tally.doubled, tally.unknown, tally.accuracy) == (0, 0, 0, 1.0)


def test_lost_doubled_and_unknown_ids_are_counted() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    for number in (0, 0, 0, 2, 4, -1):
        tally.take_score(score(number, "camera-1", "3", 10_000), 101.0)
    assert (tally.lost, tally.doubled, tally.unknown) == (2, 2, 2)


def test_accuracy_is_held_by_model() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    tally.take_score(score(0, "camera-1", "3", 10_000, "aaa"), 101.0)
    tally.take_score(score(1, "camera-2", "9", 10_500, "aaa"), 101.0)
    tally.take_score(score(2, "camera-3", "5", 11_000, "bbb"), 101.0)
    assert tally.by_model == {"aaa": [2, 1], "bbb": [1, 1]}
    assert tally.accuracy == 2 / 3


def test_latency_runs_from_the_moment_when_an_event_was_due() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    tally.take_score(score(3, "camera-4", "3", 11_500), 101.75)
    assert tally.latencies.seconds == [0.25]
    assert tally.latencies.quantile_ms(0.5) == 250.0


def test_windows_close_where_the_watermark_of_their_partition_has_passed_them() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    tally.take_score(score(0, "camera-1", "3", 10_000, partition=0), 101.0)
    tally.take_score(score(1, "camera-2", "0", 10_500, partition=1), 101.0)
    tally.take_score(score(2, "camera-1", "5", 12_000, partition=0), 101.0)
    assert tally.closed(max_delay_ms=1000) == Counter({("camera-1", "3", 10): 1})  # partition 1 has come to 10.5 s only
    assert tally.closed(max_delay_ms=1001) == Counter()


def test_counts_are_summed_by_camera_label_and_window() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    for label, images_seen in (("3", 4), ("5", 1)):
        tally.take_count(count("camera-1", label, "1970-01-01T00:00:10Z", images_seen), 101.0)
    assert tally.counted == Counter({("camera-1", "3", 10): 4, ("camera-1", "5", 10): 1})


def test_dead_letter_is_kept_with_its_reason() -> None:
    tally = DigitsTally(digits_plan(), 100.0)
    tally.take_dead(Record(b"", marks=(("esp-reason", b"too short"), ("esp-query", b"q"))), 101.0)
    assert tally.dead_reasons == ["too short"]


def test_sequences_are_matched_by_device_and_time_of_the_last_event() -> None:
    plan = ShoulderPlan((), {("watch-1", 1500): ("up", 0.5), ("watch-1", 2500): ("down", 1.0), ("watch-2", 1500): ("up", 0.5)})
    tally = ShoulderTally(plan, 100.0)
    for device, ts in (("watch-1", "1970-01-01T00:00:01.500Z"), ("watch-1", 2500), ("watch-1", 2500), ("watch-3", 1500)):
        tally.take(activity(device, ts, "up"), 101.0)
    assert (tally.scored, tally.lost, tally.doubled, tally.unknown, tally.right) == (3, 1, 1, 1, 1)
    assert tally.models == {"ccc": 4}
    assert tally.latencies.seconds == [0.5, 0.0, 0.0]


def test_stamp_without_a_zone_is_utc() -> None:
    assert stamp_ms("1970-01-02T00:00:00.25") == 86_400_250
    assert stamp_ms("1970-01-02T00:00:00+01:00") == 82_800_000
