"""Every window kind against the two laws: the cut into blocks changes nothing, and neither does a crash."""

import random
from pathlib import Path

import pytest

from esp.runtime.kinds import KINDS
from tests.runtime.kinds.cases import CASES
from tests.runtime.kinds.laws import Case, end_watermark, random_borders, rows_of, run, run_with_crashes

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_kind_has_a_case() -> None:
    assert {case.kind for case in CASES} == set(KINDS)


@each_case
def test_a_case_makes_output(case: Case) -> None:
    assert len(rows_of(run(case, []))["out"]) > 5


@each_case
def test_any_cutting_into_blocks_gives_the_same_output(case: Case) -> None:
    whole, n, rng = run(case, []), len(case.events()), random.Random(case.name)
    for borders in [list(range(1, n)), *(random_borders(n, rng) for _ in range(8))]:
        pieces = run(case, borders)
        assert rows_of(pieces) == rows_of(whole), f"cut at {borders}"
        assert end_watermark(pieces) == end_watermark(whole)


@each_case
def test_crash_anywhere_and_go_on_gives_the_same_output(case: Case, tmp_path: Path) -> None:
    whole, n, rng = run(case, []), len(case.events()), random.Random(case.name)
    for attempt in range(6):
        borders = random_borders(n, rng)
        pieces = run_with_crashes(case, borders, tmp_path / str(attempt), rng)
        assert rows_of(pieces) == rows_of(whole), f"cut at {borders}"
        assert end_watermark(pieces) == end_watermark(whole)
