"""A deployment to engines of one group that were started apart: all check the model, all stand still at a checkpoint, then all swap."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from esp.client import AdminClient
from esp.errors import EspError, TransportError, UsageError

STAND_S = 10.0  # of the 15 s for which an engine stands still without a word
AGAIN_S = 60.0  # how long one is awaited that was killed before it had swapped, and is started again
LOOK_S = 0.5
Told = dict[str, Any]


def roll_out(
    engines: Sequence[AdminClient],
    model: Path,
    window: str,
    again_s: float = AGAIN_S,
    say: Callable[[str], None] = lambda line: None,
) -> list[Told]:
    """Deploys an astore to QUERY/WINDOW of every engine; gives what each answered.

    When the first one swaps, all that any of them has sent is committed: so whoever dies, and whoever takes its partitions over, nothing
    that was sent is scored again by the other model. One that stood still and did not say that it has swapped, while others have, was
    killed, say: it is deployed to once it runs again, and is awaited ``again_s`` for that, which ``say`` is told. Raises what ``AdminClient.deploy`` does, and nothing has changed then;
    TransportError naming the engine that did not come back in that time.
    """
    if len({engine.url for engine in engines}) < len(engines):
        raise UsageError("an engine is named twice", where="--to", mend="name each engine once")
    with ThreadPoolExecutor(len(engines)) as pool:

        def each(act: Callable[[AdminClient], Told]) -> list[Told | EspError]:
            return list(pool.map(lambda engine: _tried(act, engine), engines))

        try:
            _require(each(lambda engine: engine.hold(model, window)))
            _require(each(lambda engine: engine.stand(window, STAND_S)))
        except BaseException:
            each(lambda engine: engine.drop(window))
            raise
        swapped = each(lambda engine: engine.swap(window))
    if all(isinstance(told, EspError) for told in swapped):
        _require(swapped)
    return _all_done(engines, [_finished(engine, told, model, window, again_s, say) for engine, told in zip(engines, swapped)])


def _all_done(engines: Sequence[AdminClient], answers: Sequence[Told | EspError]) -> list[Told]:
    """What each told; raises for the first that has not swapped."""
    done = [told for told in answers if not isinstance(told, EspError)]
    for engine, told in zip(engines, answers):
        if isinstance(told, EspError):
            raise TransportError(
                f"{len(done)} of {len(engines)} engines score with the new model; this one has not said so ({told.what})",
                where=engine.url, mend="deploy it again, to all of them",
            ) from told  # fmt: skip
    return done


def _finished(
    engine: AdminClient, told: Told | EspError, model: Path, window: str, again_s: float, say: Callable[[str], None]
) -> Told | EspError:
    """What an engine told that has swapped; from one that has not, what came of deploying to it once it runs."""
    if not isinstance(told, EspError):
        return told
    say(f"{engine.url} has not said that it swapped ({told.what}); it is awaited up to {again_s:g} s, and deployed to")
    deadline = monotonic() + again_s
    while True:
        if _runs(engine, window.partition("/")[0]):
            told = _tried(lambda each: each.deploy(model, window), engine)
            if not isinstance(told, TransportError):
                return told
        if monotonic() > deadline:
            return told
        sleep(LOOK_S)


def _runs(engine: AdminClient, query: str) -> bool:
    """Whether an engine answers, and a model can be deployed to a query of its."""
    told = _tried(lambda each: each.status(), engine)
    return not isinstance(told, EspError) and any(
        each["name"] == query and each["state"] in ("running", "paused") for each in told["queries"]
    )


def _tried(act: Callable[[AdminClient], Told], engine: AdminClient) -> Told | EspError:
    try:
        return act(engine)
    except EspError as err:
        return err


def _require(answers: Sequence[Told | EspError]) -> None:
    """Raises the first failure."""
    for answer in answers:
        if isinstance(answer, EspError):
            raise answer
