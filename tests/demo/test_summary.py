"""A run that is well has no faults; each thing that can be wrong is said in a sentence."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from esp.demo.models import Model
from esp.demo.players import ShoulderPlan, plan_digits
from esp.demo.readers import DigitsTally, ShoulderTally
from esp.demo.summary import Findings, as_dict, faults, lines
from tests.demo.records import activity, images, score

OLD, NEW, IMU = "a" * 64, "b" * 64, "c" * 64


def model(digest: str, accuracy: float = 0.99) -> Model:
    return Model(Path("x.astore"), digest, accuracy, images("3"))


def good_run() -> Findings:
    """Four digits, the first two by the old model, in windows of which two have closed; one sequence; one dead letter."""
    digits = DigitsTally(plan_digits(images("3053"), rate=1, seconds=4, start_ms=10_000), 0.0)
    for number, label in enumerate("3053"):
        digest = OLD if number < 2 else NEW
        digits.take_score(score(number, "camera-1", label, 10_000 + 1000 * number, digest[:12]), float(number))
    digits.counted = Counter({("camera-1", "3", 10): 1, ("camera-1", "0", 11): 1})
    digits.dead_reasons = ["too short"]
    shoulder = ShoulderTally(ShoulderPlan((), {("watch-1", 1500): ("up", 0.0)}), 0.0)
    shoulder.take(activity("watch-1", 1500, "up", IMU[:12]), 1.0)
    return Findings((model(OLD), model(NEW)), model(IMU, 0.9), digits, shoulder, 4, 0, 1000, 4.0, {"train": 1.0}, engine_status=0)


def test_good_run_has_no_faults() -> None:
    assert faults(good_run()) == []
    assert as_dict(good_run())["ok"] is True


def test_lost_and_doubled_events_are_said_loudly() -> None:
    found = good_run()
    found.digits.times[2] = 0
    found.digits.times[3] = 2
    assert faults(found)[:2] == ["digits: 1 events LOST", "digits: 1 events DOUBLED"]
    found = good_run()
    found.shoulder.times.clear()
    assert "shoulder: 1 sequences LOST" in faults(found)


def test_model_that_scored_nothing_and_one_that_nobody_deployed_are_faults() -> None:
    found = good_run()
    found.digits.by_model["d" * 12] = found.digits.by_model.pop(NEW[:12])
    assert faults(found) == [
        f"digits: no event was scored by model {NEW[:12]}",
        f"digits: events were scored by model {'d' * 12}, which nobody deployed",
    ]


def test_windows_that_counted_otherwise_than_the_scores_say_are_a_fault() -> None:
    found = good_run()
    found.digits.counted["camera-1", "0", 11] += 1
    (fault,) = faults(found)
    assert fault.startswith("digits.counts: 3 images counted in windows that closed, 2 were scored in them (1 of 2 rows differ)")


@pytest.mark.parametrize("reasons", [[], ["too short", "again"]])
def test_any_number_of_dead_letters_but_the_one_played_is_a_fault(reasons: list[str]) -> None:
    found = good_run()
    found.digits.dead_reasons = reasons
    assert faults(found) == [f"digits.dead: {len(reasons)} dead letters, 1 was played on purpose"]


def test_accuracies_below_the_bars_are_faults() -> None:
    found = replace(good_run(), models=(model(OLD, 0.9699), model(NEW, 0.97)), shoulder_model=model(IMU, 0.80))
    assert faults(found) == [
        f"digits {OLD[:12]}, held out: accuracy 0.9699 is below 0.97",
        "shoulder, held out: accuracy 0.8000 is not above 0.8",
    ]


def test_engine_that_did_not_end_well_and_refused_events_are_faults() -> None:
    found = replace(good_run(), engine_status=1, refusals=("t: the broker refused 3 events (timeout)",), digits_sent=3)
    assert faults(found) == [
        "t: the broker refused 3 events (timeout)",
        "digits: only 3 of 4 events were sent",
        "the engine ended with status 1 instead of 0",
    ]


def test_run_from_which_nothing_came_back_is_json_with_nulls_and_full_of_faults() -> None:
    digits = DigitsTally(plan_digits(images("3"), rate=1, seconds=1, start_ms=0), 0.0)
    shoulder = ShoulderTally(ShoulderPlan((), {("watch-1", 1500): ("up", 0.0)}), 0.0)
    found = replace(good_run(), digits=digits, shoulder=shoulder)
    told = json.loads(json.dumps(as_dict(found), allow_nan=False))
    assert told["ok"] is False
    assert told["digits"]["lost"] == 1
    assert told["digits"]["streamed_accuracy"] is None
    assert "digits: 1 events LOST" in told["faults"]


def test_summary_names_models_accuracy_losses_and_seconds() -> None:
    text = "\n".join(lines(good_run()))
    for part in (
        OLD[:12],
        NEW[:12],
        "held-out accuracy 0.9900",
        "4 of 4 events scored, 0 lost, 0 doubled",
        "too short",
        "train 1.0",
    ):
        assert part in text
