"""A deployment to engines of one group that were started apart: all check the model, all stand still at a checkpoint, then all swap."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from esp.client import AdminClient
from esp.errors import EspError, TransportError, UsageError

STAND_S = 10.0  # of the 15 s for which an engine stands still without a word
Told = dict[str, Any]


def roll_out(engines: Sequence[AdminClient], model: Path, window: str) -> list[Told]:
    """Deploys an astore to QUERY/WINDOW of every engine; gives what each answered.

    When the first one swaps, all that any of them has sent is committed: so whoever dies, and whoever takes its partitions over, nothing
    that was sent is scored again by the other model. Raises what ``AdminClient.deploy`` does, and nothing has changed then;
    TransportError naming the engine where one stood still and did not say that it has swapped, while others have.
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
    done = [told for told in swapped if not isinstance(told, EspError)]
    if not done:
        _require(swapped)
    for engine, told in zip(engines, swapped):
        if isinstance(told, EspError):
            raise TransportError(
                f"{len(done)} of {len(engines)} engines score with the new model; this one has not said so ({told.what})",
                where=engine.url, mend="deploy it again, to all of them",
            ) from told  # fmt: skip
    return done


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
