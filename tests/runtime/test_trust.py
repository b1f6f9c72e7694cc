"""An engine with trusted keys: only models that one of them has signed are loaded, at the start as in a deployment."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.astore.binary import from_bytes, sign, to_bytes, write
from esp.astore.signing import generate_key
from esp.errors import FileError, QueryError, StateError, TrustError
from esp.runtime.connect.memory import TOPICS
from esp.runtime.deployments import Deployments
from esp.runtime.models import Models
from esp.runtime.query import load_query
from tests.command import esp_in
from tests.runtime import moves

URL = "/v1/queries/moves/windows/scored/model"


@pytest.fixture(autouse=True)
def _topics() -> Iterator[None]:
    TOPICS.clear()
    yield
    TOPICS.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A query with a signed model; the keys lie beside its folder."""
    folder = moves.write_query(tmp_path / "q")
    (tmp_path / "trusted").write_text(generate_key(tmp_path / "key.pem").hex())
    generate_key(tmp_path / "other.pem")
    sign(folder / "tiny.astore", tmp_path / "key.pem")
    return folder


def trusted(folder: Path) -> tuple[bytes, ...]:
    return (bytes.fromhex((folder.parent / "trusted").read_text()),)


def signed(folder: Path, bias: float, key: str) -> bytes:
    path = folder.parent / "upload.astore"
    write(moves.tiny(bias), path)
    if key:
        sign(path, folder.parent / key)
    return path.read_bytes()


def test_a_query_whose_models_are_signed_is_loaded(folder: Path) -> None:
    query = load_query(folder, trusted=trusted(folder))
    assert query.models["tiny"].name == "tiny"
    assert query.trusted == trusted(folder)


@pytest.mark.parametrize(("key", "said"), [("", "is not signed"), ("other.pem", "is not trusted here")])
def test_a_query_with_a_model_that_is_not_signed_so_is_refused_at_load(folder: Path, key: str, said: str) -> None:
    (folder / "tiny.astore").write_bytes(signed(folder, 0, key))
    with pytest.raises(TrustError, match=rf"query.toml: models.tiny: .*tiny.astore: the model .*{said}") as error:
        load_query(folder, trusted=trusted(folder))
    assert error.value.exit_status == 2
    assert load_query(folder).models["tiny"].name == "tiny"


