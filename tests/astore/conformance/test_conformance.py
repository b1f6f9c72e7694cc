"""Every public conformance case within our op table and types passes; what is not covered is listed in UNCOVERED.md with its reason."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.astore.conformance.cases import STORED, Case, generated, stored
from tests.astore.conformance.judge import Verdict, judge

HERE = Path(__file__).parent
LEAST = json.loads(
    (HERE / "passed.json").read_text()
)  # how many passed when it was last written (python -m tests.astore.conformance)


def told(name: str, cases: Callable[[], Iterator[Case]], capsys: pytest.CaptureFixture[str]) -> list[Verdict]:
    verdicts = [judge(case) for case in cases()]
    passed = sum(verdict.status == "passed" for verdict in verdicts)
    covered = sum(verdict.status != "uncovered" for verdict in verdicts)
    with capsys.disabled():
        print(f"\nONNX conformance, {name}: {passed} passed / {covered} covered / {len(verdicts)} total")
    return verdicts


def check(name: str, verdicts: list[Verdict]) -> None:
    assert [f"{verdict.name}: {verdict.reason}" for verdict in verdicts if verdict.status == "failed"] == []
    assert sum(verdict.status == "passed" for verdict in verdicts) >= LEAST[name]
    listed = (HERE / "UNCOVERED.md").read_text()
    reasons = {verdict.reason for verdict in verdicts if verdict.status == "uncovered"}
    assert sorted(reason for reason in reasons if f"| {reason} |" not in listed) == []


def test_cases_that_the_onnx_package_makes(capsys: pytest.CaptureFixture[str]) -> None:
    check("generated", told("generated cases of the onnx package", generated, capsys))


@pytest.mark.skipif(not STORED.is_dir(), reason="libonnx-testdata is not installed (ESP_ONNX_TESTDATA names its folder)")
def test_cases_that_are_stored_in_files(capsys: pytest.CaptureFixture[str]) -> None:
    check("stored", told("stored cases of libonnx-testdata", stored, capsys))


def test_a_wrong_result_would_be_seen() -> None:
    case = next(case for case in generated() if case.name == "test_relu")
    inputs, (wanted,) = case.sets[0]
    assert judge(case).status == "passed"
    wrong = Case(case.name, case.model, [(inputs, [wanted + 1e-2])])
    assert judge(wrong).status == "failed"
    assert judge(Case(case.name, case.model, [(inputs, [wanted[:1]])])).status == "failed"
    assert judge(Case(case.name, case.model, [(inputs, [wanted.astype("float64")])])).status == "failed"


def test_stored_cases_are_there_where_they_must_be() -> None:
    assert STORED.is_dir() or os.environ.get("ESP_REQUIRE_ONNX_TESTDATA") != "1"
