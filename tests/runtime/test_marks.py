"""Marks of models beside offsets: who takes a partition over with an older deployment says so; any other change is a plain line."""

import json

import pytest

from esp.runtime.marks import Mark, Marks

FILE, OLD, NEW = "a" * 64, "b" * 64, "c" * 64


def marks(**here: Mark) -> Marks:
    return Marks("q", {"in": list(here), "other": []}, here)


@pytest.mark.parametrize(
    ("before", "here", "is_behind"),
    [
        (Mark(NEW, FILE, 200), Mark(OLD, FILE, 100), True),  # the deployment has not come here yet
        (Mark(NEW, FILE, 200), Mark(FILE, FILE), True),
        (Mark(FILE, FILE, 300), Mark(NEW, FILE, 200), True),  # taken back to the query file's there, not yet here
        (Mark(OLD, FILE, 100), Mark(NEW, FILE, 200), False),
        (Mark(FILE, FILE), Mark(NEW, FILE, 200), False),
        (Mark(NEW, FILE, 205), Mark(NEW, FILE, 200), False),  # the same, deployed here a moment earlier
        (
            Mark(NEW, OLD, 200),
            Mark(FILE, FILE),
            False,
        ),  # the query file names another model by now: nobody knows which is the newer
    ],
)
def test_only_an_older_deployment_over_the_same_model_is_behind(
    before: Mark, here: Mark, is_behind: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = marks(score=here)
    found.take(("in", 3), marks(score=before).text("in"), 70)
    assert found.behind() == {"score": int(is_behind)}
    assert bool(found.reasons()) == is_behind
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == int(is_behind)
    if is_behind:
        assert (
            f"query q window score: partition 3 was scored up to offset 70 by {before.digest[:12]}, a newer deployment than"
            in warnings[0]
        )
    assert bool(caplog.records) == (before.digest != here.digest)


def test_a_deployment_here_ends_it_and_so_does_the_partition_s_going() -> None:
    here = {"score": Mark(FILE, FILE)}
    found = Marks("q", {"in": ["score"]}, here)
    for partition in (1, 2):
        found.take(("in", partition), Marks("q", {"in": ["score"]}, {"score": Mark(NEW, FILE, 9)}).text("in"), 5)
    assert found.reasons() == ["score: 2 partitions came from an engine with a newer model; deploy it here too"]
    found.forget([("in", 1)])
    assert found.behind() == {"score": 1}
    here["score"] = Mark(NEW, FILE, 11)
    assert found.behind() == {"score": 0}
    assert found.reasons() == []


@pytest.mark.parametrize(
    "text",
    ["", "not json", "[]", "7", '{"esp": 1}', '{"models": 3}', '{"models": {"score": ["a", "b"]}}', '{"models": {"score": 1}}'],
)
def test_what_somebody_else_said_with_an_offset_is_no_mark(text: str) -> None:
    found = marks(score=Mark(FILE, FILE))
    found.take(("in", 0), text, 5)
    assert found.behind() == {"score": 0}


def test_marks_of_very_many_windows_are_left_out_lest_the_cluster_refuse_the_offset() -> None:
    few, many = ({f"window-{number}": Mark(NEW, FILE, 1_700_000_000_000) for number in range(count)} for count in (10, 100))
    assert len(json.loads(marks(**few).text("in"))["models"]) == 10
    assert marks(**many).text("in") == ""
    assert marks(**few).text("other") == ""
