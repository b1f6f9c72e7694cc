"""A kill run from start to end: broker, workers, a steady input, the actions of the plan, and the verdict on what came out."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from esp.errors import EspError
from loadtest.killing.crew import Crew
from loadtest.killing.fleet import Fleet, WorkerError, until
from loadtest.killing.kit import OUTPUTS, SCORED, Model, make_model, query_text
from loadtest.killing.schedule import Action
from loadtest.killing.stream import Stream
from loadtest.killing.topics import Topics
from loadtest.killing.verify import Verdict, verify

FREEZE_SESSIONS = 2.5  # how long a frozen worker stands still
ROLLOUT_S = 1.0  # within which a kill comes once a deployment has begun
FIRST_EVENTS = 400  # worked off before the first action
Say = Callable[[str], None]


class Broker(Protocol):
    """A Kafka node that may be killed and started again."""

    bootstrap: str

    def kill(self) -> None: ...

    def start(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """How a run is made: ``seconds`` bounds the time in which actions are begun."""

    seed: int
    actions: Sequence[Action]
    delivery: str = "at_least_once"
    workers: int = 1
    supervised: bool = False  # the workers of one ``esp run --workers``, else engines started apart
    partitions: int = 4
    rate: float = 400.0
    session_ms: int = 1000
    checkpoint_ms: int = 200
    seconds: float = 600.0


@dataclass(slots=True)
class Done:
    """An action that was done: when, to whom, and how long until all input of that moment was durably worked off (None: never looked)."""

    kind: str
    at_s: float
    who: str
    events: int
    went_on_s: float | None = None


@dataclass(slots=True)
class Outcome:
    """What a run gives; ``failure`` is why it could not be brought to its end."""

    done: list[Done] = field(default_factory=list)
    verdict: Verdict | None = None
    failure: str = ""
    took_s: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.failure and self.verdict is not None and self.verdict.is_good

    def as_dict(self) -> dict[str, Any]:
        told = {**asdict(self), "is_good": self.is_good}
        if self.verdict is not None:
            told["verdict"]["wanted"] = dict(self.verdict.wanted)  # of a Counter asdict makes one of pairs
        return told


def run(broker: Broker, folder: Path, setup: Setup, name: str, say: Say) -> Outcome:
    """Does the plan in a folder that keeps logs and state, and verifies what came out."""
    outcome, began_s = Outcome(), time.monotonic()
    topics = Topics(broker.bootstrap, name, ("events", *OUTPUTS), setup.partitions)
    try:
        with ExitStack() as stack:
            matrix = Matrix(broker, folder, setup, topics, outcome, say)
            stack.callback(matrix.fleet.kill)
            matrix.play(began_s)
        outcome.verdict = verify(topics, matrix.models, OUTPUTS, setup.delivery == "exactly_once")
    except (WorkerError, EspError, RuntimeError) as err:
        outcome.failure = str(err)
    finally:
        topics.close()
    outcome.took_s = time.monotonic() - began_s
    return outcome


class Matrix:
    """The run while it lasts."""

    def __init__(self, broker: Broker, folder: Path, setup: Setup, topics: Topics, outcome: Outcome, say: Say) -> None:
        self.broker, self.folder, self.setup, self.topics, self.outcome, self.say = broker, folder, setup, topics, outcome, say
        kit = folder / "kit"
        kit.mkdir(parents=True)
        self.models: list[Model] = [make_model(kit / f"{window}.astore", window, 0) for window in SCORED]
        text = query_text(
            topics.name, broker.bootstrap, delivery=setup.delivery, checkpoint_ms=setup.checkpoint_ms, session_ms=setup.session_ms
        )
        (kit / "query.toml").write_text(text)
        freeze_s = FREEZE_SESSIONS * setup.session_ms / 1e3
        self.fleet: Fleet | Crew = (Crew if setup.supervised else Fleet)(folder, kit, topics.name, setup.workers, freeze_s)
        self.watching: list[tuple[Done, list[int], float]] = []  # actions that are not overcome yet

    def play(self, began_s: float) -> None:
        """The whole course, up to a good end of all workers."""
        setup = self.setup
        self.fleet.add()
        self.stream = Stream(self.broker.bootstrap, f"{self.topics.name}.events", setup.seed, setup.partitions, setup.rate)
        try:
            until(lambda: sum(self.topics.committed("events")) > FIRST_EVENTS, self.fleet.check, "the first events")
            for number, action in enumerate(setup.actions):
                if time.monotonic() - began_s > setup.seconds:
                    raise WorkerError(f"{number} of {len(setup.actions)} actions were done in {setup.seconds:g} s")
                self._do(action, began_s)
            self._overcome()
        finally:
            self.stream.stop()
        ends = self.topics.ends("events")
        until(lambda: self._is_past(ends), self.fleet.check, "the end of the input")
        self.fleet.stop()

    def _do(self, action: Action, began_s: float) -> None:
        if action.waits:
            self._overcome()
        due = self.stream.sent + action.after_events
        until(lambda: self._looks() and self.stream.sent >= due, self.fleet.check, "events to be sent")
        done = Done(action.kind, round(time.monotonic() - began_s, 2), "", self.stream.sent)
        self.say(f"{done.at_s:7.2f} s, {done.events} events sent: {action.kind}")
        self.outcome.done.append(done)
        at_s = time.monotonic()
        done.who = {"broker": self._broker, "deploy": self._deploy, "rollout": self._rollout}.get(action.kind, self.fleet.suffer)(
            action
        )
        self.watching.append((done, self.topics.ends("events"), at_s))

    def _looks(self) -> bool:
        """Notes which actions have been overcome; True, for its use among conditions."""
        if self.watching:
            committed = self.topics.committed("events")
            for entry in list(self.watching):
                done, ends, at_s = entry
                if all(there >= end for there, end in zip(committed, ends)):
                    done.went_on_s = round(time.monotonic() - at_s, 2)
                    self.watching.remove(entry)
        return True

    def _overcome(self) -> None:
        until(lambda: self._looks() and not self.watching, self.fleet.check, f"all to go on after {self._unsettled()}")

    def _unsettled(self) -> str:
        return ", ".join(f"{done.kind} at {done.at_s:g} s" for done, _, _ in self.watching)

    def _is_past(self, ends: Sequence[int]) -> bool:
        return all(there >= end for there, end in zip(self.topics.committed("events"), ends))

    # ---- the actions: each gives who it was done to -------------------------------------------------------------------

    def _broker(self, action: Action) -> str:
        self.broker.kill()
        began_s = time.monotonic()
        self.broker.start()
        return f"Kafka, which listens again after {time.monotonic() - began_s:.1f} s"

    def _deploy(self, action: Action) -> str:
        path, window, told = self._new_model(action)
        self.fleet.deploy(path, window)
        return told

    def _rollout(self, action: Action) -> str:
        """A deployment, and a kill in the middle of it."""
        path, window, told = self._new_model(action)
        until(self.fleet.is_ready, self.fleet.check, "all workers to be ready")  # else the kill comes before it has begun
        deploying = Deploying(self.fleet, path, window)
        time.sleep(action.pick % 100 / 100 * ROLLOUT_S)
        killed = self.fleet.suffer(replace(action, kind="kill"))
        deploying.end()
        return f"{told}; {killed} was killed meanwhile"

    def _new_model(self, action: Action) -> tuple[Path, str, str]:
        window = action.window()
        path = self.folder / "kit" / f"{window}.{len(self.models)}.astore"
        model = make_model(path, window, len(self.models))
        self.models.append(model)
        return path, window, f"{window}: {model.digest}"


class Deploying(threading.Thread):
    """A deployment under way."""

    def __init__(self, fleet: Fleet | Crew, path: Path, window: str) -> None:
        super().__init__(daemon=True)
        self.fleet, self.path, self.window, self.failure = fleet, path, window, WorkerError()
        self.is_done = False
        self.start()

    def run(self) -> None:
        try:
            self.fleet.deploy(self.path, self.window)
            self.is_done = True
        except (WorkerError, EspError) as err:
            self.failure = WorkerError(str(err))

    def end(self) -> None:
        """Until it is done; WorkerError where it cannot be."""
        self.join()
        if not self.is_done:
            raise self.failure
