"""The whole demonstration, shortened; and what stops it before it begins."""

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from esp.demo import topics
from esp.demo.show import run_demo
from esp.errors import StartError, UsageError


@pytest.mark.train
def test_whole_demonstration_on_the_embedded_broker_ends_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status = run_demo(as_json=True, play_s=4.0)
    told = json.loads(capsys.readouterr().out)
    assert (status, told["faults"]) == (0, [])
    assert told["digits"]["events_scored"] == 8000
    assert all(model["scored"] for model in told["digits"]["models"])
    assert told["shoulder"]["sequences_scored"] == told["shoulder"]["sequences_expected"] > 0
    assert told["engine_exit_status"] == 0
    assert list(tmp_path.iterdir()) == []  # nothing stays behind


def test_missing_package_is_one_line_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_seglearn(name: str, *rest: Any) -> Any:
        return None if name == "seglearn" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_seglearn)
    with pytest.raises(UsageError, match=r"needs seglearn; pip install 'esp-engine\[demo\]'") as caught:
        run_demo()
    assert caught.value.exit_status == 2


def test_broker_that_is_down_is_one_line_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "ANSWER_S", 0.5)
    with pytest.raises(StartError, match=r"--brokers 127\.0\.0\.1:1: Kafka refused") as caught:
        run_demo("127.0.0.1:1")
    assert caught.value.exit_status == 3
