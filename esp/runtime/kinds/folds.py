"""Aggregates of a window: how they are written, what type they have, and how they are read off the folded state."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.errors import QueryError
from esp.kernels.windows import COUNT, INT_MAX, INT_MIN, INT_SUM, LOST, MAX, MEAN, MIN, MINUS_INF, NAN, PLUS_INF, SQUARES, SUM
from esp.runtime.events import I64, Bools
from esp.runtime.kinds.keyed import require_field
from esp.runtime.kinds.retractions import refuse_unretracted
from esp.runtime.kinds.window import Stream
from esp.runtime.schema import FieldType
from esp.runtime.state.tables import KeyedTable

F64 = npt.NDArray[np.float64]
_TEXT = re.compile(r"\s*(\w+)\s*(?:\(\s*([A-Za-z_]\w*|\*)\s*\))?\s*")
_WRAPPED = float(1 << 62)


@dataclass(frozen=True, slots=True)
class Folded:
    """The state of one field for some rows: counts int64[n, 4], reals float64[n, 6], ints int64[n, 3]."""

    counts: I64
    reals: F64
    ints: I64

    @property
    def is_finite(self) -> Bools:
        """No NaN and no infinity among the values."""
        finite: Bools = (self.counts[:, NAN:] == 0).all(axis=1)
        return finite

    def real_sum(self) -> F64:
        """The sum, as IEEE 754 adds: NaN and infinities count."""
        with np.errstate(all="ignore"):
            finite = np.where(np.isfinite(self.reals[:, LOST]), self.reals[:, SUM] + self.reals[:, LOST], self.reals[:, SUM])
        plus, minus = self.counts[:, PLUS_INF] > 0, self.counts[:, MINUS_INF] > 0
        special = np.select([(self.counts[:, NAN] > 0) | (plus & minus), plus, minus], [np.nan, np.inf, -np.inf], 0.0)
        return np.where(self.is_finite, finite, special)


def _count(folded: Folded, kind: FieldType) -> tuple[npt.NDArray[Any], Bools]:
    return folded.counts[:, COUNT], np.ones(len(folded.counts), np.bool_)


def _sum(folded: Folded, kind: FieldType) -> tuple[npt.NDArray[Any], Bools]:
    there = folded.counts[:, COUNT] > 0
    if kind.base in ("int32", "int64"):  # past int64 the sum is null: the wrapped one is far from the real one then
        total = folded.ints[:, INT_SUM]
        return total, there & (np.abs(folded.real_sum() - total) < _WRAPPED)
    return folded.real_sum(), there


def _mean(folded: Folded, kind: FieldType) -> tuple[npt.NDArray[Any], Bools]:
    n = folded.counts[:, COUNT]
    total = folded.real_sum()
    overflowed = folded.is_finite & ~np.isfinite(total)  # the sum of finite values is past float64; their mean is not
    return np.where(overflowed, folded.reals[:, MEAN], total / np.maximum(n, 1)), n > 0


def _std(folded: Folded, kind: FieldType) -> tuple[npt.NDArray[Any], Bools]:
    n = folded.counts[:, COUNT]
    std = np.sqrt(folded.reals[:, SQUARES] / np.maximum(n - 1, 1))
    return np.where(folded.is_finite, std, np.nan), n > 1


def _least(folded: Folded, kind: FieldType) -> tuple[npt.NDArray[Any], Bools]:
    return _extreme(folded, kind, INT_MIN, MIN, MINUS_INF, PLUS_INF)


def _greatest(folded: Folded, kind: FieldType) -> tuple[npt.NDArray[Any], Bools]:
    return _extreme(folded, kind, INT_MAX, MAX, PLUS_INF, MINUS_INF)


def _extreme(folded: Folded, kind: FieldType, exact: int, real: int, first: int, last: int) -> tuple[npt.NDArray[Any], Bools]:
    """``first`` is the infinity that beats all numbers, ``last`` the one that all numbers beat; NaN makes it NaN."""
    there = folded.counts[:, COUNT] > 0
    if kind.base not in ("float32", "float64"):
        return folded.ints[:, exact], there
    sign = 1.0 if first == PLUS_INF else -1.0
    has = folded.counts > 0
    numbers = folded.counts[:, COUNT] - folded.counts[:, NAN:].sum(axis=1) > 0
    choices = [has[:, NAN], has[:, first], ~numbers & has[:, last]]
    return np.select(choices, [np.nan, sign * np.inf, -sign * np.inf], folded.reals[:, real]), there


@dataclass(frozen=True, slots=True)
class _Kind:
    """An aggregate function: its reading of the state, its type (None = the field's), whether it can take a value back."""

    read: Callable[[Folded, FieldType], tuple[npt.NDArray[Any], Bools]]
    type: FieldType | None
    retracts: bool = True


_INT, _REAL = FieldType("int64"), FieldType("float64")
FOLDS: dict[str, _Kind] = {
    "count": _Kind(_count, _INT),
    "sum": _Kind(_sum, _REAL),  # int64 for integers
    "mean": _Kind(_mean, _REAL),
    "std": _Kind(_std, _REAL),
    "min": _Kind(_least, None, retracts=False),
    "max": _Kind(_greatest, None, retracts=False),
}


@dataclass(frozen=True, slots=True)
class Fold:
    """One aggregate: ``name = function(field)``; ``field`` is empty for ``count``."""

    name: str
    function: str
    field: str
    field_type: FieldType
    type: FieldType

    def result(self, table: KeyedTable, rows: I64, place: int) -> tuple[npt.NDArray[Any], Bools | None]:
        """The aggregate of some rows of the state table, and its validity; ``place`` is that of the field in the state."""
        if not self.field:
            return table.column("n")[rows], None
        folded = Folded(*(table.column(name)[rows, place] for name in ("counts", "reals", "ints")))
        values, valid = FOLDS[self.function].read(folded, self.field_type)
        values = np.where(valid, values, 0).astype(self.type.dtype)
        return values, None if valid.all() else valid


def parse_folds(aggregates: Mapping[str, str], stream: Stream, where: str) -> tuple[Fold, ...]:
    """Reads ``{n = "count", mean_p = "mean(probability)"}``; QueryError for the first one that cannot be."""
    return tuple(_parse(name, text, stream, f"{where}.{name}") for name, text in aggregates.items())


def _parse(name: str, text: str, stream: Stream, where: str) -> Fold:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise QueryError(f"'{name}' is no field name", where=where, mend="write letters, digits and underscores")
    match = _TEXT.fullmatch(text)
    if not match or match[1] not in FOLDS:
        near = difflib.get_close_matches(match[1], FOLDS, 1) if match else []
        mend = (
            f"did you mean '{near[0]}'?"
            if near
            else "write count, or count, sum, mean, min, max or std of a field: mean(probability)"
        )
        raise QueryError(f"'{text}' is no aggregate", where=where, mend=mend)
    function, field = match[1], match[2] or "*"
    if field == "*":
        if function != "count":
            raise QueryError(f"{function} of what?", where=where, mend=f"write {function}(FIELD)")
        return Fold(name, function, "", _INT, _INT)
    require_field(stream, field, where)
    refuse_unretracted((field,), stream, where)
    kind = stream.schema[field].type
    _check(function, field, kind, stream, where)
    result = FOLDS[function].type or kind
    return Fold(name, function, field, kind, _INT if function == "sum" and kind.base in ("int32", "int64") else result)


def _check(function: str, field: str, kind: FieldType, stream: Stream, where: str) -> None:
    has_order = kind.is_number or kind.base in ("stamp", "date")
    if not (function == "count" or kind.is_number or (function in ("min", "max") and has_order)):
        raise QueryError(
            f"{function}({field}): '{field}' is a {kind}, not a number", where=where, mend="take a number, or count it"
        )
    if stream.retracts and not FOLDS[function].retracts:
        raise QueryError(
            f"{function}({field}) cannot take back what the window before it deletes", where=where,
            mend="use count, sum, mean or std, or aggregate the events from before they are retained",
        )  # fmt: skip
