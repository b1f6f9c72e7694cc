"""Every window kind against the two laws: the cut into blocks changes nothing, and neither does a crash."""

import random
from pathlib import Path

import pytest

from esp.runtime.kinds import KINDS
from esp.runtime.kinds.window import Ports
from tests.runtime.kinds.cases import CASES, ENVIRONMENT, STREAM, sensor_events
from tests.runtime.kinds.laws import Case, cut, end_watermark, opened, random_borders, rows_of, run, run_with_crashes

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_kind_has_a_case() -> None:
    assert {case.kind for case in CASES} == set(KINDS)


@each_case
def test_a_case_makes_output(case: Case) -> None:
    assert len(rows_of(run(case, []))["out"]) > 5


@each_case
def test_any_cutting_into_blocks_gives_the_same_output(case: Case) -> None:
    whole, n, rng = run(case, []), len(case.events()), random.Random(case.name)
    for borders in [list(range(1, n)), *(random_borders(n, rng) for _ in range(6))]:
        pieces = run(case, borders)
        assert rows_of(pieces) == rows_of(whole), f"cut at {borders}"
        assert end_watermark(pieces) == end_watermark(whole)


@each_case
def test_crash_anywhere_and_go_on_gives_the_same_output(case: Case, tmp_path: Path) -> None:
    whole, n, rng = run(case, []), len(case.events()), random.Random(case.name)
    for attempt in range(4):
        borders = random_borders(n, rng)
        pieces = run_with_crashes(case, borders, tmp_path / str(attempt), rng)
        assert rows_of(pieces) == rows_of(whole), f"cut at {borders}"
        assert end_watermark(pieces) == end_watermark(whole)


CHAIN = [
    {"kind": "copy", "keep": 4},
    {"kind": "aggregate", "size": "300ms", "aggregates": {"total": "sum(n)", "rows": "count"}},
    {"kind": "aggregate", "size": "1s", "aggregates": {"total": "sum(total)", "rows": "sum(rows)", "most": "max(rows)"}},
]


def run_chain(borders: list[int]) -> Ports:
    """What leaves the last of three windows, with the late events of all."""
    stream, windows, ports = STREAM, [], []
    for settings in CHAIN:
        case = Case("", settings, stream, sensor_events(30, 200))
        windows.append(opened(case))
        stream = KINDS[case.kind].model_validate(settings).resolve(stream, ENVIRONMENT)["out"]
    for piece in cut(sensor_events(30, 200)(), borders):
        blocks = [piece]
        for place, window in enumerate(windows):
            made = [port for block in blocks for port in window.on_block("in", block)]
            ports += [(f"late {place}", block) for port, block in made if port == "late"]
            blocks = [block for port, block in made if port == "out"]
        ports += [("out", block) for block in blocks]
    return ports


def test_any_cutting_gives_the_same_output_at_the_end_of_a_chain() -> None:
    whole, rng = run_chain([]), random.Random(3)
    assert len(rows_of(whole)["out"]) > 20
    assert set(rows_of(whole)) == {"late 1", "out"}  # what an aggregate emits is never late for the next
    for borders in [list(range(1, 200)), *(random_borders(200, rng) for _ in range(8))]:
        assert rows_of(run_chain(borders)) == rows_of(whole), f"cut at {borders}"
