"""Deployments to engines started apart: in what order they are asked, and what becomes of what one had sent when it is killed amid it."""

import json
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from esp.client import AdminClient
from esp.errors import EspError, TransportError, UsageError
from esp.rollout import roll_out
from tests.broker import free_ports
from tests.conftest import Kafka
from tests.engine_process import PATIENCE_S, EngineProcess, Topics, wait_until
from tests.runtime import streams

PARTITIONS, EVENTS = 2, 20
QUERY = """
[query]
name = "{name}"
checkpoint = "300s"

[models.tiny]
path = "tiny.astore"

[windows.events]
kind = "source"
schema = "id:int64, motion:float32[3, 2]"
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.events", client = {{ session_timeout_ms = 6000, heartbeat_interval_ms = 500 }} }}

[windows.scored]
kind = "score"
from = "events"
model = "tiny"
backend = "numba"
model_field = "model"

[windows.scores]
kind = "sink"
from = "scored"
fields = ["id", "model"]
connect = {{ connector = "kafka", brokers = "{brokers}", topic = "{name}.scores" }}
"""


class Asked:
    """An engine of which only the order of what it is asked matters; it fails at some steps, and does not run when it is first looked at again."""

    def __init__(self, name: str, calls: list[tuple[str, str]], fails_at: str = "") -> None:
        self.url, self.calls, self.fails_at = name, calls, fails_at.split()
        self.states = ["not running", "running"]

    def _do(self, step: str) -> dict[str, Any]:
        self.calls.append((step, self.url))
        if step in self.fails_at:
            raise UsageError(f"{self.url} refused")
        return {"new": self.url}

    def hold(self, model: Path, window: str) -> dict[str, Any]:
        return self._do("hold")

    def stand(self, window: str, timeout_s: float) -> dict[str, Any]:
        assert timeout_s < 15  # an engine goes on by itself then
        return self._do("stand")

    def swap(self, window: str) -> dict[str, Any]:
        return self._do("swap")

    def drop(self, window: str) -> dict[str, Any]:
        return self._do("drop")

    def status(self) -> dict[str, Any]:
        return {"queries": [{"name": "other", "state": "running"}, {"name": "q", "state": self.states.pop(0)}]}

    def deploy(self, model: Path, window: str) -> dict[str, Any]:
        return self._do("deploy")


def asked(fails_at: dict[str, str], kind: type[EspError] | None = None) -> tuple[list[str], str]:
    """The steps in their order, each as often as it was taken, and what was raised; three engines, of which some fail."""
    calls: list[tuple[str, str]] = []
    engines = cast(list[AdminClient], [Asked(name, calls, fails_at.get(name, "")) for name in "abc"])
    told = ""
    if kind is None:
        assert [each["new"] for each in roll_out(engines, Path("m.astore"), "q/w")] == ["a", "b", "c"]
    else:
        with pytest.raises(kind) as caught:
            roll_out(engines, Path("m.astore"), "q/w")
        told = str(caught.value)
    assert sorted(calls) == sorted(set(calls))
    return [step for step, _ in calls], told


def test_all_check_then_all_stand_then_all_swap() -> None:
    assert asked({})[0] == ["hold"] * 3 + ["stand"] * 3 + ["swap"] * 3


@pytest.mark.parametrize("step", ["hold", "stand"])
def test_where_one_cannot_all_drop_what_they_hold_and_none_swaps(step: str) -> None:
    steps, told = asked({"b": step}, UsageError)
    assert Counter(steps) == Counter(["hold"] * 3 + (["stand"] * 3 if step == "stand" else []) + ["drop"] * 3)
    assert steps[-3:] == ["drop"] * 3
    assert "b refused" in told


def test_one_that_does_not_swap_while_others_do_is_deployed_to_once_it_runs() -> None:
    assert asked({"b": "swap"})[0] == [*["hold"] * 3, *["stand"] * 3, *["swap"] * 3, "deploy"]


def test_one_that_takes_the_model_in_no_way_is_named_and_where_none_swaps_that_is_its_own_failure() -> None:
    steps, told = asked({"b": "swap deploy"}, TransportError)
    assert "drop" not in steps
    assert "2 of 3 engines score with the new model" in told
    assert "b refused" in told
    assert "a refused" in asked(dict.fromkeys("abc", "swap"), UsageError)[1]


def test_an_engine_that_is_named_twice_is_refused_before_anything_is_asked() -> None:
    calls: list[tuple[str, str]] = []
    engines = cast(list[AdminClient], [Asked("a", calls), Asked("a", calls)])
    with pytest.raises(UsageError, match="named twice"):
        roll_out(engines, Path("m.astore"), "q/w")
    assert not calls


