"""An engine that keeps its tasks in Kafka, beside a broker that fails it there: it says what it waits for, and loses and doubles nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.runtime.kafka import watch
from tests.conftest import skip_without_kafka
from tests.engine_process import wait_until
from tests.faults import FaultyBroker
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
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine looks at every few seconds it looks at ten times as often."""
    monkeypatch.setattr(watch, "WATCH_S", 0.2)
    monkeypatch.setattr(watch, "STALL_S", 1.0)


def case_of(broker: FaultyBroker, folder: Path, more: str) -> Case:
    """A query that copies numbers, with more keys of its own."""
    case = Case(broker, folder)
    query = folder / "query.toml"
    query.write_text(query.read_text().replace("[query]", f"[query]\n{more.format(tag=case.tag)}"))
    return case


def committed_ids(case: Case) -> list[int]:
    """What a reader of committed records sees of the output."""
    return sorted(json.loads(value)["id"] for part in case.topics.committed_values("out") for value in part)


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
