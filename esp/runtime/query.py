"""The query file: read, checked whole and resolved into windows in an order in which they can run."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pydantic

from esp.astore.binary import read
from esp.astore.model import Astore
from esp.errors import EspError, QueryError
from esp.runtime.codecs import BY_SCHEMA
from esp.runtime.codecs.registry.registries import Registries
from esp.runtime.connect import Connection, FileConnection, Role, connection
from esp.runtime.delivery import check_timeout, exactly_once
from esp.runtime.durations import Duration
from esp.runtime.kinds import KINDS
from esp.runtime.kinds.score import ScoreSettings
from esp.runtime.kinds.sink import SinkSettings
from esp.runtime.kinds.source import SourceSettings
from esp.runtime.kinds.window import Environment, Settings, Stream
from esp.settings import checked, read_toml, unknown_key

Delivery = Literal["at_least_once", "exactly_once"]
Compression = Literal["gzip", "snappy", "lz4", "zstd"]


class Limits(pydantic.BaseModel):
    """Bounds of a running query."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    max_batch: int = pydantic.Field(4096, ge=1, le=1 << 20, description="events that go through the windows as one block, at most")
    threads: int = pydantic.Field(
        0, ge=0, le=256, description="threads that score a large batch together, at most; 0: one less than the cores there are"
    )
    queue_events: int = pydantic.Field(65_536, ge=1, description="events waiting for the worker before the fetch pauses")
    queue_bytes: int = pydantic.Field(16 << 20, ge=1, description="bytes waiting for the worker before the fetch pauses")


class ChangelogSettings(pydantic.BaseModel):
    """Where state is kept so that it travels with its partition: the table [query.changelog]."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    enabled: bool | None = pydantic.Field(
        None, description="whether there is one; if left out: where a window keeps state and its source is a topic of Kafka"
    )
    topic: str = pydantic.Field(
        "", max_length=249, pattern=r"^[A-Za-z0-9._-]*$", description="the topic; GROUP-SOURCE-changelog, if left out"
    )
    replication: int | None = pydantic.Field(
        None, ge=1, description="replicas of each partition of a topic that is made; those of the source, if left out"
    )
    compression: Compression | None = pydantic.Field(None, description="compression of record batches")
    config: dict[str, str] = pydantic.Field(default_factory=dict, description="further settings of a topic that is made")


class QuerySettings(pydantic.BaseModel):
    """The query itself: the table [query]."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str = pydantic.Field(pattern=r"^[A-Za-z][\w.-]*$", description="name of the query: letters, digits, dots, dashes")
    description: str = pydantic.Field("", description="what it is for")
    group: str = pydantic.Field("", description="consumer group; the query's name, if left out")
    delivery: Delivery = pydantic.Field(
        "at_least_once",
        description="at_least_once: after a crash outputs may come twice; exactly_once: outputs, state and offsets in one transaction",
    )
    checkpoint: Duration = pydantic.Field(
        1_000_000_000, gt=0, description="how often state and offsets are made durable, such as '1s'"
    )
    transaction_timeout: Duration = pydantic.Field(
        60_000_000_000, gt=0, description="after how long Kafka takes back a transaction that nobody has ended; above 'checkpoint'"
    )
    changelog: ChangelogSettings = pydantic.Field(
        ChangelogSettings(), description="state in a topic of Kafka: the table [query.changelog]"
    )
    dead: dict[str, Any] | None = pydantic.Field(None, description="connector of the dead-letter output")
    limits: Limits = pydantic.Field(Limits(), description="bounds while it runs: the table [query.limits]")


