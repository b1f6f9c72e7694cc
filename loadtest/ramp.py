"""The ramp: a party meets one rate after the other, each an open loop of its own, until the highest that it holds is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from loadtest.analysis import WARM_UP
from loadtest.plan import Load

LAG_MS = 1000.0  # the p99 of the latency of a rate that is held
KEPT_UP = 0.95  # of the rate, what comes out a second
GROWTH, CLOSE = 2.0, 1.15  # by how much a rate that is held grows; how near held and not held are at the end
Meet = Callable[[Load, int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """A rate that was met. ``is_load_late``: the generator itself did not keep its plan, so that it says nothing of the party."""

    rate: float
    is_held: bool
    is_load_late: bool


def highest(load: Load, most: float, meet: Meet) -> tuple[dict[str, Any], list[Step]]:
    """The figures of the highest rate that was held (of the first one, where none was), and the steps.

    ``load`` is the first step; ``meet`` gives the figures of a load, the how manieth it is. Ends at ``most``, or where the generator is late.
    """
    steps: list[Step] = []
    best: dict[str, Any] = {}
    held, refused, rate = 0.0, float("inf"), load.rate or 0.0
    while True:
        figures = meet(replace(load, rate=rate, events=max(1, round(rate * load.seconds))), len(steps))
        steps.append(step_of(rate, figures))
        if steps[-1].is_held:
            held, best = rate, figures
        else:
            refused, best = rate, best or figures
        ends = rate >= most if steps[-1].is_held else steps[-1].is_load_late
        if ends or refused <= CLOSE * held or rate < 1:
            return best, steps
        rate = _next(held, refused, most)


def _next(held: float, refused: float, most: float) -> float:
    """Twice what is held while nothing was refused, half of what was while nothing is held, else between the two."""
    if refused == float("inf"):
        return min(GROWTH * held, most)
    return (held * refused) ** 0.5 if held else refused / GROWTH


def step_of(rate: float, figures: dict[str, Any]) -> Step:
    """Whether a rate was held: as much comes out as goes in, no event is lost, and the p99 stays within the lag."""
    latency = (figures.get("latency_ms") or {}).get("p99", float("inf"))
    late = (figures.get("generator_late_ms") or {}).get("p99", 0.0)
    is_held = not figures["lost"] and figures["events_per_s"] >= KEPT_UP * rate and latency <= LAG_MS
    return Step(rate, is_held, late > WARM_UP * LAG_MS)
