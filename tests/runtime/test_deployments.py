"""Which model a window starts with: the query's own, a deployed one, or an error when what was deployed is not there."""

import errno
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from esp import files
from esp.astore.binary import from_bytes, to_bytes
from esp.astore.model import Astore
from esp.errors import StateError
from esp.runtime import deployments as module
from esp.runtime.deployments import Deployments
from tests.runtime.moves import tiny


def stored(bias: float) -> tuple[bytes, Astore]:
    data = to_bytes(tiny(bias))
    return data, from_bytes(data)


def deployed(folder: Path) -> tuple[Deployments, Astore, Astore]:
    """A deployment of one model over another in window w."""
    (_, named), (data, new) = stored(0), stored(1)
    deployments = Deployments(folder)
    deployments.store(new, data)
    deployments.record("w", new.digest, named)
    return Deployments(folder), named, new


def test_without_a_deployment_the_model_of_the_query_scores(tmp_path: Path) -> None:
    _, named = stored(0)
    assert Deployments(tmp_path / "none").current("w", named) is named


def test_a_deployment_is_found_again(tmp_path: Path) -> None:
    deployments, named, new = deployed(tmp_path)
    assert deployments.current("w", named).digest == new.digest
    assert deployments.current("another", named) is named


def test_another_model_in_the_query_ends_the_deployment(tmp_path: Path) -> None:
    deployments, _, _ = deployed(tmp_path)
    _, third = stored(2)
    assert deployments.current("w", third) is third


def test_models_that_no_window_uses_any_more_are_taken_away(tmp_path: Path) -> None:
    deployments, named, new = deployed(tmp_path)
    data, third = stored(2)
    deployments.store(third, data)
    assert len(list(tmp_path.glob("*.astore"))) == 2
    deployments.record("w", third.digest, named)
    assert [file.stem for file in tmp_path.glob("*.astore")] == [third.digest]
    assert not list(tmp_path.glob("*.part"))
    assert new.digest != third.digest


def test_a_model_that_cannot_be_taken_away_is_said_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deployments, named, _ = deployed(tmp_path)
    data, third = stored(2)
    deployments.store(third, data)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "esp"):
        patch.setattr(Path, "unlink", refuse)
        deployments.record("w", third.digest, named)
    assert deployments.current("w", named).digest == third.digest
    assert "Permission denied" in caplog.text


def test_a_deployment_that_is_there_stands_though_its_folder_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    deployments, named, _ = deployed(tmp_path)
    data, third = stored(2)
    deployments.store(third, data)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_directory", refuse)
        deployments.record("w", third.digest, named)
    assert deployments.current("w", named).digest == third.digest
    assert "window 'w' stands, but may not outlive a loss of power" in caplog.text


def test_a_damaged_model_is_told_in_one_line(tmp_path: Path) -> None:
    deployments, named, new = deployed(tmp_path)
    file = tmp_path / f"{new.digest}.astore"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        StateError, match=rf"{new.digest}.astore: the model deployed to window 'w' .*cut short.*; deploy it again .*--fresh"
    ):
        deployments.current("w", named)
    file.unlink()
    with pytest.raises(StateError, match="No such file"):
        deployments.current("w", named)


def test_another_model_under_the_name_of_the_deployed_one_is_found_out(tmp_path: Path) -> None:
    deployments, named, new = deployed(tmp_path)
    (tmp_path / f"{new.digest}.astore").write_bytes(stored(3)[0])
    with pytest.raises(StateError, match="is another one now"):
        deployments.current("w", named)


@pytest.mark.parametrize("text", ["{", "[]", '{"w": {}}', '{"w": {"digest": "../../etc/passwd", "over": "x"}}', "\xff"])
def test_a_table_that_is_none_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "deployed.json").write_text(text, encoding="latin-1")
    with pytest.raises(StateError, match=r"deployed.json: this is no table of deployed models; take the file away"):
        Deployments(tmp_path).current("w", stored(0)[1])


def test_the_table_is_plain_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", lambda: 1_700_000_000.1234)
    _, named, new = deployed(tmp_path)
    table = json.loads((tmp_path / "deployed.json").read_text())
    assert table == {"w": {"digest": new.digest, "over": named.digest, "at_ms": 1_700_000_000_123}}


def test_the_mark_of_a_model_tells_when_it_was_deployed_and_over_which(tmp_path: Path) -> None:
    deployments, named, new = deployed(tmp_path)
    mark = deployments.mark("w", named, new.digest)
    assert (mark.digest, mark.over) == (new.digest, named.digest)
    assert mark.at_ms == json.loads((tmp_path / "deployed.json").read_text())["w"]["at_ms"]
    assert deployments.mark("w", named, named.digest).at_ms == 0
    (tmp_path / "deployed.json").write_text(json.dumps({"w": {"digest": new.digest, "over": named.digest}}))  # of an older version
    assert deployments.mark("w", named, new.digest).at_ms == 0


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data, astore = stored(0)
    with pytest.raises(StateError, match=r"the deployed model cannot be kept: .*; make room"):
        Deployments(tmp_path / "file" / "models").store(astore, data)
