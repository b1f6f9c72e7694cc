"""The kill matrix in small: three to five kills of an engine with stateful windows, and a verifier that recomputes everything from the input topic."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.killing.matrix import Outcome, Setup, run
from loadtest.killing.schedule import schedule
from tests.broker import Broker
from tests.conftest import skip_without_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

KILLS, SESSION_MS = 5, 1000


@pytest.fixture
def hasty_broker() -> Iterator[Broker]:
    """A broker that gives a dead worker's partitions away as soon as it may."""
    skip_without_kafka()
    broker = Broker(more_properties=f"group.min.session.timeout.ms={SESSION_MS}\n").start()
    yield broker
    broker.remove()


def killed(broker: Broker, folder: Path, setup: Setup) -> Outcome:
    outcome = run(broker, folder, setup, f"t{uuid.uuid4().hex[:10]}", print)
    assert not outcome.failure
    assert outcome.verdict is not None
    assert len(outcome.done) == len(setup.actions)
    assert outcome.verdict.events > 1000
    assert all(outcome.verdict.wanted[topic] > 0 for topic in ("scores", "motions", "steps", "tallies", "late", "dead"))
    assert not outcome.verdict.told, outcome.as_dict()
    return outcome


def test_five_kills_at_least_once_lose_nothing_and_what_comes_twice_is_the_same(hasty_broker: Broker, tmp_path: Path) -> None:
    setup = Setup(3, schedule(KILLS, 3, workers=1), rate=200, session_ms=SESSION_MS)
    outcome = killed(hasty_broker, tmp_path / "run", setup)
    assert outcome.is_good
    assert {done.kind for done in outcome.done} == {"kill", "stop", "broker", "deploy"}


def test_five_kills_exactly_once_read_back_as_the_expected_list_alone(hasty_broker: Broker, tmp_path: Path) -> None:
    setup = Setup(4, schedule(KILLS, 4, workers=1), "exactly_once", rate=200, session_ms=SESSION_MS)
    outcome = killed(hasty_broker, tmp_path / "run", setup)
    assert outcome.is_good
    assert outcome.verdict is not None
    assert outcome.verdict.doubled == 0


def test_five_kills_among_one_to_three_workers_read_back_as_the_expected_list(hasty_broker: Broker, tmp_path: Path) -> None:
    kinds = ("join", "join", "kill", "freeze", "deploy")
    setup = Setup(5, schedule(KILLS, 5, 3, kinds), "exactly_once", workers=3, rate=200, session_ms=SESSION_MS)
    outcome = killed(hasty_broker, tmp_path / "run", setup)
    assert outcome.is_good
    assert [done.kind for done in outcome.done].count("join") == 2


def test_kills_of_workers_under_one_supervisor_amid_rollouts_lose_nothing_and_score_nothing_twice_by_two_models(
    hasty_broker: Broker, tmp_path: Path
) -> None:
    kinds = ("rollout", "supervisor", "rollout")
    actions = schedule(len(kinds), 185, 2, kinds, supervised=True)
    setup = Setup(185, actions, workers=2, supervised=True, rate=200, session_ms=SESSION_MS)
    outcome = killed(hasty_broker, tmp_path / "run", setup)
    assert outcome.is_good
    assert sum("was killed meanwhile" in done.who for done in outcome.done) == 2
