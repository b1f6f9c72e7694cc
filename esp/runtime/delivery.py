"""What exactly-once asks of a query: all that it reads and writes stands on one Kafka cluster, and checkpoints come before the time-out."""

from collections.abc import Collection, Mapping
from pathlib import Path

from esp.errors import QueryError
from esp.runtime.connect import Connection, KafkaConnection
from esp.runtime.durations import duration_text


def check_timeout(checkpoint_ns: int, timeout_ns: int, where: str) -> None:
    """QueryError where a transaction, which lasts from checkpoint to checkpoint, could be taken back in good times."""
    if timeout_ns < 2 * checkpoint_ns:
        raise QueryError(
            f"a transaction of {duration_text(checkpoint_ns)} (checkpoint) may not outlast {duration_text(timeout_ns)}",
            where=f"{where}.transaction_timeout", mend="let it be at least twice 'checkpoint'",
        )  # fmt: skip


def exactly_once(
    path: Path, connections: Mapping[str, Connection | None], sources: Collection[str], dead: Connection | None
) -> dict[str, Connection]:
    """The connections of sources as exactly-once has them: nothing is read but what is committed. QueryError for one that it cannot have."""
    places = {f"{path}: windows.{name}.connect": each for name, each in connections.items() if each is not None}
    brokers: set[str] = set()
    for where, connection in [*places.items(), *([(f"{path}: query.dead", dead)] if dead is not None else [])]:
        brokers |= _brokers(connection, brokers, where)
    return {name: _committed_only(connections[name], f"{path}: windows.{name}.connect") for name in sources}


def _brokers(connection: Connection, known: set[str], where: str) -> set[str]:
    """The addresses of a connection, if it is one of Kafka on the cluster that is known."""
    if not isinstance(connection, KafkaConnection):
        raise QueryError(
            f"exactly_once needs Kafka, and this is connector '{connection.connector}'", where=where,
            mend='take a topic of Kafka, or delivery = "at_least_once"',
        )  # fmt: skip
    own = {broker.strip() for broker in connection.brokers.split(",")}
    if known and not known & own:
        raise QueryError(
            f"exactly_once needs one cluster, and {', '.join(sorted(own))} is another than {', '.join(sorted(known))}",
            where=f"{where}.brokers", mend='name the same brokers, or take delivery = "at_least_once"',
        )  # fmt: skip
    return own


def _committed_only(connection: Connection | None, where: str) -> KafkaConnection:
    assert isinstance(connection, KafkaConnection)
    if "read_uncommitted" in (connection.isolation, connection.client.get("isolation_level")):
        raise QueryError(
            "exactly_once reads what is committed, and nothing else", where=f"{where}.isolation", mend="take the key out"
        )
    return connection.model_copy(update={"isolation": "read_committed"})
