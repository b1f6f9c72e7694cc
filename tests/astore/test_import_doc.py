"""IMPORT.md names every op of the table, and none that is not there."""

import re
from pathlib import Path

import esp.astore
from esp.astore.ops import OPS

DOCUMENT = Path(esp.astore.__file__).parent / "IMPORT.md"


def test_every_op_is_named_once() -> None:
    lists = DOCUMENT.read_text().partition("## ONNX")[2].partition("## Keras")[0].partition("\n- ")[2]
    named = re.findall(r"\b[A-Z]\w+", re.sub(r"\*[^*]+\*:", "", lists))
    assert sorted(named) == sorted(OPS)