class Fated(AdminClient):
    """A client whose engine is killed just before one step."""

    def __init__(self, url: str, step: str, kill: Callable[[], None]) -> None:
        super().__init__(url)
        self._step, self._kill = step, kill

    def stand(self, window: str, timeout_s: float) -> dict[str, Any]:
        if self._step == "stand":
            self._kill()
        return super().stand(window, timeout_s)

    def swap(self, window: str) -> dict[str, Any]:
        if self._step == "swap":
            self._kill()
        return super().swap(window)


@pytest.mark.kafka
@pytest.mark.parametrize("step", ["stand", "swap"])
def test_what_an_engine_that_is_killed_amid_a_rollout_had_sent_is_not_scored_again_by_the_other_model(
    kafka: Kafka, tmp_path: Path, step: str
) -> None:
    tag = f"t{uuid.uuid4().hex[:10]}"
    topics = Topics(kafka.bootstrap, tag, ("events", "scores"), PARTITIONS)
    query = tmp_path / "query.toml"
    query.write_text(QUERY.format(name=tag, brokers=kafka.bootstrap))
    old, new = streams.model(tmp_path / "tiny.astore"), streams.model(tmp_path / "new.astore", seed=2)

    def send(first: int) -> None:
        values = [b'{"id": %d, "motion": [[1, 2], [3, 4], [5, 6]]}' % (first + number) for number in range(EVENTS)]
        topics.send("events", [(number % PARTITIONS, value) for number, value in enumerate(values)])

    with EngineProcess(query, tmp_path / "one") as one, EngineProcess(query, tmp_path / "two") as two:
        for engine in (one, two):
            wait_until(
                lambda each=engine: each.text.count("assigned") and "partitions [0, 1] assigned" not in _last(each), "one each"
            )
        send(0)  # none of it is committed before the rollout: checkpoints are far apart
        wait_until(lambda: topics.count("scores") == EVENTS, "the scores of the first model")
        told = "1 of 2 engines score with the new model" if step == "swap" else "no engine answers"
        with pytest.raises(TransportError, match=told):
            roll_out([AdminClient(one.url), Fated(two.url, step, two.kill)], tmp_path / "new.astore", f"{tag}/scored", again_s=0.0)
        wait_until(lambda: "partitions [0, 1] assigned" in _last(one), "the first engine to have both")
        send(EVENTS)
        wait_until(lambda: len({each["id"] for each in _scores(topics)}) == 2 * EVENTS, "the scores of the rest")
        assert one.stop() == 0
    scored = Counter((each["id"], each["model"]) for each in _scores(topics))
    if step == "swap":  # all stood still, and so all was committed: it comes once
        assert scored == Counter((number, (old if number < EVENTS else new).short_digest) for number in range(2 * EVENTS))
    else:  # nothing has changed: what the engine had sent that was killed comes twice, and is the same
        assert {model for _, model in scored} == {old.short_digest}
        assert len(scored) == 2 * EVENTS
        assert sum(scored.values()) > 2 * EVENTS


@pytest.mark.kafka
def test_an_engine_that_is_killed_before_it_swaps_and_started_again_gets_the_model_by_the_same_command(
    kafka: Kafka, tmp_path: Path
) -> None:
    tag = f"t{uuid.uuid4().hex[:10]}"
    Topics(kafka.bootstrap, tag, ("events", "scores"), PARTITIONS)
    query = tmp_path / "query.toml"
    query.write_text(QUERY.format(name=tag, brokers=kafka.bootstrap))
    old, new = streams.model(tmp_path / "tiny.astore"), streams.model(tmp_path / "new.astore", seed=2)
    (port,), said = free_ports(1), list[str]()
    at = ("--listen", f"127.0.0.1:{port}")
    with EngineProcess(query, tmp_path / "one") as one, ExitStack() as lives:
        two = lives.enter_context(EngineProcess(query, tmp_path / "two", *at))
        for engine in (one, two):
            engine.wait_for("is running")

        def start_again() -> None:
            two.kill()
            lives.enter_context(EngineProcess(query, tmp_path / "two", *at))

        told = roll_out(
            [AdminClient(one.url), Fated(two.url, "swap", start_again)], tmp_path / "new.astore", f"{tag}/scored", PATIENCE_S, said.append
        )  # fmt: skip
        scoring = [window["model"] for window in AdminClient(two.url).status()["queries"][0]["windows"] if window["model"]]
    assert [(each["old"], each["new"]) for each in told] == [(old.digest, new.digest)] * 2
    assert [each["digest"] for each in scoring] == [new.digest]
    assert len(said) == 1
    assert "has not said that it swapped" in said[0]


def _last(engine: EngineProcess) -> str:
    """What the log says of the partitions that came last."""
    return next((line for line in reversed(engine.text.splitlines()) if "assigned" in line), "")


def _scores(topics: Topics) -> list[dict[str, Any]]:
    return [json.loads(value) for value in topics.values("scores")]
