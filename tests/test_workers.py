"""``esp run --workers N`` over a real Kafka: several processes, one port; whatever dies, nothing is lost and nobody is left over."""

import json
import os
import re
import signal
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from esp.client import AdminClient
from esp.errors import UsageError
from esp.rollout import roll_out
from tests.certificates import Authority
from tests.conftest import Kafka
from tests.engine_process import PATIENCE_S, EngineProcess, Topics, wait_until
from tests.runtime import streams

pytestmark = pytest.mark.kafka
PARTITIONS = 4
COPY = """
[query]
name = "{tag}"
checkpoint = "100ms"

[windows.in]
kind = "source"
schema = "id:int64"
connect = {{ connector = "kafka", topic = "{tag}.in", brokers = "{brokers}"{options} }}

[windows.out]
kind = "sink"
from = "in"
connect = {{ connector = "kafka", topic = "{tag}.out", brokers = "{brokers}" }}
"""


@pytest.fixture
def tag() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def copy_query(folder: Path, tag: str, brokers: str, options: str = "") -> Path:
    path = folder / "copy.toml"
    path.write_text(COPY.format(tag=tag, brokers=brokers, options=options))
    return path


def numbers(first: int, n: int) -> list[tuple[int, bytes]]:
    return list(islice(endless(first), n))


def endless(first: int = 0) -> Iterator[tuple[int, bytes]]:
    return ((number % PARTITIONS, b'{"id": %d}' % number) for number in count(first))


def records(events: Iterable[streams.Event]) -> Iterator[tuple[int, bytes]]:
    return ((streams.partition_of(event["device"], PARTITIONS), streams.value(event)) for event in events)


def ids(topics: Topics) -> list[int]:
    return sorted(json.loads(value)["id"] for value in topics.values("out"))


def samples(engine: EngineProcess) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The page of metrics, read by Prometheus' own reader."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(engine.metrics()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(engine: EngineProcess, name: str, **labels: str) -> float:
    (found,) = [number for told, number in samples(engine)[name] if labels.items() <= told.items()]
    return found


def workers_of(engine: EngineProcess) -> dict[int, int]:
    """Process ids by worker, as ``esp status`` shows them."""
    return {worker["number"]: worker["pid"] for worker in AdminClient(engine.url).status()["workers"]}


def are_gone(pids: Sequence[int]) -> bool:
    return not any(map(_lives, pids))


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def is_back(engine: EngineProcess, worker: int, pid: int) -> bool:
    """Whether a worker that had this process id lives again, and all are ready."""
    return workers_of(engine)[worker] not in (None, pid) and engine.ready()[0]


@contextmanager
def held_back(query: Path) -> Iterator[None]:
    """Meanwhile a worker that starts gets no further than to read the file of its query: a pipe, through which it comes at the end."""
    text = query.read_text()
    query.unlink()
    os.mkfifo(query)
    pipe = os.open(query, os.O_RDWR)
    try:
        yield
    finally:
        query.unlink()
        query.write_text(text)
        os.write(pipe, text.encode())
        os.close(pipe)


def held(engine: EngineProcess) -> dict[int, set[int]]:
    """The partitions of each worker, by the last line of the log that tells of them."""
    found = re.findall(r"\[(\d+)\] query \w+ source in: partitions \[([\d, ]*)\] assigned", engine.text)
    return {int(worker): {int(number) for number in numbers.split(", ") if number} for worker, numbers in found}


def is_shared(engine: EngineProcess, workers: int) -> bool:
    shares = held(engine).values()
    return len(shares) == workers and sorted(number for share in shares for number in share) == list(range(PARTITIONS))


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_partitions_and_one_page_of_metrics_tells_of_all(
    kafka: Kafka, tag: str, tmp_path: Path, workers: int
) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), PARTITIONS)
    with EngineProcess(copy_query(tmp_path, tag, kafka.bootstrap), tmp_path / "state", "--workers", workers) as engine:
        wait_until(lambda: engine.ready()[0], "all workers")
        wait_until(lambda: is_shared(engine, workers), "shares")
        topics.send("in", numbers(0, 2000))
        wait_until(lambda: topics.count("out") >= 2000, "outputs")
        pids = list(workers_of(engine).values())
        assert len(set(pids)) == workers
        for name in ("in", "out"):
            wait_until(lambda: value(engine, "esp_events_in_total", window=name) == 2000, "all counted")  # noqa: B023
        wait_until(lambda: value(engine, "esp_latency_seconds_count") == 2000, "all counted")
        shares = sorted((partition, worker) for worker, share in held(engine).items() for partition in share)
        wait_until(lambda: lag_told(engine) == shares, "the lag of each partition, told by its worker")
        assert {told["worker"] for told, _ in samples(engine)["process_resident_memory_bytes"]} == {
            "supervisor", *map(str, range(1, workers + 1))
        }  # fmt: skip
        (query,) = AdminClient(engine.url).status()["queries"]
        assert [(window["in"], window["out"]) for window in query["windows"]] == [(2000, 2000), (2000, 2000)]
        assert engine.stop() == 0
    assert ids(topics) == list(range(2000))
    assert are_gone(pids)
    assert "Traceback" not in engine.text
    assert len(re.findall(r"\[\d\] query \w+ has drained", engine.text)) == workers


