"""The sequence kind: the last events of a key as one tensor, oldest first."""

from math import prod
from typing import Literal

import pydantic

from esp.errors import QueryError
from esp.runtime.durations import Duration
from esp.runtime.events import Block, EventBlock
from esp.runtime.kinds.keyed import KeyedSettings, check_ring, refuse_retractions, still_partitioned_by
from esp.runtime.kinds.rings import Rings, channels
from esp.runtime.kinds.window import Context, Environment, Ports, Stream, Window
from esp.runtime.schema import Field, FieldType, Schema

LONGEST = 1_000_000


class SequenceSettings(KeyedSettings):
    """Emits the last ``length`` events of a key once they are there, and then at every ``hop``-th event."""

    kind: Literal["sequence"]
    fields: tuple[str, ...] = pydantic.Field(min_length=1, description="numbers and one-dimensional tensors that make the channels")
    length: int = pydantic.Field(ge=1, le=LONGEST, description="events in a sequence")
    hop: int = pydantic.Field(1, ge=1, le=LONGEST, description="events from one sequence of a key to the next")
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
        schema = self._schema(stream, env)
        shape = self.length, schema[self.name].type.shape[1]
        return SequenceWindow(Rings(self.key_fields(stream, env), self.fields, shape, self.hop, self.max_gap), schema)

    def _schema(self, stream: Stream, env: Environment) -> Schema:
        """The fields that are not stacked, and the tensor."""
        shape = self.length, channels(stream, self.fields, f"{env.where}.fields")
        kept = tuple(field for field in stream.schema if field.name not in self.fields)
        if self.name in (field.name for field in kept):
            raise QueryError(f"field '{self.name}' is there already", where=f"{env.where}.name", mend="name the tensor otherwise")
        return Schema((*kept, Field(self.name, FieldType("float32", shape))))


class SequenceWindow:
    """Emits what its rings complete."""

    def __init__(self, rings: Rings, schema: Schema) -> None:
        self.rings, self.schema = rings, schema

    def open(self, context: Context) -> None:
        self.rings.open(context)

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        full = self.rings.add(block)
        taken = block.take(full.at)
        kept = [block.schema.index(name) for name in self.schema.names[:-1]]
        columns = [*(taken.columns[at] for at in kept), full.tensors]
        return [("out", taken.with_columns(self.schema, columns, [*(taken.validity[at] for at in kept), None]))]
