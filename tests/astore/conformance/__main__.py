"""Writes passed.json and UNCOVERED.md anew: python -m tests.astore.conformance."""

import json
from collections import Counter
from pathlib import Path

from tests.astore.conformance.cases import generated, stored
from tests.astore.conformance.judge import judge

HERE = Path(__file__).parent
HEAD = """# Conformance cases that are not covered

Written by `python -m tests.astore.conformance`: why, and how many of the cases that the onnx package makes and of those stored in
libonnx-testdata. A type or an op named here is none of the op table; a case of a type that is not covered may pass all the same, and
is then counted as passed.

| reason | generated | stored |
|---|---|---|
"""


def main() -> None:
    reasons: dict[str, Counter[str]] = {}
    passed: dict[str, int] = {}
    for name, cases in (("generated", generated), ("stored", stored)):
        verdicts = [judge(case) for case in cases()]
        reasons[name] = Counter(verdict.reason for verdict in verdicts if verdict.status == "uncovered")
        passed[name] = sum(verdict.status == "passed" for verdict in verdicts)
        print(name, Counter(verdict.status for verdict in verdicts))
    rows = sorted({*reasons["generated"], *reasons["stored"]})
    lines = "".join(f"| {reason} | {reasons['generated'][reason]} | {reasons['stored'][reason]} |\n" for reason in rows)
    (HERE / "UNCOVERED.md").write_text(HEAD + lines)
    (HERE / "passed.json").write_text(json.dumps(passed) + "\n")


if __name__ == "__main__":
    main()
