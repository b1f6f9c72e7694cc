"""The table of functions: what each takes, and the plan of a call; a row gives None when the arguments do not fit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from esp.runtime.events import Bools, Column, VarColumn
from esp.runtime.expressions import arithmetic, stamps, strings
from esp.runtime.expressions.evaluate import Apply, ApplyNulls, Kernel, Literal, Plan, cast
from esp.runtime.expressions.nulls import coalesce
from esp.runtime.expressions.types import BLOB, BOOL, DATE, FLOAT, FLOAT32, INT, INT32, NULL, STAMP, STRING, common, is_int, number
from esp.runtime.schema import FieldType

Build = Callable[..., Plan | None]
MAX_DIGITS = 15  # of round(x, digits)


@dataclass(frozen=True, slots=True)
class Function:
    """A function: how it is written, how many arguments it takes, and what makes its plan."""

    usage: str
    build: Build
    least: int = 1
    most: int = 1


def _real(compute: Callable[..., arithmetic.F64]) -> Build:
    """A function of floats as ``math`` has it."""

    def build(*args: Plan) -> Plan | None:
        if number(*(arg.type for arg in args)) is None:
            return None
        return Apply(FLOAT, partial(arithmetic.total, compute), tuple(cast(arg, FLOAT) for arg in args))

    return build


def _whole(shorten: Callable[[arithmetic.F64], arithmetic.F64]) -> Build:
    """A function from a number to an int."""

    def build(arg: Plan) -> Plan | None:
        if not arg.type.is_number:
            return None
        return cast(arg, INT) if is_int(arg.type) else Apply(INT, partial(arithmetic.to_int, shorten), (cast(arg, FLOAT),))

    return build


def _text(result: FieldType, kernel: Kernel) -> Build:
    """A function of strings alone."""

    def build(*args: Plan) -> Plan | None:
        return Apply(result, kernel, args) if all(arg.type == STRING for arg in args) else None

    return build


def _reduction(kernel: Kernel, result: FieldType | None = None) -> Build:
    """A function from a tensor to a number: of the type said, or the wider one of its elements."""

    def build(arg: Plan) -> Plan | None:
        if not arg.type.shape or arg.type.base == "bool":
            return None
        return Apply(result or (FLOAT if arg.type.dtype.kind == "f" else INT), kernel, (arg,))

    return build


def _extreme(kernel: Kernel, pick: np.ufunc) -> Build:
    """min or max: of a tensor's elements, or of two and more values."""
    of_tensor = _reduction(partial(arithmetic.tensor_extreme, pick))

    def build(*args: Plan) -> Plan | None:
        if len(args) == 1:
            return of_tensor(args[0])
        kind = common(*(arg.type for arg in args))
        if kind is None or kind.shape or kind in (NULL, BOOL, STRING, BLOB):
            return None
        return Apply(kind, kernel, tuple(cast(arg, kind) for arg in args))

    return build


def _abs(arg: Plan) -> Plan | None:
    kind = number(arg.type)
    return None if kind is None else Apply(kind, arithmetic.absolute, (cast(arg, kind),))


def _round(arg: Plan, digits: Plan | None = None) -> Plan | None:
    if digits is None:
        return _whole(np.rint)(arg)
    count = digits.value if isinstance(digits, Literal) else None
    if not arg.type.is_number or type(count) is not int or not 0 <= count <= MAX_DIGITS:
        return None
    return cast(arg, INT) if is_int(arg.type) else Apply(FLOAT, partial(arithmetic.round_to, digits=count), (cast(arg, FLOAT),))


def _isnan(arg: Plan) -> Plan | None:
    return Apply(BOOL, np.isnan, (cast(arg, FLOAT),)) if arg.type.is_number else None


def _coalesce(*args: Plan) -> Plan | None:
    kind = common(*(arg.type for arg in args))
    return None if kind is None else ApplyNulls(kind, coalesce, tuple(cast(arg, kind) for arg in args))


def _bool(arg: Plan) -> Plan | None:
    if arg.type == BOOL:
        return arg
    if arg.type == STRING:
        return Apply(BOOL, lambda column: strings.size_bytes(column) > 0, (arg,))
    return Apply(BOOL, lambda column: column != 0, (arg,)) if arg.type.is_number else None


def _int(arg: Plan) -> Plan | None:
    if arg.type == STRING:
        return Apply(INT, partial(_read, int, np.int64), (arg,))
    return cast(arg, INT) if arg.type == BOOL else _whole(np.trunc)(arg)


def _float(arg: Plan) -> Plan | None:
    if arg.type == STRING:
        return Apply(FLOAT, partial(_read, float, np.float64), (arg,))
    return cast(arg, FLOAT) if arg.type.is_number or arg.type == BOOL else None


def _narrow(kind: FieldType) -> Build:
    """int32() and float32(), named as in numpy, for fields that have to be narrow."""

    def build(arg: Plan) -> Plan | None:
        wide = number(arg.type)
        if wide is None or (kind == INT32 and wide != INT):
            return None
        return (
            arg if arg.type == kind else cast(arg, kind) if kind == FLOAT32 else Apply(kind, arithmetic.to_int32, (cast(arg, INT),))
        )

    return build


