"""The compute kind: adds fields made by expressions, or puts them in the place of others, and drops fields."""

import re
from dataclasses import replace
from typing import Literal

import pydantic

from esp.errors import QueryError
from esp.runtime import expressions
from esp.runtime.events import Block, EventBlock
from esp.runtime.expressions import Expression
from esp.runtime.kinds.retractions import reads_unretracted
from esp.runtime.kinds.window import Context, Environment, Ports, Settings, Stream, Window
from esp.runtime.schema import Field, Schema


class ComputeSettings(Settings):
    """Makes fields by expressions; all of them see the fields as they came in."""

    kind: Literal["compute"]
    fields: dict[str, str] = pydantic.Field(
        default_factory=dict, description="name = expression: replaces the field of that name in its place, or is added at the end"
    )
    keep: tuple[str, ...] | None = pydantic.Field(None, description="the fields of the input that stay; all, if left out")
    drop: tuple[str, ...] = pydantic.Field((), description="the fields of the input that go")

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        self._check_names(stream.schema, env)
        schema = self._result(stream.schema, self._made(stream.schema, env))
        if not len(schema):
            raise QueryError("no field is left", where=env.where, mend="keep a field, or compute one")
        known = stream.partitioned_by
        lost = known and not all(name in schema and name not in self.fields for name in known)
        unretracted = tuple(name for name in schema.names if self._is_unretracted(name, stream))
        return {"out": replace(stream, schema=schema, partitioned_by=None if lost else known, unretracted=unretracted)}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        made = self._made(stream.schema, env)
        return ComputeWindow(stream.schema, self._result(stream.schema, made), made)

    def _check_names(self, schema: Schema, env: Environment) -> None:
        if self.keep is not None and self.drop:
            raise QueryError("keep and drop are both set", where=env.where, mend="say which fields stay or which go, not both")
        for key, names in (("keep", self.keep or ()), ("drop", self.drop)):
            for name in names:
                if name not in schema:
                    mend = expressions.suggest(name, schema.names, "the fields are")
                    raise QueryError(f"there is no field '{name}'", where=f"{env.where}.{key}", mend=mend)
        for name in self.fields:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                mend = "use letters, digits and underscores, such as temp_c"
                raise QueryError(f"'{name}' is no name of a field", where=f"{env.where}.fields", mend=mend)

    def _made(self, schema: Schema, env: Environment) -> dict[str, Expression]:
        return {name: expressions.compile(text, schema, f"{env.where}.fields.{name}") for name, text in self.fields.items()}

    def _result(self, schema: Schema, made: dict[str, Expression]) -> Schema:
        """The fields that leave: those of the input that stay, in their order, then the new ones."""
        stay = [field for field in schema if field.name in made or self._stays(field.name)]
        old = [replace(field, type=made[field.name].type) if field.name in made else field for field in stay]
        return Schema((*old, *(Field(name, part.type) for name, part in made.items() if name not in schema)))

    def _is_unretracted(self, name: str, stream: Stream) -> bool:
        return bool(reads_unretracted(self.fields[name], stream)) if name in self.fields else name in stream.unretracted

    def _stays(self, name: str) -> bool:
        return name not in self.drop if self.keep is None else name in self.keep


class ComputeWindow:
    """Fills the new columns; times, opcodes and origins of the events stay."""

    def __init__(self, taken: Schema, schema: Schema, made: dict[str, Expression]) -> None:
        self.schema = schema
        self.parts = [made.get(name) or taken.index(name) for name in schema.names]

    def open(self, context: Context) -> None:
        pass

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        values = [
            (block.columns[part], block.validity[part]) if isinstance(part, int) else part.evaluate(block) for part in self.parts
        ]
        return [("out", block.with_columns(self.schema, [column for column, _ in values], [valid for _, valid in values]))]
