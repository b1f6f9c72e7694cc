"""What a worker is told, and what of a query differs from worker to worker."""

from pathlib import Path

import pytest

from esp.errors import QueryError, StateError
from esp.runtime.connect import KafkaConnection
from esp.runtime.query import Query, load_query
from esp.runtime.workers import settings as module
from esp.runtime.workers.settings import WorkerSettings, check_shared, fitted, instance_of

QUERY = """
[query]
name = "q"
{query}

[windows.in]
kind = "source"
schema = "id:int64"
connect = {{ connector = "kafka", topic = "in"{source} }}

[windows.out]
kind = "sink"
from = "in"
connect = {{ {sink} }}
"""
TO_KAFKA = 'connector = "kafka", topic = "out"'


def query(tmp_path: Path, query: str = "", source: str = "", sink: str = TO_KAFKA) -> Query:
    path = tmp_path / "q.toml"
    path.write_text(QUERY.format(query=query, source=source, sink=sink))
    return load_query(path)


def worker(number: int, workers: int = 2) -> WorkerSettings:
    return WorkerSettings(
        number, workers, (Path("q.toml"),), Path("s"), Path("s"), Path("k"), "esp-abc", "secret", trusted=("00ff",)
    )


def connection(query: Query, window: str) -> KafkaConnection:
    found = query.windows[window].connection
    assert isinstance(found, KafkaConnection)
    return found


def test_settings_go_through_a_line_and_their_token_is_not_shown() -> None:
    line = worker(2).to_line()
    assert line.count(b"\n") == 1
    assert WorkerSettings.from_line(line) == worker(2)
    assert "secret" not in repr(worker(2))


def test_each_worker_is_a_static_member_and_a_client_of_its_own(tmp_path: Path) -> None:
    plain = query(tmp_path)
    names = [connection(fitted(plain, worker(number)), "in").instance for number in (1, 2)]
    assert names[0] is not None
    assert names[0].startswith("esp-abc-")
    assert names == [f"{names[0][:-2]}-1", f"{names[0][:-2]}-2"]
    assert connection(fitted(plain, worker(2)), "in").client["client_id"] == "esp-2"
    assert connection(fitted(plain, worker(2)), "out").client["client_id"] == "esp-2"
    assert connection(fitted(plain, worker(2)), "out").instance is None
    named = query(tmp_path, source=', instance = "scorer", client = { client_id = "mine", session_timeout_ms = 9000 }')
    assert connection(fitted(named, worker(2)), "in").instance == "scorer-2"
    assert connection(fitted(named, worker(2)), "in").client == {"client_id": "mine-2", "session_timeout_ms": 9000}


@pytest.mark.parametrize(("cores", "workers", "wanted"), [(8, 2, 3), (8, 8, 1), (2, 4, 1), (16, 3, 4)])
def test_a_worker_scores_on_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, wanted: int
) -> None:
    monkeypatch.setattr(module, "cores", lambda quota: cores)
    assert fitted(query(tmp_path), worker(1, workers)).settings.limits.threads == wanted
    told = query(tmp_path, query="limits = { threads = 5 }")
    assert fitted(told, worker(1, workers)).settings.limits.threads == 5


def test_what_several_processes_cannot_share_is_refused_in_a_line(tmp_path: Path) -> None:
    check_shared([query(tmp_path)])
    told = r"q.toml: windows.out.connect: several workers cannot share a connector of kind 'file'; run it without --workers"
    with pytest.raises(QueryError, match=told):
        check_shared([query(tmp_path, sink='connector = "file", path = "out.jsonl"')])
    with pytest.raises(QueryError, match=r"query.dead: several workers cannot share a connector of kind 'memory'"):
        check_shared([query(tmp_path, query='dead = { connector = "memory", topic = "d" }')])


def test_a_state_folder_keeps_its_name(tmp_path: Path) -> None:
    first = instance_of(tmp_path / "a")
    assert instance_of(tmp_path / "a") == first != instance_of(tmp_path / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="the state directory cannot be used"):
        instance_of(tmp_path / "file")
