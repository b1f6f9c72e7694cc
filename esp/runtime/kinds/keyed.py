"""What all keyed windows share: the fields that make the key, and the check that a key's events meet in one partition."""

import difflib
from typing import Literal

import pydantic

from esp.errors import QueryError
from esp.runtime.kinds.window import Environment, Settings, Stream

_MAX_RING_BYTES = 1 << 30


class KeyedSettings(Settings):
    """A window that keeps state for each key."""

    by: tuple[str, ...] | None = pydantic.Field(
        None, description="fields that make the key; the key fields of the schema, if left out"
    )
    scope: Literal["key", "partition"] = pydantic.Field(
        "key", description="partition: a key's events on different partitions are different keys, knowingly"
    )

    def key_fields(self, stream: Stream, env: Environment) -> tuple[str, ...]:
        """The fields of the key; QueryError when one is missing or no key, or when a key's events would lie on several partitions."""
        names = stream.schema.keys if self.by is None else self.by
        if not names and self.by is None:
            raise QueryError(
                "it is not said which fields make the key", where=env.where, mend='add by = ["FIELD"], or mark keys with *'
            )
        for name in names:
            require_field(stream, name, f"{env.where}.by")
            if stream.schema[name].type.shape:
                raise QueryError(f"the tensor '{name}' cannot be part of a key", where=f"{env.where}.by", mend="take it out")
        if self.scope == "key":
            _check_partitioning(stream, names, env)
        return names


def require_field(stream: Stream, name: str, where: str) -> None:
    """QueryError when the stream has no such field."""
    if name not in stream.schema:
        near = difflib.get_close_matches(name, stream.schema.names, 1)
        mend = f"did you mean '{near[0]}'?" if near else f"fields here: {stream.schema}"
        raise QueryError(f"there is no field '{name}'", where=where, mend=mend)


def _check_partitioning(stream: Stream, names: tuple[str, ...], env: Environment) -> None:
    key = ", ".join(names) or "nothing"
    if stream.partitioned_by is None:
        raise QueryError(
            f"it is not known whether all events of one key ({key}) lie on one partition", where=env.where,
            mend='say partitioned_by on the source, or scope = "partition" here',
        )  # fmt: skip
    missing = [name for name in stream.partitioned_by if name not in names]
    if missing:
        raise QueryError(
            f"events of one key ({key}) lie on several partitions, for the source is partitioned by {', '.join(stream.partitioned_by)}",
            where=env.where, mend=f'add {", ".join(missing)} to by, or say scope = "partition"',
        )  # fmt: skip


def refuse_retractions(stream: Stream, env: Environment, kind: str) -> None:
    """QueryError when updates or deletes may come in."""
    if stream.retracts:
        raise QueryError(
            f"a {kind} window takes no updates or deletes, and its input sends them", where=f"{env.where}.from",
            mend="take the events from before the window that retains them",
        )  # fmt: skip


def check_ring(n_bytes: int, where: str) -> None:
    """QueryError when what is kept of one key is past all sense."""
    if n_bytes > _MAX_RING_BYTES:
        raise QueryError(
            f"{n_bytes} bytes are to be kept of each key, at most {_MAX_RING_BYTES} can be", where=where, mend="keep less"
        )


def still_partitioned_by(stream: Stream, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """What a stream with these fields is partitioned by: unknown once one of the fields is gone."""
    known = stream.partitioned_by
    return known if known is not None and set(known) <= set(names) else None
