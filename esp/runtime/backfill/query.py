"""The query of a backfill: that of the live one under another name, with other outputs, and other models where they are named."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from esp.astore.binary import read
from esp.astore.model import Astore
from esp.errors import UsageError
from esp.runtime.backfill.asked import Asked
from esp.runtime.connect import Connection, FileConnection, KafkaConnection
from esp.runtime.kinds.score import ScoreSettings, check_swap
from esp.runtime.query import PlannedWindow, Query, models_used
from esp.runtime.task import DEAD
from esp.settings import checked, unknown_key


def redirected(live: Query, asked: Asked) -> Query:
    """The query that a backfill runs: nothing of it (group, state, outputs) is the live one's.

    Raises UsageError for outputs or models that are not the query's, for outputs that would be the live query's own, and for
    sources that no offsets lead back into; FileError, GraphError or QueryError for a model that does not fit.
    """
    for name in live.sources:
        if not isinstance(live.windows[name].connection, KafkaConnection):
            raise UsageError(
                f"source '{name}' is no Kafka topic, and only there a range can be read again", where="backfill",
                mend="run the query itself over the file",
            )  # fmt: skip
    outputs = _redirected(live, asked)
    windows = {
        name: replace(window, connection=_by_hand(window.connection) if name in live.sources else outputs.get(name))
        for name, window in live.windows.items()
    }
    models = dict(live.models)
    for name, path in _pairs(asked.models, "--model", "WINDOW=FILE").items():
        windows[name], added = _scored_by(live, name, Path(path))
        models |= added
    name = f"{live.name}-backfill-{asked.name or asked.range_digest}"
    # its state is on the disk where it runs; only exactly-once cannot do without a changelog, which has a name of its own
    wanted = None if live.settings.delivery == "exactly_once" else False
    changelog = live.settings.changelog.model_copy(update={"topic": "", "enabled": wanted})
    settings = live.settings.model_copy(update={"name": name, "group": name, "changelog": changelog})
    return replace(live, settings=settings, windows=windows, models=models, dead=outputs.get(DEAD))


def _by_hand(connection: Connection | None) -> Connection | None:
    """The connection of a source that is no member of the live query's group, or of any."""
    return connection.model_copy(update={"group": "", "instance": None}) if connection is not None else None


def outputs_of(query: Query) -> dict[str, Connection]:
    """The connections of its sinks and of its dead letters, by window (DEAD for these)."""
    outputs = {name: query.windows[name].connection for name in query.sinks}
    return {name: output for name, output in {**outputs, DEAD: query.dead}.items() if output is not None}


def scored(query: Query) -> dict[str, Astore]:
    """The model of each score window."""
    return {window: query.models[name] for window, name in models_used(query).items()}


def place_of(connection: Connection) -> str:
    """The topic or file that a connection writes or reads."""
    return str(connection.path) if isinstance(connection, FileConnection) else str(getattr(connection, "topic", ""))


def _redirected(live: Query, asked: Asked) -> dict[str, Connection]:
    outputs, named = outputs_of(live), _pairs(asked.outputs, "--output", "SINK=TOPIC")
    for name in named.keys() - outputs.keys():
        raise unknown_key(name, list(outputs), "--output", UsageError, "sink")
    sources = [live.windows[name].connection for name in live.sources]
    taken = {place_of(each) for each in (*outputs.values(), *sources) if each is not None}
    made = {}
    for name, output in outputs.items():
        place = named.get(name) or _suffixed(output, asked.suffix)
        if place in taken and not asked.is_into_live:
            what = f"output '{name}' would go to '{place}', which is the live query's"
            raise UsageError(what, where="backfill", mend=f"say --output {name}=OTHER or --suffix -redo (or --into-live)")
        made[name] = _moved(output, place, f"--output {name}")
    return made


def _suffixed(output: Connection, suffix: str) -> str:
    """The topic with the suffix behind it, the file with it before its ending, which tells the format."""
    return (
        str(output.path.with_stem(output.path.stem + suffix)) if isinstance(output, FileConnection) else place_of(output) + suffix
    )


def _moved(output: Connection, place: str, where: str) -> Connection:
    key = "path" if isinstance(output, FileConnection) else "topic"
    return checked(type(output), {**output.model_dump(exclude_unset=True), key: place}, where, UsageError)


def _scored_by(live: Query, name: str, path: Path) -> tuple[PlannedWindow, Mapping[str, Any]]:
    """A score window with another model than the query's, and the model under a name of its own."""
    window, scoring = live.windows.get(name), models_used(live)
    if window is None or not isinstance(window.settings, ScoreSettings):
        raise unknown_key(name, list(scoring), "--model", UsageError, "score window")
    model = read(path, verify=True, trusted=live.trusted)
    check_swap(live.models[scoring[name]], model, window)
    added = {f"{name}@backfill": model}
    environment = replace(window.environment, models={**window.environment.models, **added})
    return replace(window, settings=window.settings.model_copy(update={"model": next(iter(added))}), environment=environment), added


def _pairs(texts: Iterable[str], option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"'{text}' is not of the form {form}", where=option, mend=f"write {option} {form}")
        if name in pairs:
            raise UsageError(f"'{name}' is named twice", where=option, mend="name it once")
        pairs[name] = value
    return pairs
