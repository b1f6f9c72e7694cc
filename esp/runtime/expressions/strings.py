"""Strings and blobs as columns: equality, prefixes, joining and choosing over bytes, without an object an event."""

import operator
from collections.abc import Callable

import numpy as np

from esp.runtime.events import I64, U8, Bools, VarColumn

_ORDER: dict[str, Callable[[bytes, bytes], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def spread(column: VarColumn, n: int) -> VarColumn:
    """A column of one value as one of n; others stay."""
    return column if len(column) == n else column.take(np.zeros(n, np.int64))


def blank(column: VarColumn, valid: Bools) -> VarColumn:
    """The column with nothing where it is not valid."""
    empty = VarColumn.of([b""])
    rows = np.where(valid, np.arange(len(column)), len(column))
    return _stack(column, empty).take(rows)


def choose(take: Bools, left: VarColumn, right: VarColumn) -> VarColumn:
    """The left value where ``take`` is true, else the right."""
    n = _length(take, left, right)
    at_left = np.arange(n) if len(left) == n else np.zeros(n, np.int64)
    at_right = np.arange(n) if len(right) == n else np.zeros(n, np.int64)
    return _stack(left, right).take(np.where(take, at_left, at_right + len(left)))


def join(left: VarColumn, right: VarColumn) -> VarColumn:
    """Every left value with the right one after it."""
    n = _length(left, right)
    left, right = spread(left, n), spread(right, n)
    order = np.arange(2 * n).reshape(2, n).T.ravel()
    pairs = _stack(left, right).take(order)
    return VarColumn(pairs.offsets[::2].copy(), pairs.data)


def compare(sign: str, left: VarColumn, right: VarColumn) -> Bools:
    """``==``, ``!=`` and, in the order of code points (which is that of UTF-8), ``<``, ``<=``, ``>``, ``>=``."""
    n = _length(left, right)
    if sign in ("==", "!="):
        same = _same(left, left.offsets[:-1], right, right.offsets[:-1], _sizes(left), _sizes(right), n)
        return same if sign == "==" else ~same
    left, right = spread(left, n), spread(right, n)
    holds = _ORDER[sign]
    return np.fromiter((holds(left.value(row), right.value(row)) for row in range(n)), np.bool_, n)


def is_in(column: VarColumn, values: tuple[str, ...]) -> Bools:
    """Whether each is one of a few values."""
    result: Bools = np.logical_or.reduce([compare("==", column, VarColumn.of([value])) for value in values])
    return result


def startswith(column: VarColumn, prefix: VarColumn) -> Bools:
    n, size = _length(column, prefix), _sizes(prefix)
    cut = np.minimum(_sizes(column), size)
    return _same(column, column.offsets[:-1], prefix, prefix.offsets[:-1], cut, size, n)


def endswith(column: VarColumn, suffix: VarColumn) -> Bools:
    n, size = _length(column, suffix), _sizes(suffix)
    cut = np.minimum(_sizes(column), size)
    return _same(column, column.offsets[1:] - cut, suffix, suffix.offsets[:-1], cut, size, n)


def contains(part: VarColumn, column: VarColumn) -> Bools:
    """Whether ``part`` occurs in the value."""
    n = _length(part, column)
    part, column = spread(part, n), spread(column, n)
    return np.fromiter((part.value(row) in column.value(row) for row in range(n)), np.bool_, n)


def letters(column: VarColumn) -> I64:
    """How many code points each value has."""
    is_first = (column.data & 0xC0) != 0x80
    before = np.zeros(len(is_first) + 1, np.int64)
    np.cumsum(is_first, out=before[1:])
    return before[column.offsets[1:]] - before[column.offsets[:-1]]


def size_bytes(column: VarColumn) -> I64:
    """How many bytes each value has."""
    return _sizes(column)


def lower(column: VarColumn) -> VarColumn:
    return _shift(column, b"A", b"Z", 32) or mapped(column, str.lower)


def upper(column: VarColumn) -> VarColumn:
    return _shift(column, b"a", b"z", -32) or mapped(column, str.upper)


def mapped(column: VarColumn, change: Callable[[str], str]) -> VarColumn:
    """Every value changed by Python; the way for what bytes alone cannot tell."""
    return VarColumn.of([change(text).encode(errors="surrogateescape") for text in texts(column)])


def texts(column: VarColumn) -> list[str]:
    """The values as Python's strings."""
    return [column.value(row).decode(errors="surrogateescape") for row in range(len(column))]


def _shift(column: VarColumn, first: bytes, last: bytes, by: int) -> VarColumn | None:
    """ASCII letters moved to the other case; None when there is more than ASCII."""
    data: U8 = column.data
    if data.size and int(data.max()) >= 0x80:
        return None
    is_letter = (data >= first[0]) & (data <= last[0])
    return VarColumn(column.offsets, np.where(is_letter, data + np.uint8(by & 0xFF), data))


def _length(*columns: VarColumn | Bools) -> int:
    """The rows of columns of which some may hold one value for all."""
    sizes = {len(column) for column in columns} - {1}
    return sizes.pop() if sizes else 1


def _sizes(column: VarColumn) -> I64:
    return column.offsets[1:] - column.offsets[:-1]


def _stack(left: VarColumn, right: VarColumn) -> VarColumn:
    """The values of the one, then those of the other."""
    data = np.concatenate([part.data[part.offsets[0] : part.offsets[-1]] for part in (left, right)])
    middle = left.offsets[-1] - left.offsets[0]
    return VarColumn(np.concatenate([left.offsets - left.offsets[0], right.offsets[1:] - right.offsets[0] + middle]), data)


def _same(left: VarColumn, left_at: I64, right: VarColumn, right_at: I64, left_size: I64, right_size: I64, n: int) -> Bools:
    """Whether the bytes from ``left_at`` on are those from ``right_at`` on, and as many."""
    same = np.broadcast_to(left_size == right_size, n).copy()
    rows = np.flatnonzero(same)
    size = np.broadcast_to(left_size, n)[rows]
    ends = np.cumsum(size)
    step = np.arange(ends[-1] if len(ends) else 0)
    at = [np.repeat(np.broadcast_to(start, n)[rows] - ends + size, size) + step for start in (left_at, right_at)]
    differs = np.zeros(len(step) + 1, np.int64)
    np.cumsum(left.data[at[0]] != right.data[at[1]], out=differs[1:])
    same[rows] = differs[ends] == differs[ends - size]
    return same
