"""Which sources of a query keep their tasks in Kafka, and how: by transactions, with a changelog where windows keep state."""

from collections.abc import Callable, Mapping
from functools import partial

from esp.errors import QueryError
from esp.runtime.connect import KafkaConnection, Sink
from esp.runtime.kafka.ledger import Ledger, LedgerSettings
from esp.runtime.kafka.settings import CreateTopic
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.query import Query
from esp.runtime.scorer import Scorer
from esp.runtime.state.checkpoint import CheckpointStore
from esp.runtime.task import Task

COMPACTED = {"cleanup.policy": "compact", "segment.bytes": str(100 << 20), "min.cleanable.dirty.ratio": "0.2"}


def ledgers(
    query: Query, scorers: Mapping[str, Scorer], sinks: Mapping[str, Sink], stores: Mapping[str, CheckpointStore],
    on_lost: Callable[[tuple[str, int]], None],
) -> dict[str, Ledger]:  # fmt: skip
    """A ledger for each source that has one; ``on_lost`` is told the task that another engine has taken over."""
    carried = {name: sink for name, sink in sinks.items() if isinstance(sink, KafkaSink)}
    found = {}
    for name in query.sources:
        settings = _settings(query, name, scorers)
        if settings is not None:
            found[name] = Ledger(settings, stores[name], carried, partial(_tell, on_lost, name))
    return found


def _tell(on_lost: Callable[[tuple[str, int]], None], source: str, partition: int) -> None:
    on_lost((source, partition))


def _settings(query: Query, source: str, scorers: Mapping[str, Scorer]) -> LedgerSettings | None:
    """None where the source is no topic of Kafka, or needs neither transactions nor a changelog."""
    connection, settings = query.windows[source].connection, query.settings
    if not isinstance(connection, KafkaConnection):
        return None
    is_exact = settings.delivery == "exactly_once"
    where = f"{query.path}: windows.{source}"
    wanted = settings.changelog.enabled
    if wanted is None or is_exact:
        keeps_state = bool(remembering(query, source, scorers))
        if is_exact and keeps_state and wanted is False:
            raise QueryError(
                "exactly_once needs the changelog where windows keep state", where=f"{query.path}: query.changelog.enabled",
                mend="take the key out",
            )  # fmt: skip
        wanted = keeps_state
    if not (is_exact or wanted):
        return None
    group = connection.group or settings.group or query.name
    changelog = _changelog(query, connection, f"{group}-{source}-changelog") if wanted else None
    return LedgerSettings(source, connection, group, changelog, settings.transaction_timeout // 1_000_000, is_exact, where)


def _changelog(query: Query, connection: KafkaConnection, name: str) -> KafkaConnection:
    """The topic of the changelog, on the cluster of the source."""
    settings = query.settings.changelog
    replication = {} if settings.replication is None else {"replication": settings.replication}
    create = CreateTopic(config=COMPACTED | settings.config, **replication)
    update = {"topic": settings.topic or name, "create": create, "compression": settings.compression, "client": {}}
    return connection.model_copy(update=update)


def remembering(query: Query, source: str, scorers: Mapping[str, Scorer]) -> set[str]:
    """The windows behind a source that keep state between events."""
    task = Task(query, source, 0, scorers)
    task.close()
    return task.remembering - {source}