def lag_told(engine: EngineProcess) -> list[tuple[int, int]]:
    """Partition and worker of each lag."""
    return sorted((int(told["partition"]), int(told["worker"])) for told, _ in samples(engine).get("esp_consumer_lag_events", []))


def test_a_worker_that_is_killed_is_started_again_and_nothing_is_lost(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), PARTITIONS)
    query = copy_query(tmp_path, tag, kafka.bootstrap, ", client = { session_timeout_ms = 180000 }")  # longer than any start
    with EngineProcess(query, tmp_path / "state", "--workers", 2) as engine:
        wait_until(lambda: engine.ready()[0] and is_shared(engine, 2), "all workers")
        shares, before, revoked = held(engine), workers_of(engine), revocations(engine)
        load = topics.load("in", endless())
        wait_until(lambda: topics.count("out") > 500, "outputs")
        counted = value(engine, "esp_events_in_total", window="in")
        with held_back(query):
            os.kill(before[2], signal.SIGKILL)
            wait_until(lambda: not engine.ready()[0], "the supervisor's notice of it")
            assert any(line.startswith("worker 2") for line in engine.ready()[1]["reasons"][tag])
            assert value(engine, "esp_events_in_total", window="in") >= counted  # a counter does not fall
        wait_until(lambda: is_back(engine, 2, before[2]), "the worker again")
        sent = load.end()
        wait_until(lambda: len(set(ids(topics))) == sent, "all outputs")
        after = workers_of(engine)
        assert (after[1], after[2] != before[2]) == (before[1], True)
        assert held(engine) == shares  # a static member: the other one was left alone
        assert revocations(engine) == revoked
        assert value(engine, "esp_worker_restarts_total", worker="2") == 1
        assert "worker 2 has ended with status 1: killed by SIGKILL; it is started again" in engine.text
        assert engine.stop() == 0


def revocations(engine: EngineProcess) -> int:
    return len(re.findall(r"\[1\] .* revoked", engine.text))


def test_a_worker_that_is_killed_loses_and_doubles_nothing_where_outputs_are_transactions(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    connectors = streams.kafka(tag, kafka.bootstrap)
    query = streams.query_file(tmp_path, connectors, name=tag, checkpoint="200ms", max_batch=16, delivery="exactly_once")
    with EngineProcess(query, tmp_path / "state", "--workers", 2, "--fresh") as engine:
        topics.send("events", list(records(streams.events(3, 500))))  # the second takes up what the first has begun
        wait_until(lambda: engine.ready()[0], "all workers")
        load = topics.load("events", records(islice(streams.endless(3), 500, None)))
        for number in (2, 1):
            pid, seen = workers_of(engine)[number], topics.count("scores")
            wait_until(lambda: topics.count("scores") > seen + 50, "scores")  # noqa: B023
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: is_back(engine, number, pid), "the worker again")  # noqa: B023
        sent = 500 + load.end()
        made = streams.events(3, sent + 500)
        topics.send("events", list(records(made[sent:])))
        wait_until(lambda: sum(topics.committed("events", tag).values()) == len(made), "the end of the stream")
        assert engine.stop() == 0
    wanted = streams.expected(made, PARTITIONS, is_ended=False)
    read = [[value for part in topics.committed_values(name) for value in part] for name in ("scores", "tallies", "late")]
    streams.check(wanted, *read, is_once=True)


