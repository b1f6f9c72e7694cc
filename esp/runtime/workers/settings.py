"""What a worker is told at its start, and what of a query differs from worker to worker."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pydantic

from esp.errors import QueryError, StateError
from esp.files import write_whole
from esp.runtime.backends.cores import QUOTA, cores
from esp.runtime.connect import Connection, KafkaConnection
from esp.runtime.query import PlannedWindow, Query, QuerySettings


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One worker of a run: it goes through a pipe, as a line of JSON, for its token must not be seen."""

    number: int  # from 1
    workers: int
    queries: tuple[Path, ...]
    state_dir: Path
    models_dir: Path  # of all workers
    socket: Path
    instance: str
    token: str = field(repr=False)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()  # public keys in hexadecimal digits
    is_fresh: bool = False
    paused: tuple[str, ...] = ()  # queries that are paused
    log: Literal["text", "json"] = "text"
    log_level: str = "info"
    kept: int | None = None  # a descriptor that it inherits, and that shows as long as it lives that it does

    def to_line(self) -> bytes:
        return _SETTINGS.dump_json(self) + b"\n"

    @staticmethod
    def from_line(line: bytes) -> "WorkerSettings":
        return _SETTINGS.validate_json(line)


_SETTINGS = pydantic.TypeAdapter(WorkerSettings)


def check_shared(queries: Sequence[Query]) -> None:
    """QueryError for a connector that several processes cannot share."""
    for query in queries:
        connections = {f"windows.{name}.connect": window.connection for name, window in query.windows.items()}
        for place, connection in {**connections, "query.dead": query.dead}.items():
            if connection is not None and not isinstance(connection, KafkaConnection):
                raise QueryError(
                    f"several workers cannot share a connector of kind '{connection.connector}'", where=f"{query.path}: {place}",
                    mend="run it without --workers, or connect it to Kafka",
                )  # fmt: skip


def instance_of(state_dir: Path) -> str:
    """The name of a state folder among those of all hosts: made once, kept in it. StateError where that cannot be done."""
    path = state_dir / "instance"
    try:
        if not path.exists():
            state_dir.mkdir(parents=True, exist_ok=True)
            write_whole(path, [f"esp-{uuid.uuid4().hex[:12]}".encode()])
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "it is no text"
        mend = "let the engine write there, or name another directory"
        raise StateError(f"the state directory cannot be used: {reason}", where=str(path), mend=mend) from err


def fitted(query: Query, worker: WorkerSettings) -> Query:
    """A query as one worker runs it: as a static member with a name of its own, on its share of the cores."""
    windows = {name: _window(query, window, worker) for name, window in query.windows.items()}
    dead = _client(query.dead, worker) if query.dead else None
    return replace(query, windows=windows, dead=dead, settings=_limited(query.settings, worker.workers))


def _window(query: Query, window: PlannedWindow, worker: WorkerSettings) -> PlannedWindow:
    if window.connection is None:
        return window
    connection = _client(window.connection, worker)
    if window.name in query.sources and isinstance(connection, KafkaConnection):
        digest = hashlib.sha256(f"{query.name}/{window.name}".encode()).hexdigest()[:8]
        name = connection.instance or f"{worker.instance}-{digest}"
        connection = connection.model_copy(update={"instance": f"{name}-{worker.number}"})
    return replace(window, connection=connection)


def _client(connection: Connection, worker: WorkerSettings) -> Connection:
    if not isinstance(connection, KafkaConnection):
        return connection
    name = f"{connection.client.get('client_id', 'esp')}-{worker.number}"
    return connection.model_copy(update={"client": {**connection.client, "client_id": name}})


def _limited(settings: QuerySettings, workers: int) -> QuerySettings:
    """Where the query does not say how many threads score, those of a worker's share of the cores, but for the event loop's."""
    if settings.limits.threads:
        return settings
    threads = max(1, cores(QUOTA) // workers - 1)
    return settings.model_copy(update={"limits": settings.limits.model_copy(update={"threads": threads})})