def _read(convert: "type[int] | type[float]", dtype: type[np.generic], column: VarColumn) -> tuple[Column, Bools]:
    """Numbers that stand as text; null where Python cannot read them."""
    values = np.zeros(len(column), dtype)
    is_read = np.zeros(len(column), np.bool_)
    for row, text in enumerate(strings.texts(column)):
        try:
            values[row] = convert(text)
            is_read[row] = True
        except (ValueError, OverflowError):
            continue
    return values, is_read


def _str(arg: Plan) -> Plan | None:
    if arg.type == STRING:
        return arg
    kind = BOOL if arg.type == BOOL else number(arg.type)
    if kind is None:
        return None
    return Apply(STRING, lambda column: VarColumn.of([str(value) for value in column.tolist()]), (cast(arg, kind),))


def _len(arg: Plan) -> Plan | None:
    kernel = strings.letters if arg.type == STRING else strings.size_bytes
    return Apply(INT, kernel, (arg,)) if arg.type.is_var else None


def _stamp(arg: Plan) -> Plan | None:
    return _moment(arg, STAMP, stamps.read_stamp)


def _date(arg: Plan) -> Plan | None:
    return Apply(DATE, stamps.to_date, (arg,)) if arg.type.base == "stamp" else _moment(arg, DATE, stamps.read_date)


def _moment(arg: Plan, kind: FieldType, read: Callable[[str], int]) -> Plan | None:
    try:
        return Literal(kind, read(arg.value)) if isinstance(arg, Literal) and isinstance(arg.value, str) else None
    except ValueError:
        return None


def _clock(part: str) -> Build:
    def build(arg: Plan) -> Plan | None:
        return Apply(INT, partial(stamps.clock_part, part=part), (arg,)) if arg.type.base == "stamp" else None

    return build


def _calendar(part: str) -> Build:
    def build(arg: Plan) -> Plan | None:
        day = _date(arg) if arg.type.base == "stamp" else arg
        return Apply(INT, partial(stamps.calendar_part, part=part), (day,)) if day and day.type == DATE else None

    return build


MANY = 255
FUNCTIONS: dict[str, Function] = {
    "abs": Function("abs(number)", _abs),
    "min": Function(
        "min(a, b, ...) of numbers, stamps or dates, or min(tensor)", _extreme(arithmetic.minimum, np.minimum), 1, MANY
    ),
    "max": Function(
        "max(a, b, ...) of numbers, stamps or dates, or max(tensor)", _extreme(arithmetic.maximum, np.maximum), 1, MANY
    ),
    "round": Function(f"round(number) or round(number, digits) with 0 to {MAX_DIGITS} digits", _round, 1, 2),
    "floor": Function("floor(number)", _whole(np.floor)),
    "ceil": Function("ceil(number)", _whole(np.ceil)),
    "sqrt": Function("sqrt(number)", _real(np.sqrt)),
    "exp": Function("exp(number)", _real(np.exp)),
    "log": Function("log(number)", _real(np.log)),
    "log2": Function("log2(number)", _real(np.log2)),
    "log10": Function("log10(number)", _real(np.log10)),
    "sin": Function("sin(number)", _real(np.sin)),
    "cos": Function("cos(number)", _real(np.cos)),
    "tan": Function("tan(number)", _real(np.tan)),
    "atan2": Function("atan2(y, x)", _real(np.arctan2), 2, 2),
    "isnan": Function("isnan(number)", _isnan),
    "coalesce": Function("coalesce(a, b, ...) of one type", _coalesce, 1, MANY),
    "bool": Function("bool(number or string)", _bool),
    "int": Function("int(number, bool or string)", _int),
    "float": Function("float(number, bool or string)", _float),
    "int32": Function("int32(int)", _narrow(INT32)),
    "float32": Function("float32(number)", _narrow(FLOAT32)),
    "str": Function("str(number, bool or string)", _str),
    "len": Function("len(string or blob)", _len),
    "lower": Function("lower(string)", _text(STRING, strings.lower)),
    "upper": Function("upper(string)", _text(STRING, strings.upper)),
    "strip": Function("strip(string)", _text(STRING, partial(strings.mapped, change=str.strip))),
    "startswith": Function("startswith(string, string)", _text(BOOL, strings.startswith), 2, 2),
    "endswith": Function("endswith(string, string)", _text(BOOL, strings.endswith), 2, 2),
    "sum": Function("sum(tensor)", _reduction(arithmetic.tensor_sum)),
    "mean": Function("mean(tensor)", _reduction(arithmetic.tensor_mean, FLOAT)),
    "norm": Function("norm(tensor)", _reduction(arithmetic.tensor_norm, FLOAT)),
    "stamp": Function("stamp('2026-01-31T12:00:00Z'), of a literal", _stamp),
    "date": Function("date(stamp), or date('2026-01-31') of a literal", _date),
    "year": Function("year(stamp or date)", _calendar("year")),
    "month": Function("month(stamp or date)", _calendar("month")),
    "day": Function("day(stamp or date)", _calendar("day")),
    "weekday": Function("weekday(stamp or date)", _calendar("weekday")),
    "hour": Function("hour(stamp)", _clock("hour")),
    "minute": Function("minute(stamp)", _clock("minute")),
    "second": Function("second(stamp)", _clock("second")),
}
METHODS = ("lower", "upper", "strip", "startswith", "endswith")  # s.lower() is lower(s)
