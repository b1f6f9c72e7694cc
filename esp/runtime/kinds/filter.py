"""The filter kind: keeps the events for which an expression is true; those for which it is false or null go."""

from typing import Literal

import numpy as np
import pydantic

from esp.errors import QueryError
from esp.runtime import expressions
from esp.runtime.events import Block, EventBlock
from esp.runtime.expressions import Expression
from esp.runtime.kinds.retractions import reads_unretracted, refuse_unretracted
from esp.runtime.kinds.window import Context, Environment, Ports, Settings, Stream, Window
from esp.runtime.schema import Schema


class FilterSettings(Settings):
    """Keeps the events for which ``where`` is true."""

    kind: Literal["filter"]
    where: str = pydantic.Field(description="a bool expression over the fields, such as temp > 30 and unit == 'C'")

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        self._condition(stream.schema, env)
        refuse_unretracted(reads_unretracted(self.where, stream), stream, f"{env.where}.where")
        return {"out": stream}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        return FilterWindow(self._condition(stream.schema, env))

    def _condition(self, schema: Schema, env: Environment) -> Expression:
        where = f"{env.where}.where"
        condition = expressions.compile(self.where, schema, where)
        if condition.type.base != "bool" or condition.type.shape:
            mend = "compare it with something, such as x > 0"
            raise QueryError(f"a filter wants a bool, and '{condition.text}' is {condition.type}", where=where, mend=mend)
        return condition


class FilterWindow:
    """Judges every event, an update or a delete too, on its own values; an emptied block goes on, for its watermark counts."""

    def __init__(self, condition: Expression) -> None:
        self.condition = condition

    def open(self, context: Context) -> None:
        pass

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        is_kept, _ = self.condition.evaluate(block)  # where it is null it is False
        assert isinstance(is_kept, np.ndarray)
        return [("out", block if is_kept.all() else block.take(np.flatnonzero(is_kept)))]
