"""The plan of a kill run: what is done after how many events, drawn from a seed before anything starts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.killing.kit import SCORED

ALONE = ("kill", "broker", "stop", "deploy")
TOGETHER = (*ALONE, "kill", "join", "join", "leave", "freeze")
SUPERVISED = (*ALONE, "kill", "freeze", "supervisor", "supervisor", "rollout")
KINDS = tuple(dict.fromkeys((*TOGETHER, *SUPERVISED)))
NEAR_EVENTS, FAR_EVENTS = 10, 900
HASTE = 0.3  # the share of kills that do not wait until the one before is overcome


@dataclass(frozen=True, slots=True)
class Action:
    """``kind`` is done once ``after_events`` more have been sent; ``waits``: and once all goes on after the action before.

    kill, stop: a worker ends by SIGKILL or SIGTERM and is started again at once; freeze: it stands still for longer than its session,
    then goes on, as a zombie; join, leave: one worker more, one fewer; broker: it dies and is started again; deploy: a new model;
    rollout: a new model, and a kill meanwhile; supervisor: it dies, and is started again.
    """

    kind: str
    after_events: int
    pick: int  # which of the workers, or of the windows
    waits: bool

    def window(self) -> str:
        return sorted(SCORED)[self.pick % len(SCORED)]


def schedule(kills: int, seed: int, workers: int, kinds: Sequence[str] = (), supervised: bool = False) -> list[Action]:
    """So many actions: every kind comes before any comes twice as often as it stands in the bag. With several workers the joins come first, up to all."""
    rng, bag = random.Random(seed), list(kinds) or list(SUPERVISED if supervised else ALONE if workers == 1 else TOGETHER)
    drawn: list[str] = []
    while len(drawn) < kills:
        drawn += rng.sample(bag, len(bag))
    joins = min(drawn[: len(bag)].count("join"), workers - 1)
    for _ in range(joins):
        drawn.remove("join")
    drawn = ["join"] * joins + drawn
    return [_action(rng, kind, at) for at, kind in enumerate(drawn[:kills])]


def _action(rng: random.Random, kind: str, at: int) -> Action:
    waits = not at or kind in ("deploy", "rollout") or rng.random() >= HASTE
    return Action(kind, rng.randrange(NEAR_EVENTS, FAR_EVENTS), rng.randrange(1 << 16), waits)