def test_the_end_of_the_supervisor_is_the_end_of_its_workers(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    Topics(kafka.bootstrap, tag, ("in", "out"), PARTITIONS)
    with EngineProcess(copy_query(tmp_path, tag, kafka.bootstrap), tmp_path / "state", "--workers", 2) as engine:
        wait_until(lambda: engine.ready()[0], "all workers")
        pids = list(workers_of(engine).values())
        engine.kill()
        wait_until(lambda: are_gone(pids), "the end of the workers")
    assert engine.text.count("the supervisor is gone: draining") == 2
    assert engine.text.count("has drained") == 2


def test_a_supervisor_that_is_started_anew_at_once_waits_for_the_workers_of_the_one_that_was_killed(
    kafka: Kafka, tag: str, tmp_path: Path
) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), PARTITIONS)
    query = copy_query(tmp_path, tag, kafka.bootstrap)
    with EngineProcess(query, tmp_path / "state", "--workers", 2) as engine:
        wait_until(lambda: engine.ready()[0], "all workers")
        pids = list(workers_of(engine).values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)  # so that they take their time
        engine.kill()
    topics.send("in", numbers(0, 200))
    with EngineProcess(query, tmp_path / "state", "--workers", 2) as engine:
        engine.wait_for("the workers of the run before are still there; waiting for their end")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: engine.ready()[0], "all workers")
        assert are_gone(pids)
        wait_until(lambda: set(ids(topics)) == set(range(200)), "all outputs")
        assert engine.stop() == 0


def test_a_second_signal_ends_all_at_once(own_broker: Any, tag: str, tmp_path: Path) -> None:
    Topics(own_broker.bootstrap, tag, ("in", "out"), PARTITIONS)
    with EngineProcess(copy_query(tmp_path, tag, own_broker.bootstrap), tmp_path / "state", "--workers", 2) as engine:
        wait_until(lambda: engine.ready()[0], "all workers")
        pids = list(workers_of(engine).values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)  # so that they cannot drain
        engine.process.send_signal(signal.SIGTERM)
        engine.wait_for("draining; a second signal ends at once")
        assert engine.stop() == 1
        wait_until(lambda: are_gone(pids), "the end of the workers")


