"""Blocks put together out of columns: what several kinds need to build what they emit."""

import numpy as np

from esp.runtime.events import Bools, Column, EventBlock, VarColumn
from esp.runtime.schema import Schema


def empty_column(schema: Schema, at: int) -> Column:
    """No values of field ``at``."""
    kind = schema.fields[at].type
    return VarColumn.of([]) if kind.is_var else np.empty((0, *kind.shape), kind.dtype)


def empty_block(schema: Schema, end_watermark_ns: int) -> EventBlock:
    """No events: only the watermark moves."""
    none = np.empty(0, np.int64)
    columns = tuple(empty_column(schema, at) for at in range(len(schema)))
    return EventBlock(schema, columns, (None,) * len(schema), none, none, end_watermark_ns)


def joined(first: Column, second: Column) -> Column:
    """Two columns of one type as one."""
    if isinstance(first, VarColumn) and isinstance(second, VarColumn):
        offsets = np.concatenate((first.offsets, second.offsets[1:] + (first.offsets[-1] - second.offsets[0])))
        start, end = second.offsets[0], second.offsets[-1]
        return VarColumn(offsets, np.concatenate((first.data[: first.offsets[-1]], second.data[start:end])))
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    return np.concatenate((first, second))


def joined_validity(first: Bools | None, n_first: int, second: Bools | None, n_second: int) -> Bools | None:
    """The validity of two columns joined; None where neither has nulls."""
    if first is None and (second is None or second.all()):
        return None
    left = np.ones(n_first, np.bool_) if first is None else first
    return np.concatenate((left, np.ones(n_second, np.bool_) if second is None else second))
