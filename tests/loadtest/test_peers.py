"""Peers: their files, what they make of a batch, and the arithmetic of several runs."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from esp.runtime.query import load_query
from loadtest import peers
from loadtest.cores import kept_to
from loadtest.course import is_whole, middle
from loadtest.networks import WORKLOADS
from loadtest.peers import PeerMissing, built, names, read_peer
from loadtest.peers.scoring import _floats, scorer

NOW_NS = 1_700_000_000_123_456_789
IN_ENGINE = ("digits", "sensor", "crayfish-raw", "imu", "aggregate")
EVENT_BY_EVENT = [name for name in WORKLOADS if name not in ("imu", "aggregate")]


@pytest.mark.parametrize("name", EVENT_BY_EVENT)
def test_what_numpy_expects_is_what_onnxruntime_makes_of_the_onnx_file(name: str, tmp_path: Path) -> None:
    workload, kit = WORKLOADS[name](tmp_path / name)
    session = onnxruntime.InferenceSession(kit.onnx, providers=["CPUExecutionProvider"])
    rows = workload.rows.reshape(-1, 8, 8, 1) if name == "digits" else workload.rows
    scores = session.run(None, {session.get_inputs()[0].name: rows})[0]
    expected = np.stack([scores.argmax(1), scores.max(1)], 1) if name == "digits" else scores
    np.testing.assert_allclose(workload.expected, expected, atol=1e-5)
    assert np.ptp(workload.expected, axis=0).max() > 0.02  # a row's scores are not those of another


@pytest.mark.parametrize("name", IN_ENGINE)
def test_the_query_of_a_workload_loads(name: str, tmp_path: Path) -> None:
    workload, kit = WORKLOADS[name](tmp_path / name)
    query = load_query(kit.folder)
    assert {window.connection.topic.rpartition(".")[2] for window in query.windows.values() if window.connection} == {
        workload.source, *kit.targets
    } - {"dead"}  # fmt: skip


@pytest.mark.parametrize("name", EVENT_BY_EVENT)
def test_a_peer_in_python_scores_a_batch_as_numpy_does(name: str, tmp_path: Path) -> None:
    workload, kit = WORKLOADS[name](tmp_path / name)
    pack = workload.packer()
    outputs = scorer(name, str(kit.onnx))([pack(1, number, NOW_NS) for number in range(40, 60)])
    number, scores = workload.read(outputs)
    assert number.tolist() == list(range(40, 60))
    np.testing.assert_allclose(scores, workload.expected[40:60], atol=1e-5)


def test_a_peer_reads_floats_however_they_are_written() -> None:
    assert list(_floats("0.5,-2e3,1,")) == [0.5, -2000.0, 1.0]
    assert list(_floats("0.5,2.,.25,")) == [0.5, 2.0, 0.25]


def test_every_peer_tells_how_it_is_started_and_how_long_it_lingers() -> None:
    assert set(names()) == {"aiokafka", "confluent", "kafka-streams", "quix"}
    for peer in map(read_peer, names()):
        assert peer.command
        assert peer.title
        assert peer.linger_ms >= peer.open_loop_linger_ms >= 0


def test_a_peer_that_is_not_there_is_missing() -> None:
    with pytest.raises(PeerMissing, match="confluent"):
        read_peer("flink")


def a_peer(folder: Path, text: str) -> peers.Peer:
    (folder / "mine").mkdir()
    (folder / "mine" / "peer.toml").write_text(f'title = "x"\ncommand = ["x"]\nlinger_ms = 1\nopen_loop_linger_ms = 0\n{text}\n')
    return read_peer("mine")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_program_that_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(PeerMissing, match="no-such-program not found"):
        built(a_peer(folder, 'needs = ["no-such-program"]'))


def test_a_build_takes_the_first_way_that_succeeds_and_is_made_once(folder: Path) -> None:
    write = "import sys; open(sys.argv[1], 'a').write('x')"
    ways = f'build = [[["{{python}}", "-c", "raise SystemExit(3)"], ["{{python}}", "-c", "{write}", "{{built}}/made"]]]'
    peer = a_peer(folder, ways)
    assert (built(peer) / "made").read_text() == "x"
    assert (built(peer) / "made").read_text() == "x"


def test_a_build_of_which_no_way_succeeds_leaves_the_peer_out_with_what_was_said(folder: Path) -> None:
    peer = a_peer(folder, """build = [[["{python}", "-c", "raise SystemExit('no network')"]]]""")
    with pytest.raises(PeerMissing, match="no network"):
        built(peer)


def figures(rate: float, lost: int = 0) -> dict[str, object]:
    return {"events_per_s": rate, "lost": lost, "cpu_us_per_event": rate / 10}


def test_of_several_runs_the_median_counts_and_a_fault_of_any() -> None:
    found = middle([figures(30.0), figures(10.0, lost=2), figures(20.0)])
    assert found["events_per_s"] == 20.0
    assert found["cpu_us_per_event"] == 2.0
    assert found["lost"] == 2
    assert found["runs_events_per_s"] == [30.0, 10.0, 20.0]


def test_a_turn_that_warms_the_broker_has_no_rate_but_its_faults_count() -> None:
    found = middle([figures(5.0, lost=2), figures(30.0), figures(10.0), figures(20.0)], untimed=1)
    assert found["runs_events_per_s"] == [30.0, 10.0, 20.0]
    assert (found["events_per_s"], found["lost"]) == (20.0, 2)


def test_a_run_is_whole_when_nobody_failed_and_nothing_was_lost() -> None:
    good = {"failed": {}, "parties": {"engine": figures(1.0)}}
    assert is_whole(good)
    assert not is_whole({**good, "failed": {"quix": "it died"}})
    assert not is_whole({**good, "parties": {"engine": figures(1.0, lost=1)}})


def test_a_party_gets_its_core_by_taskset_and_stays_as_it_is_without_one() -> None:
    assert kept_to(frozenset({1}), ["run"]) == ["taskset", "-c", "1", "run"]
    assert kept_to(frozenset(), ["run"]) == ["run"]