def test_a_deployment_under_load_reaches_all_workers_or_none(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(tmp_path, streams.kafka(tag, kafka.bootstrap), name=tag, checkpoint="200ms", max_batch=16)
    old, new = streams.model(tmp_path / "tiny.astore"), streams.model(tmp_path / "new.astore", seed=2)
    with EngineProcess(query, tmp_path / "state", "--workers", 2) as engine:
        wait_until(lambda: engine.ready()[0], "all workers")
        client = AdminClient(engine.url)
        with pytest.raises(UsageError, match="the engine refused: worker 1: "):
            client._call("PUT", f"/v1/queries/{tag}/windows/scored/model", (tmp_path / "new.astore").read_bytes()[:-3])
        with pytest.raises(UsageError, match="there is no query 'nobody' here"):
            client._call("PUT", "/v1/queries/nobody/windows/scored/model", b"")
        assert _digests(engine) == {old.short_digest}
        load = topics.load("events", records(streams.endless(2)))
        wait_until(lambda: topics.count("scores") > 100, "scores")
        answer = client.deploy(tmp_path / "new.astore", f"{tag}/scored")
        assert (answer["old"], answer["new"]) == (old.digest, new.digest)
        wait_until(lambda: _digests(engine) == {new.short_digest}, "the new model in the metrics of all")
        pid = workers_of(engine)[2]
        os.kill(pid, signal.SIGKILL)  # what it comes back with is what was deployed
        wait_until(lambda: is_back(engine, 2, pid), "the worker again")
        wait_until(lambda: _digests(engine) == {new.short_digest}, "the new model in the metrics of all")
        sent = load.end()
        wait_until(lambda: sum(topics.committed("events", tag).values()) == sent, "the end of the stream")
        assert engine.stop() == 0
    made = streams.events(2, sent)
    for part in topics.by_partition("scores"):
        models = [json.loads(each)["model"] for each in part]
        assert models == sorted(models, key=[old.short_digest, new.short_digest].index)
    wanted = streams.expected(made, PARTITIONS, is_ended=False).scores
    assert {json.loads(each)["id"] for each in topics.values("scores")} == set(wanted)


def test_a_rollout_to_several_supervisors_reaches_the_workers_of_all_or_none(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    Topics(kafka.bootstrap, tag, streams.TOPICS, PARTITIONS)
    query = streams.query_file(tmp_path, streams.kafka(tag, kafka.bootstrap), name=tag)
    old, new = streams.model(tmp_path / "tiny.astore"), streams.model(tmp_path / "new.astore", seed=2)
    with (
        EngineProcess(query, tmp_path / "a", "--workers", 2) as a,
        EngineProcess(query, tmp_path / "b", "--workers", 2) as b,
    ):
        engines = [a, b]
        for engine in engines:
            wait_until(lambda each=engine: each.ready()[0], "all workers")
        clients = [AdminClient(engine.url) for engine in engines]
        with pytest.raises(UsageError, match="there is no query 'nobody' here"):
            roll_out(clients, tmp_path / "new.astore", "nobody/scored")
        assert [_digests(engine) for engine in engines] == [{old.short_digest}] * 2
        told = roll_out(clients, tmp_path / "new.astore", f"{tag}/scored")
        assert [(each["old"], each["new"]) for each in told] == [(old.digest, new.digest)] * 2
        for engine in engines:
            wait_until(lambda each=engine: _digests(each) == {new.short_digest}, "the new model in the metrics of all")
        assert [engine.stop() for engine in engines] == [0, 0]


def _digests(engine: EngineProcess) -> set[str]:
    """The models that the workers score with, by the metrics of all."""
    return {told["digest"] for told, _ in samples(engine)["esp_model_info"]}


def test_pause_drain_and_resume_reach_all_workers_and_outlast_a_restart(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    topics = Topics(kafka.bootstrap, tag, ("in", "out"), PARTITIONS)
    with EngineProcess(copy_query(tmp_path, tag, kafka.bootstrap), tmp_path / "state", "--workers", 2) as engine:
        wait_until(lambda: engine.ready()[0], "all workers")
        client = AdminClient(engine.url)
        topics.send("in", numbers(0, 100))
        wait_until(lambda: topics.count("out") == 100, "outputs")
        assert client.act(tag, "drain") == {"query": tag, "state": "paused"}
        assert topics.committed("in", tag) == dict.fromkeys(range(PARTITIONS), 25)
        pid = workers_of(engine)[1]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_back(engine, 1, pid), "the worker again")
        topics.send("in", numbers(100, 100))
        assert [query["state"] for query in client.status()["queries"]] == ["paused"]
        assert topics.count("out") == 100
        assert client.act(tag, "resume") == {"query": tag, "state": "running"}
        wait_until(lambda: topics.count("out") == 200, "all outputs")
        assert engine.stop() == 0


def test_a_token_and_a_certificate_guard_the_one_port(kafka: Kafka, tag: str, tmp_path: Path) -> None:
    Topics(kafka.bootstrap, tag, ("in", "out"), PARTITIONS)
    (tmp_path / "token").write_text("the-token")
    authority = Authority(tmp_path)
    certificate, key = authority.issue("engine")
    options = ["--token-file", tmp_path / "token", "--cert-file", certificate, "--key-file", key, "--guard-metrics"]
    with EngineProcess(copy_query(tmp_path, tag, kafka.bootstrap), tmp_path / "state", "--workers", 2, *options) as engine:
        client = AdminClient(engine.url, "the-token", authority.file)
        assert engine.url.startswith("https://")
        wait_until(lambda: all(worker["ready"] for worker in client.status()["workers"]), "all workers")
        with pytest.raises(UsageError, match="the token is missing or wrong"):
            AdminClient(engine.url, None, authority.file).status()
        with pytest.raises(UsageError, match="the token is missing or wrong"):
            AdminClient(engine.url, None, authority.file)._call("GET", "/metrics")
        assert engine.stop() == 0
    assert "the-token" not in engine.text


@pytest.mark.parametrize(
    ("table", "status", "told"),
    [
        ('connector = "file", path = "in.jsonl"', 2, r"windows.in.connect: several workers cannot share a connector of kind 'file'; run it without"),
        ('connector = "kafka", topic = "t", nonsense = 1', 2, r"unknown key 'nonsense'"),
        ('connector = "kafka", topic = "t", brokers = "127.0.0.1:1"', 3, r"no Kafka broker answered within 0.1 s"),
    ],
)  # fmt: skip
def test_what_cannot_start_ends_the_run_with_one_line_and_its_status(tmp_path: Path, table: str, status: int, told: str) -> None:
    query = tmp_path / "q.toml"
    source = f'[windows.in]\nkind = "source"\nschema = "id:int64"\nconnect = {{ {table} }}'
    sink = '[windows.out]\nkind = "sink"\nfrom = "in"\nconnect = { connector = "kafka", topic = "out" }'
    query.write_text(f'[query]\nname = "q"\n{source}\n{sink}\n')
    with EngineProcess(query, tmp_path / "state", "--workers", 2, "--wait-for-broker", 0.1) as engine:
        assert engine.process.wait(PATIENCE_S) == status
    last = engine.text.strip().splitlines()[-1]
    assert re.search(told, last)
    assert last.startswith("esp: ")
    assert "Traceback" not in engine.text