class ModelSettings(pydantic.BaseModel):
    """A model: a table [models.NAME]."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    path: Path = pydantic.Field(description="the astore, relative to the query file")


class QueryFile(pydantic.BaseModel):
    """The top level of a query file."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    query: QuerySettings
    models: dict[str, ModelSettings] = {}
    windows: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """A window as it will run: its settings, the stream that comes in, the streams that leave, who takes them, its connector."""

    name: str
    settings: Settings
    environment: Environment
    stream: Stream | None
    ports: Mapping[str, Stream]
    subscribers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # port -> windows
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A continuous query that has passed every check; ``windows`` stand in an order in which each follows its input."""

    path: Path
    settings: QuerySettings
    models: Mapping[str, Astore]
    windows: Mapping[str, PlannedWindow]
    dead: Connection | None
    trusted: Sequence[bytes] = ()  # public keys; where there are any, only what one of them has signed scores
    registries: Registries = field(default_factory=Registries)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(name for name, window in self.windows.items() if isinstance(window.settings, SourceSettings))

    @property
    def waiting(self) -> frozenset[str]:
        """The sources whose reading may wait for somebody else, a schema registry."""
        return frozenset(name for name in self.sources if "registry" in getattr(self.windows[name].settings, "options", {}))

    @property
    def sinks(self) -> tuple[str, ...]:
        return tuple(name for name, window in self.windows.items() if isinstance(window.settings, SinkSettings))

    def downstream(self, source: str) -> tuple[str, ...]:
        """The windows that a source's events reach, the source first."""
        reached = [source]
        for name in reached:
            reached += [taker for takers in self.windows[name].subscribers.values() for taker in takers]
        return tuple(name for name in self.windows if name in reached)

    def fingerprint(self, source: str) -> str:
        """Names what the state of a source's tasks depends on: the windows it reaches, without sinks and connectors."""
        windows = {
            name: self.windows[name].settings.model_dump(mode="json")
            for name in self.downstream(source)
            if not isinstance(self.windows[name].settings, SinkSettings)
        }
        return hashlib.sha256(json.dumps(windows, sort_keys=True).encode()).hexdigest()[:16]


def load_query(path: Path, overrides: Mapping[str, Any] | None = None, trusted: Sequence[bytes] = ()) -> Query:
    """Reads and checks a query file (or the ``query.toml`` of a folder).

    ``overrides`` are connector settings that stand over those of every Kafka connector (``brokers``, say). ``trusted``
    are public keys, one of which must have signed every model. Raises QueryError, FileError (TrustError) or GraphError for
    the first thing that is wrong; nothing has been started then.
    """
    path = path / "query.toml" if os.path.isdir(path) else path
    file = checked(QueryFile, read_toml(path, QueryError), str(path), QueryError)
    models = {name: _read_model(path, name, settings, trusted) for name, settings in file.models.items()}
    for table, names in (("models", file.models), ("windows", file.windows)):
        _check_names(names, f"{path}: {table}")
    tables = {name: dict(table) for name, table in file.windows.items()}
    connections = {name: _connection(path, name, table, overrides or {}) for name, table in tables.items()}
    dead = _checked_connection(file.query.dead, f"{path}: query.dead", overrides or {}, "sink") if file.query.dead else None
    settings = {name: _window_settings(path, name, table) for name, table in tables.items()}
    if file.query.delivery == "exactly_once":
        check_timeout(file.query.checkpoint, file.query.transaction_timeout, f"{path}: query")
        sources = [name for name, each in settings.items() if isinstance(each, SourceSettings)]
        connections |= exactly_once(path, connections, sources, dead)
    windows: dict[str, PlannedWindow] = {}
    registries = Registries()
    for name in _in_order(path, settings):
        windows[name] = _planned(path, name, settings[name], windows, models, connections[name], registries)
    _check_use(path, windows)
    sinks = {f"{path}: windows.{name}.connect": window.connection for name, window in windows.items() if not window.ports}
    _check_files({**sinks, f"{path}: query.dead": dead})
    return Query(path, file.query, models, _with_subscribers(windows), dead, trusted, registries)


def _check_names(names: Iterable[str], where: str) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            mend = "use letters, digits, dashes and underscores"
            raise QueryError(f"'{name}' is no name", where=where, mend=mend)


def _read_model(path: Path, name: str, settings: ModelSettings, trusted: Sequence[bytes]) -> Astore:
    try:
        return read(path.parent / settings.path, verify=True, trusted=trusted)
    except EspError as err:
        raise type(err)(err.what, where=f"{path}: models.{name}: {err.where}", mend=err.mend) from err


def _connection(path: Path, name: str, table: dict[str, Any], overrides: Mapping[str, Any]) -> Connection | None:
    """Takes the table ``connect`` out of a source's or a sink's table."""
    where = f"{path}: windows.{name}"
    kind = table.get("kind")
    if kind not in ("source", "sink"):
        if "connect" in table:
            raise QueryError("only sources and sinks have a connector", where=f"{where}.connect", mend="take the key out")
        return None
    if "connect" not in table:
        raise QueryError("the connector is missing", where=where, mend='add connect = { connector = "kafka", topic = "..." }')
    return _checked_connection(table.pop("connect"), f"{where}.connect", overrides, "source" if kind == "source" else "sink")


def _checked_connection(table: Any, where: str, overrides: Mapping[str, Any], role: Role) -> Connection:
    if not isinstance(table, dict) or not isinstance(table.get("connector"), str):
        raise QueryError("a connector is wanted", where=where, mend='write { connector = "kafka", topic = "..." }')
    return connection(table, where, overrides, role)


