"""An engine that keeps its tasks in Kafka, beside a broker that fails it there: it says what it waits for, and loses and doubles nothing."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.runtime.kafka import watch
from tests.conftest import skip_without_kafka
from tests.engine_process import wait_until
from tests.faults import FaultyBroker, Running
from tests.runtime.test_engine_faults import Case

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker() -> Iterator[FaultyBroker]:
    """A broker of their own, for what is done to it concerns every engine."""
    skip_without_kafka()
    broker = FaultyBroker()
    yield broker
    broker.remove()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What the engine looks at every few seconds it looks at ten times as often."""
    monkeypatch.setattr(watch, "WATCH_S", 0.2)
    monkeypatch.setattr(watch, "STALL_S", 1.0)
    caplog.set_level(logging.INFO)


def case_of(broker: FaultyBroker, folder: Path, more: str) -> Case:
    """A query that copies numbers, with more keys of its own."""
    case = Case(broker, folder)
    query = folder / "query.toml"
    query.write_text(query.read_text().replace("[query]", f"[query]\n{more.format(tag=case.tag)}"))
    return case


def committed_ids(case: Case) -> list[int]:
    """What a reader of committed records sees of the output."""
    return sorted(json.loads(value)["id"] for part in case.topics.committed_values("out") for value in part)


def faults(engine: Running) -> float:
    """How often the changelog was in trouble, by the metrics."""
    found = re.search(r'esp_peer_faults_total\{query="copy",window="in.changelog"\} ([\d.]+)', engine.ask("/metrics"))
    return float(found[1]) if found else 0.0


ADD_OFFSETS, END, COMMIT_OFFSETS = 25, 26, 28  # requests of Kafka's protocol


@pytest.mark.parametrize("kind", [ADD_OFFSETS, COMMIT_OFFSETS, END])
def test_a_transaction_that_is_not_committed_though_the_cluster_answers_is_told_until_it_is(
    broker: FaultyBroker, tmp_path: Path, kind: int
) -> None:
    case = case_of(broker, tmp_path, 'delivery = "exactly_once"')
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        wait_until(lambda: committed_ids(case) == list(range(100)), "the first outputs")
        broker.proxy.withhold(kind)
        case.send(100)
        engine.until_not_ready("in: transactions wait to be committed")
        broker.proxy.restore()
        engine.until_ready()
        wait_until(lambda: committed_ids(case) == list(range(200)), "the rest")
        assert engine.stop().status == 0
    assert case.topics.committed("in", case.tag) == {0: 100, 1: 100}


@pytest.mark.parametrize("first", [100, 0], ids=["after a checkpoint", "before the first"])
def test_a_changelog_that_is_deleted_is_made_anew_and_has_all_state_again_without_an_event(
    broker: FaultyBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture, first: int
) -> None:
    case = case_of(broker, tmp_path, 'changelog = {{ enabled = true, topic = "{tag}.log" }}')
    name = f"{case.tag}.log"
    with case.run() as engine:
        engine.until_ready()
        case.send(first)
        wait_until(lambda: sum(case.topics.committed("in", case.tag).values()) == first, "the first commits")
        case.topics.admin.delete_topics([name])[name].result(30)
        wait_until(lambda: f"the changelog '{name}' is another one; all state is written to it" in caplog.text, "the new one")
        wait_until(lambda: faults(engine) >= 1, "the trouble in the metrics")
        if not first:
            case.send(100)
        wait_until(lambda: all(case.topics.committed_values("log")), "the state of both partitions")
        engine.until_ready()
        case.until_all()
        assert engine.stop().status == 0
    shutil.rmtree(tmp_path / "state")
    with case.run() as engine:  # from the changelog alone
        engine.until_ready()
        case.send(100)
        wait_until(lambda: case.topics.committed("in", case.tag) == dict.fromkeys(range(2), case.sent // 2), "the commit of all")
        assert engine.stop().status == 0
    assert "is restored from the changelog" in caplog.text
    assert case.ids() == list(range(200))
