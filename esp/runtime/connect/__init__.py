"""Connectors: one plain table from the name in a query file to settings, source and sink."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from esp.errors import QueryError
from esp.runtime.connect.file import FileConnection, FileSink, FileSource
from esp.runtime.connect.memory import MemoryConnection, MemorySink, MemorySource, MemoryTopic
from esp.runtime.connector import Assigned, Connection, Revoked, Sink, Source
from esp.runtime.kafka.settings import KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.kafka.source import KafkaSource
from esp.settings import checked, unknown_key

Role = Literal["source", "sink"]


@dataclass(frozen=True, slots=True)
class Connector:
    """A row of the table: the settings, and what they open. A source takes (settings, group, where), a sink (settings, where)."""

    settings: type[Connection]
    source: Callable[[Any, str, str], Source]
    sink: Callable[[Any, str], Sink]


CONNECTORS: dict[str, Connector] = {
    "kafka": Connector(KafkaConnection, KafkaSource, KafkaSink),
    "file": Connector(FileConnection, FileSource, FileSink),
    "memory": Connector(MemoryConnection, MemorySource, MemorySink),
}


def connection(
    table: Mapping[str, Any], where: str, overrides: Mapping[str, Any] | None = None, role: Role | None = None
) -> Connection:
    """The settings of a ``connect`` table, checked; ``overrides`` stand over those of a Kafka connector. Raises QueryError."""
    name = table.get("connector")
    if name is None:
        raise QueryError("the key 'connector' is missing", where=where, mend=f"one of {', '.join(CONNECTORS)}")
    if name not in CONNECTORS:
        raise unknown_key(str(name), list(CONNECTORS), f"{where}.connector", QueryError, "connector")
    data = {**table, **(overrides or {})} if name == "kafka" else dict(table)
    settings = checked(CONNECTORS[name].settings, data, where, QueryError)
    if role is not None:
        _check_role(settings, role, where)
    return settings


def open_source(settings: Connection, *, group: str, where: str) -> Source:
    """The source that the settings describe, not yet started; ``group`` is who reads, where the settings do not say."""
    _check_role(settings, "source", where)
    return CONNECTORS[settings.connector].source(settings, group, where)


def open_sink(settings: Connection, *, where: str) -> Sink:
    """The sink that the settings describe, not yet started."""
    _check_role(settings, "sink", where)
    return CONNECTORS[settings.connector].sink(settings, where)


def _check_role(settings: Connection, role: Role, where: str) -> None:
    strange = settings.sink_only if role == "source" else settings.source_only
    for key in sorted(strange & settings.model_fields_set):
        raise QueryError(f"a {role} has no key '{key}'", where=where, mend="take the key out")


__all__ = [
    "CONNECTORS", "Assigned", "Connection", "Connector", "KafkaConnection", "FileConnection", "MemoryConnection", "MemoryTopic", "Revoked",
    "Role", "Sink", "Source", "connection", "open_sink", "open_source",
]  # fmt: skip
