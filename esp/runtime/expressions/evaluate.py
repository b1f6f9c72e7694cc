"""The plan of an expression: a tree of typed nodes, each of which turns columns into one column and its validity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from esp.runtime.events import Bools, Column, EventBlock, VarColumn
from esp.runtime.expressions import strings
from esp.runtime.expressions.types import FLOAT, NULL
from esp.runtime.schema import FieldType

Value = tuple[Column, Bools | None]  # one row where it is the same for every event
Kernel = Callable[..., Column | tuple[Column, Bools]]  # columns -> a column, and where it is not null if that is not everywhere
NullKernel = Callable[..., Value]  # values -> a value


class Plan(Protocol):
    """A part of an expression."""

    @property
    def type(self) -> FieldType: ...

    def run(self, block: EventBlock) -> Value: ...


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A field of the event."""

    type: FieldType
    at: int

    def run(self, block: EventBlock) -> Value:
        return block.columns[self.at], block.validity[self.at]


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the text; ``value`` None is null."""

    type: FieldType
    value: "bool | int | float | str | None"

    def run(self, block: EventBlock) -> Value:
        valid = None if self.value is not None else np.zeros(1, np.bool_)
        if self.type.is_var:
            return VarColumn.of([str(self.value or "")]), valid
        if self.type == NULL or self.value is None:
            return np.zeros((1, *self.type.shape), np.bool_ if self.type == NULL else self.type.dtype), valid
        return np.array([self.value], self.type.dtype), valid


@dataclass(frozen=True, slots=True)
class Apply:
    """A kernel over columns: null where an argument is null, or where the kernel says so."""

    type: FieldType
    kernel: Kernel
    args: tuple[Plan, ...]

    def run(self, block: EventBlock) -> Value:
        values = [arg.run(block) for arg in self.args]
        valid = both(*(value[1] for value in values))
        result = self.kernel(*(value[0] for value in values))
        return (result[0], both(valid, result[1])) if isinstance(result, tuple) else (result, valid)


@dataclass(frozen=True, slots=True)
class ApplyNulls:
    """A kernel that sees the nulls and makes its own validity (and, or, if, coalesce, is None)."""

    type: FieldType
    kernel: NullKernel
    args: tuple[Plan, ...]

    def run(self, block: EventBlock) -> Value:
        return self.kernel(*(arg.run(block) for arg in self.args))


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: ``type`` is the type of its result; evaluating compiles nothing and touches no state."""

    text: str
    plan: Plan

    @property
    def type(self) -> FieldType:
        return self.plan.type

    def evaluate(self, block: EventBlock) -> tuple[Column, Bools | None]:
        """The result for every event, and where it is not null (None = everywhere); zeros stand where it is null."""
        with np.errstate(all="ignore"):
            column, valid = self.plan.run(block)
        n = len(block)
        if isinstance(self.plan, FieldRef):
            return column, valid
        column = _rows(column, n)
        valid = None if valid is None else np.broadcast_to(valid, n)
        if valid is None or bool(valid.all()):
            return column, None
        return _blank(column, valid), np.ascontiguousarray(valid)


def cast(plan: Plan, kind: FieldType) -> Plan:
    """The plan with its result as another type that can hold it."""
    if plan.type == kind:
        return plan
    if isinstance(plan, Literal) and plan.type == NULL:
        return Literal(kind, None)
    if isinstance(plan, Literal) and kind == FLOAT and plan.value is not None:
        return Literal(kind, float(plan.value))
    if plan.type.base == kind.base:  # stamps that differ in the unit of the wire
        return Apply(kind, lambda column: column, (plan,))
    return Apply(kind, lambda column: column.astype(kind.dtype), (plan,))


def both(*valids: Bools | None) -> Bools | None:
    """Where all are valid; None = everywhere."""
    masks = [valid for valid in valids if valid is not None]
    return None if not masks else masks[0] if len(masks) == 1 else np.logical_and.reduce(np.broadcast_arrays(*masks))


def _rows(column: Column, n: int) -> Column:
    if isinstance(column, VarColumn):
        return strings.spread(column, n)
    return np.ascontiguousarray(np.broadcast_to(column, (n, *column.shape[1:])))


def _blank(column: Column, valid: Bools) -> Column:
    if isinstance(column, VarColumn):
        return strings.blank(column, valid)
    column = column.copy()
    column[~valid] = 0
    return column
