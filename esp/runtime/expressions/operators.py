"""The operators: which types each takes, and the plan of what it computes."""

from functools import partial

import numpy as np

from esp.runtime.events import Bools, Column, VarColumn
from esp.runtime.expressions import arithmetic, stamps, strings
from esp.runtime.expressions.evaluate import Apply, Kernel, Literal, Plan, Value, both, cast
from esp.runtime.expressions.nulls import Logic, conjunction
from esp.runtime.expressions.types import DATE, FLOAT, INT, number

_COMPARE = {"==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_ARITHMETIC: dict[str, Kernel] = {
    "+": arithmetic.add, "-": arithmetic.subtract, "*": arithmetic.multiply, "//": arithmetic.floor_divide, "%": arithmetic.modulo,
}  # fmt: skip


def numbers(sign: str, left: Plan, right: Plan) -> Plan | None:
    """Arithmetic of numbers; None when they are none."""
    kind = number(left.type, right.type)
    if kind is None:
        return None
    if sign == "**" and kind == INT and isinstance(right, Literal) and isinstance(right.value, int) and right.value >= 0:
        return Apply(INT, partial(arithmetic.int_power, exponent=right.value), (cast(left, INT),))
    if sign in ("/", "**"):
        return Apply(FLOAT, arithmetic.divide if sign == "/" else arithmetic.power, (cast(left, FLOAT), cast(right, FLOAT)))
    return Apply(kind, _ARITHMETIC[sign], (cast(left, kind), cast(right, kind)))


def moments(sign: str, left: Plan, right: Plan) -> Plan | None:
    """Arithmetic of stamps and dates; None when it is none."""
    is_stamp = left.type.base == "stamp"
    if sign == "-" and left.type == right.type == DATE:
        return Apply(INT, stamps.days_between, (left, right))
    if sign == "-" and is_stamp and right.type.base == "stamp":
        return Apply(FLOAT, stamps.seconds_between, (left, right))
    kind = number(right.type)
    if sign in ("+", "-") and is_stamp and kind:
        return Apply(left.type, partial(stamps.later_by, sign=1 if sign == "+" else -1), (left, cast(right, kind)))
    return None


def compare(sign: str, left: Column, right: Column) -> Bools:
    if isinstance(left, VarColumn) or isinstance(right, VarColumn):
        assert isinstance(left, VarColumn)
        assert isinstance(right, VarColumn)
        return strings.compare(sign, left, right)
    result: Bools = _COMPARE[sign](left, right)
    return result


def chain(signs: list[str], *values: Value) -> Logic:
    """``a < b <= c``: each neighbour compared, joined by 'and'."""
    return conjunction(*((compare(sign, a[0], b[0]), both(a[1], b[1])) for sign, a, b in zip(signs, values, values[1:])))
