"""SQL's three-valued logic as kernels that see the nulls: and, or, if, coalesce, is None."""

import numpy as np

from esp.runtime.events import Bools, Column, VarColumn
from esp.runtime.expressions import strings
from esp.runtime.expressions.evaluate import Value, both

Logic = tuple[Bools, Bools | None]


def conjunction(*values: Logic) -> Logic:
    """False where one is false, else null where one is null, else true."""
    is_false = np.logical_or.reduce(np.broadcast_arrays(*(_surely(~column, valid) for column, valid in values)))
    valid = both(*(valid for _, valid in values))
    return ~is_false, None if valid is None else valid | is_false


def disjunction(*values: Logic) -> Logic:
    """True where one is true, else null where one is null, else false."""
    is_true = np.logical_or.reduce(np.broadcast_arrays(*(_surely(column, valid) for column, valid in values)))
    valid = both(*(valid for _, valid in values))
    return is_true, None if valid is None else valid | is_true


def choose(condition: Logic, then: Value, other: Value) -> Value:
    """``then`` where the condition is true, ``other`` where it is false or null (SQL's CASE)."""
    return _pick(_surely(*condition), then, other)


def coalesce(first: Value, *others: Value) -> Value:
    """The first that is not null."""
    for other in others:
        if first[1] is None:
            return first
        first = _pick(first[1], first, other)
    return first


def is_null(value: Value) -> Logic:
    column, valid = value
    return (np.zeros(len(column), np.bool_) if valid is None else ~valid), None


def is_not_null(value: Value) -> Logic:
    return ~is_null(value)[0], None


def _surely(column: Bools, valid: Bools | None) -> Bools:
    """True where it is true and not null."""
    return column if valid is None else column & valid


def _pick(take: Bools, left: Value, right: Value) -> Value:
    valid = None
    if left[1] is not None or right[1] is not None:
        valid = np.where(take, True if left[1] is None else left[1], True if right[1] is None else right[1])
    return _select(take, left[0], right[0]), valid


def _select(take: Bools, left: Column, right: Column) -> Column:
    if isinstance(left, VarColumn) or isinstance(right, VarColumn):
        assert isinstance(left, VarColumn)
        assert isinstance(right, VarColumn)
        return strings.choose(take, left, right)
    return np.where(take.reshape(-1, *[1] * (left.ndim - 1)), left, right)