@pytest.mark.parametrize("by", ["option", "environment"])
def test_run_with_trusted_keys_ends_with_one_line_and_status_2(
    folder: Path, by: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tiny.astore").write_bytes(to_bytes(moves.tiny()))
    esp = esp_in(folder.parent, monkeypatch, capfd)
    if by == "environment":
        monkeypatch.setenv("ESP_TRUSTED_KEYS", "trusted")
    given = ["--trusted-keys", "trusted"] if by == "option" else []
    esp("run", "q", *given).one_line(2, "models.tiny", "tiny.astore: the model is not signed; sign it with a trusted key")


def test_run_with_keys_that_are_none_ends_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    esp = esp_in(folder.parent, monkeypatch, capfd)
    esp("run", "q", "--trusted-keys", "nowhere").one_line(2, "nowhere: the key cannot be read")
    esp("run", "q", "--trusted-keys", "key.pem").one_line(2, "this is a private key")


def test_run_with_the_environments_keys_left_empty_ends_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    esp = esp_in(folder.parent, monkeypatch, capfd)
    monkeypatch.setenv("ESP_TRUSTED_KEYS", "")
    esp("run", "q").one_line(2, "ESP_TRUSTED_KEYS: there is no path in it")


def test_deployments_that_are_not_signed_so_are_refused_and_the_old_model_scores_on(folder: Path) -> None:
    old = load_query(folder).models["tiny"].digest
    damaged = bytearray(signed(folder, 1, "key.pem"))
    damaged[-1] ^= 1

    async def run() -> None:
        async with moves.running(folder, trusted=trusted(folder)) as engine:
            assert await engine.scored_by(1) == [old[:12]]
            for data, said in (
                (signed(folder, 1, ""), "upload: the model is not signed; "),
                (signed(folder, 1, "other.pem"), "which is not trusted here; "),
                (bytes(damaged), "do not match their SHA-256"),
            ):
                answer = await engine.client.put(URL, content=data)
                assert (answer.status_code, said in answer.json()["error"]) == (422, True), answer.text
                assert "\n" not in answer.json()["error"]
                assert await engine.scored_by(2) == [old[:12]]
            assert not list((folder / "state").rglob("*.astore"))
            new = signed(folder, 1, "key.pem")
            assert (await engine.client.put(URL, content=new)).status_code == 200
            assert await engine.scored_by(3) == [from_bytes(new).digest[:12]]

    asyncio.run(run())


def test_a_deployed_model_is_judged_again_at_the_next_start(folder: Path) -> None:
    query, data = load_query(folder), signed(folder, 1, "")
    uploaded, named = from_bytes(data), query.models["tiny"]
    deployments = Deployments(folder / "models")
    deployments.store(uploaded, data)
    deployments.record("scored", uploaded.digest, named)
    assert Deployments(folder / "models").current("scored", named).digest == uploaded.digest
    models = Models(load_query(folder, trusted=trusted(folder)), folder / "models")
    with pytest.raises(
        TrustError, match=r"the model deployed to window 'scored' is refused: the model is not signed; .*--fresh"
    ) as error:
        models.start(is_fresh=False)
    assert error.value.exit_status == 2
    models.start(is_fresh=True)
    assert models.scorers["scored"].digest == named.digest


def test_a_model_swapped_in_the_folder_after_its_upload_is_not_the_one_that_scores(folder: Path) -> None:
    data = signed(folder, 1, "key.pem")
    keys = trusted(folder)
    uploaded = from_bytes(data, trusted=keys)
    deployments = Deployments(folder / "models", keys)
    kept = deployments.store(uploaded, data)
    (folder / "models" / f"{uploaded.digest}.astore").write_bytes(to_bytes(moves.tiny(9)))
    assert kept.graph.weights["b"].tolist() == [1, 1]
    deployments.record("scored", uploaded.digest, load_query(folder).models["tiny"])
    with pytest.raises((TrustError, StateError), match="the model is not signed"):
        deployments.current("scored", load_query(folder).models["tiny"])


def test_a_signed_model_that_does_not_fit_the_window_is_refused_at_the_start(folder: Path) -> None:
    """As one that somebody has put into the folder by hand, or whose query has been changed."""
    path = folder.parent / "upload.astore"
    write(moves.tiny(width=3), path)
    sign(path, folder.parent / "key.pem")
    query = load_query(folder, trusted=trusted(folder))
    uploaded = from_bytes(path.read_bytes(), trusted=trusted(folder))
    deployments = Deployments(folder / "models", trusted(folder))
    deployments.store(uploaded, path.read_bytes())
    deployments.record("scored", uploaded.digest, query.models["tiny"])
    with pytest.raises(QueryError, match=r"deploying 'tiny'.*acc"):
        Models(query, folder / "models").start(is_fresh=False)


def test_weights_changed_on_the_disk_after_the_start_do_not_score(folder: Path) -> None:
    """The file is written into in its place, as no good writer does, when the query is loaded and before it is scored with."""
    query = load_query(folder, trusted=trusted(folder))
    before = {name: array.tolist() for name, array in query.models["tiny"].graph.weights.items()}
    with (folder / "tiny.astore").open("r+b") as file:
        file.seek(-16, 2)
        file.write(b"\x42" * 16)
    models = Models(query, folder / "models")
    models.start(is_fresh=False)
    assert {name: array.tolist() for name, array in models.scorers["scored"].astore.graph.weights.items()} == before
    with pytest.raises(FileError, match="SHA-256"):
        load_query(folder, trusted=trusted(folder))