def _window_settings(path: Path, name: str, table: dict[str, Any]) -> Settings:
    where, kind = f"{path}: windows.{name}", table.get("kind")
    if not isinstance(kind, str):
        raise QueryError("the window has no kind", where=f"{where}.kind", mend=f"set kind to one of {', '.join(KINDS)}")
    if kind not in KINDS:
        raise unknown_key(kind, list(KINDS), f"{where}.kind", QueryError, "window kind")
    settings = checked(KINDS[kind], table, where, QueryError)
    if kind == "source" and settings.source:
        raise QueryError("a source takes no events from a window", where=f"{where}.from", mend="take the key out")
    if kind != "source" and not settings.source:
        raise QueryError("it is not said where events come from", where=where, mend='add from = "WINDOW"')
    return settings


def _in_order(path: Path, settings: Mapping[str, Settings]) -> list[str]:
    """Window names, each after the one it takes its events from."""
    done: list[str] = []
    for name in settings:
        chain: list[str] = []
        while name not in done:
            if name in chain:
                ring = " -> ".join([*chain[chain.index(name) :], name][::-1])
                raise QueryError(
                    f"the windows form a cycle: {ring}", where=f"{path}: windows", mend="let one of them start at a source"
                )
            chain.append(name)
            origin = settings[name].source.partition(".")[0]
            if not origin:
                break
            if origin not in settings:
                raise unknown_key(origin, list(settings), f"{path}: windows.{name}.from", QueryError)
            name = origin
        done += reversed(chain)
    return done


def _planned(
    path: Path, name: str, settings: Settings, before: Mapping[str, PlannedWindow], models: Mapping[str, Astore],
    connector: Connection | None, registries: Registries,
) -> PlannedWindow:  # fmt: skip
    where = f"{path}: windows.{name}"
    environment = Environment(where, models, folder=path.parent, topic=getattr(connector, "topic", ""), registries=registries)
    stream = None
    if settings.source:
        origin, _, port = settings.source.partition(".")
        ports = before[origin].ports
        if (port or "out") not in ports:
            mend = f"its ports are {', '.join(ports)}" if ports else "a sink ends the query"
            raise QueryError(f"window '{origin}' has no port '{port or 'out'}'", where=f"{where}.from", mend=mend)
        stream = ports[port or "out"]
    if (
        isinstance(settings, SourceSettings | SinkSettings)
        and isinstance(connector, FileConnection)
        and settings.format in BY_SCHEMA
    ):
        what, mend = f"a file holds no records of format '{settings.format}'", "use json, csv or msgpack there"
        raise QueryError(what, where=f"{where}.format", mend=mend)
    if isinstance(settings, SourceSettings) and connector is not None and connector.has_one_partition:
        environment = replace(environment, one_partition=True)
    return PlannedWindow(name, settings, environment, stream, settings.resolve(stream, environment), connection=connector)


def _check_use(path: Path, windows: Mapping[str, PlannedWindow]) -> None:
    taken = {window.settings.source.partition(".")[0] for window in windows.values()}
    if not any(isinstance(window.settings, SourceSettings) for window in windows.values()):
        raise QueryError("there is no source window", where=f"{path}: windows", mend='add a window of kind = "source"')
    for name, window in windows.items():
        if not isinstance(window.settings, SinkSettings) and name not in taken:
            raise QueryError(
                "nobody takes the events of this window", where=f"{path}: windows.{name}", mend="add a sink, or take it out"
            )


def _check_files(outputs: Mapping[str, Connection | None]) -> None:
    """QueryError when two outputs write one file."""
    taken: dict[str, str] = {}
    for where, output in outputs.items():
        if isinstance(output, FileConnection):
            file = os.path.realpath(output.path)
            if file in taken:
                other = taken[file].rpartition(": ")[2].removesuffix(".connect")
                what = f"the file '{output.path}' is written by {other} already"
                raise QueryError(what, where=f"{where}.path", mend="name a file of its own")
            taken[file] = where


def _with_subscribers(windows: Mapping[str, PlannedWindow]) -> dict[str, PlannedWindow]:
    takers: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in windows}
    for name, window in windows.items():
        if window.settings.source:
            origin, _, port = window.settings.source.partition(".")
            takers[origin][port or "out"] = (*takers[origin].get(port or "out", ()), name)
    return {name: replace(window, subscribers=takers[name]) for name, window in windows.items()}


def models_used(query: Query) -> dict[str, str]:
    """Window name -> model name, for every score window."""
    return {name: window.settings.model for name, window in query.windows.items() if isinstance(window.settings, ScoreSettings)}
