"""The sequence kind: the last events of a key as one tensor, oldest first."""

from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt
import pydantic

from esp.errors import QueryError
from esp.kernels import windows as kernels
from esp.runtime.durations import Duration
from esp.runtime.events import Block, EventBlock
from esp.runtime.keys import row_keys
from esp.runtime.kinds.keyed import KeyedSettings, check_ring, refuse_retractions, require_field, still_partitioned_by
from esp.runtime.kinds.window import Context, Environment, Ports, Stream, Window
from esp.runtime.schema import Field, FieldType, Schema

_NO_GAP_NS = (1 << 63) - 1


class SequenceSettings(KeyedSettings):
    """Emits the last ``length`` events of a key once they are there, and then at every ``hop``-th event."""

    kind: Literal["sequence"]
    fields: tuple[str, ...] = pydantic.Field(min_length=1, description="numbers and one-dimensional tensors that make the channels")
    length: int = pydantic.Field(ge=1, le=1_000_000, description="events in a sequence")
    hop: int = pydantic.Field(1, ge=1, description="events from one sequence of a key to the next")
    name: str = pydantic.Field(
        "sequence", pattern=r"^[A-Za-z_]\w*$", description="field that holds the tensor, float32[length, channels]"
    )
    max_gap: Duration | None = pydantic.Field(None, description="a longer gap in event time starts the sequence of a key anew")

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        refuse_retractions(stream, env, self.kind)
        self.key_fields(stream, env)
        schema = self._schema(stream, env)
        check_ring(4 * prod(schema[self.name].type.shape), f"{env.where}.length")
        return {"out": Stream(schema, False, still_partitioned_by(stream, schema.names))}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        return SequenceWindow(self, self.key_fields(stream, env), self._schema(stream, env))

    def _schema(self, stream: Stream, env: Environment) -> Schema:
        """The fields that are not stacked, and the tensor."""
        channels = sum(_channels(stream, name, f"{env.where}.fields") for name in self.fields)
        kept = tuple(field for field in stream.schema if field.name not in self.fields)
        if self.name in (field.name for field in kept):
            raise QueryError(f"field '{self.name}' is there already", where=f"{env.where}.name", mend="name the tensor otherwise")
        return Schema((*kept, Field(self.name, FieldType("float32", (self.length, channels)))))


def _channels(stream: Stream, name: str, where: str) -> int:
    require_field(stream, name, where)
    kind = stream.schema[name].type
    if not (kind.is_number or len(kind.shape) == 1):
        raise QueryError(f"field '{name}' is a {kind}", where=where, mend="take numbers and tensors of one dimension")
    return kind.shape[0] if kind.shape else 1


class SequenceWindow:
    """A ring of the last events a key, in a state table."""

    def __init__(self, settings: SequenceSettings, by: tuple[str, ...], schema: Schema) -> None:
        self.settings, self.by, self.schema = settings, by, schema
        self.max_gap_ns = _NO_GAP_NS if settings.max_gap is None else settings.max_gap

    def open(self, context: Context) -> None:
        ring = self.schema[self.settings.name].type.shape
        self.table = context.table("rings", {"count": ("int64", ()), "last_ns": ("int64", ()), "ring": ("float32", ring)})

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        n, table = len(block), self.table
        rows = table.rows(row_keys(block, self.by))
        slot, is_full = np.empty(n, np.int64), np.empty(n, np.uint8)
        made = kernels.advance_sequences(
            rows, np.ascontiguousarray(block.ts_ns), self.settings.length, self.settings.hop, self.max_gap_ns, table.column("count"),
            table.column("last_ns"), slot, is_full,
        )  # fmt: skip
        ring = table.column("ring")
        out = np.empty((made, *ring.shape[1:]), np.float32)
        kernels.fill_sequences(rows, slot, is_full, self._values(block), ring, out)
        full = block.take(np.flatnonzero(is_full))
        kept = [block.schema.index(name) for name in self.schema.names[:-1]]
        columns = [*(full.columns[at] for at in kept), out]
        return [("out", full.with_columns(self.schema, columns, [*(full.validity[at] for at in kept), None]))]

    def _values(self, block: EventBlock) -> npt.NDArray[np.float32]:
        """The channels of each event, float32[n, channels]; nulls are NaN."""
        parts = []
        for name in self.settings.fields:
            column, valid = block.column(name), block.valid(name)
            assert isinstance(column, np.ndarray)
            part = column.reshape(len(block), prod(column.shape[1:])).astype(np.float32)
            if valid is not None:
                part[~valid] = np.nan
            parts.append(part)
        return np.ascontiguousarray(np.concatenate(parts, axis=1))
