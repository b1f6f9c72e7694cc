"""Blocks from rows of Python values, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esp.runtime.events import Bools, Column, EventBlock, VarColumn
from esp.runtime.schema import Schema


def block_of(shorthand: str, rows: Sequence[Mapping[str, Any]]) -> EventBlock:
    """A block whose event times count up; None is null."""
    schema = Schema.parse(shorthand)
    columns: list[Column] = []
    validity: list[Bools | None] = []
    for field in schema:
        values = [row[field.name] for row in rows]
        is_valid = np.array([value is not None for value in values], np.bool_)
        validity.append(None if is_valid.all() else is_valid)
        if field.type.is_var:
            columns.append(VarColumn.of([value or "" for value in values]))
        else:
            zero = np.zeros(field.type.shape, field.type.dtype)
            column = np.array([zero if value is None else value for value in values], field.type.dtype)
            columns.append(column.reshape(len(rows), *field.type.shape))
    ts_ns = np.arange(len(rows), dtype=np.int64)
    return EventBlock(schema, tuple(columns), tuple(validity), ts_ns, ts_ns, len(rows))


def rows_of(column: Column, valid: Bools | None) -> list[Any]:
    """The values of a column, None where null."""
    values = [column.value(row).decode() for row in range(len(column))] if isinstance(column, VarColumn) else column.tolist()
    return [value if valid is None or valid[row] else None for row, value in enumerate(values)]
