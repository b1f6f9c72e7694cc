"""A task: one partition's part of a query; how its records are cut and whether some come twice must not show."""

import random
from pathlib import Path
from typing import Any

import pytest

from esp.errors import BackendError
from esp.runtime.events import EventBlock, RawBlock, raw_block
from esp.runtime.kinds.sequence import SequenceWindow
from esp.runtime.poison import PoisonError
from esp.runtime.query import Query, load_query
from esp.runtime.scorer import Scorer
from esp.runtime.state.tables import Tables
from esp.runtime.task import DEAD, Task
from tests.runtime import streams


def query_and_scorers(folder: Path) -> tuple[Query, dict[str, Scorer]]:
    query = load_query(streams.query_file(folder, streams.memory("task", 1)))
    return query, {"scored": Scorer.bind(query.models["tiny"], "numba")}


def records(made: list[streams.Event], first: int, end: int) -> RawBlock:
    return raw_block([streams.value(event) for event in made[first:end]], offsets=list(range(first, end)))


class Outputs:
    """Gathers what a task gives, by sink."""

    def __init__(self) -> None:
        self.values: dict[str, list[bytes | None]] = {"scores": [], "tallies": [], "late": [], DEAD: []}

    def add(self, outputs: object) -> None:
        for sink, block in outputs:  # type: ignore[attr-defined]
            self.values[sink] += [block.value(row) for row in range(len(block))]

    def check(self, made: list[streams.Event], is_ended: bool) -> None:
        wanted = streams.expected(made, 1, is_ended)
        streams.check(wanted, self.values["scores"], self.values["tallies"], self.values["late"], is_once=True)


def test_records_that_come_twice_or_overlap_are_passed_over(tmp_path: Path) -> None:
    query, scorers = query_and_scorers(tmp_path)
    task, made, out, rng = Task(query, "events", 0, scorers), streams.events(1, 400), Outputs(), random.Random(3)
    while task.next_offset < len(made):
        first = max(0, task.next_offset - rng.randrange(20))
        out.add(task.process(records(made, first, min(len(made), task.next_offset + rng.randrange(1, 30)))))
        out.add(task.process(records(made, 0, task.next_offset)))
    out.add(task.end())
    out.check(made, is_ended=True)


def test_a_task_goes_on_from_its_tables_as_if_nothing_had_been(tmp_path: Path) -> None:
    query, scorers = query_and_scorers(tmp_path)
    made, out, rng = streams.events(2, 400), Outputs(), random.Random(4)
    task = Task(query, "events", 0, scorers)
    while task.next_offset < len(made):
        out.add(task.process(records(made, task.next_offset, min(len(made), task.next_offset + rng.randrange(1, 40)))))
        tables = Tables()
        tables.load(task.tables.dump(changed_only=False))
        task.close()
        task = Task(query, "events", 0, scorers, tables=tables, next_offset=task.next_offset)
    out.check(made, is_ended=False)


def test_windows_are_metered_and_those_that_keep_state_are_known(tmp_path: Path) -> None:
    query, scorers = query_and_scorers(tmp_path)
    task, made = Task(query, "events", 0, scorers), streams.events(1, 200)
    task.process(records(made, 0, 200))
    wanted = streams.expected(made, 1, is_ended=False)
    meter = task.meter.windows
    assert (meter["events"].events_in, meter["events"].events_out) == (200, 200)
    assert meter["recent"].events_out == meter["scored"].events_out == meter["scores"].events_in == len(wanted.scores)
    assert (meter["counts"].events_late, meter["counts"].events_out) == (len(wanted.late), len(wanted.tallies))
    assert task.remembering == {"events", "recent", "counts"}
    assert task.steps == 1


def test_a_record_that_is_no_event_is_dead_and_the_rest_goes_on(tmp_path: Path) -> None:
    query, scorers = query_and_scorers(tmp_path)
    task = Task(query, "events", 0, scorers)
    good = streams.value(streams.events(1, 1)[0])
    block = raw_block([good, b"[]", b"{", good], offsets=[7, 8, 9, 10])
    (dead,) = [each for sink, each in task.process(block) if sink == DEAD]
    assert dead.raw.offset[dead.row].tolist() == [8, 9]
    assert task.next_offset == 11


@pytest.mark.parametrize(
    ("failure", "told"),
    [(ZeroDivisionError("what a number"), "ZeroDivisionError: what a number"), (BackendError("it failed"), "it failed")],
)
def test_an_event_that_a_window_fails_at_is_named_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str
) -> None:
    query, scorers = query_and_scorers(tmp_path)
    made, on_block = streams.events(5, 60), SequenceWindow.on_block

    def poisoned(self: Any, port: str, block: EventBlock) -> Any:
        if (block.column("id") == 37).any():  # type: ignore[union-attr]
            raise failure
        return on_block(self, port, block)

    monkeypatch.setattr(SequenceWindow, "on_block", poisoned)
    raw = raw_block([b"no event", *(streams.value(event) for event in made)], topic="events", offsets=list(range(500, 561)))
    with pytest.raises(PoisonError) as caught:
        Task(query, "events", 0, scorers).process(raw)
    assert str(caught.value) == (
        f"events/0/538: window 'recent' failed ({told}); mend the query or the model, for a restart comes to the same event"
    )
    assert caught.value.exit_status == 1
    assert caught.value.__cause__ is failure
