"""What is wrong with msgpack records that the decoder has refused: whether one is whole, and which field has a value that cannot be its own.

Every position is checked against the end of the record. Whoever takes extension types, integers past int64 or depth finds nothing said of them.
"""

import numpy as np

from esp.kernels.columns import find_field
from esp.kernels.compile import kernel, part
from esp.kernels.judge import SIGNATURE, SOUND, Readers, place_of, row_judge
from esp.kernels.msgpack import REFUSED, _binary, _container, _number, _text
from esp.kernels.verdicts import (
    ARRAY,
    BEHIND,
    BYTES,
    DEEP,
    DEEPEST,
    ENDS,
    FALSE,
    FLOAT,
    INT,
    NO_UTF8,
    NO_VALUE,
    NULL,
    TEXT,
    TRUE,
    UNEXPECTED,
    UNJUDGED,
    broken_utf8,
)
from esp.kernels.words import load_u8, stand_alone

_NO_CONTAINER, _IS_ARRAY, _IS_MAP = 0, 1, 2
_NIL, _NEVER, _FALSE, _TRUE, _BIN8, _BIN32, _EXT8, _EXT32 = 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC6, 0xC7, 0xC9
_FIXEXT1, _FIXEXT16, _STR8, _STR32, _ARRAY16 = 0xD4, 0xD8, 0xD9, 0xDB, 0xDC
_MOST_CONTAINERS = 256  # so many cannot be nested deeper than the library takes


@part
def _leaf(p: int, end: int) -> tuple[int, int]:
    """(SOUND, position after a value that holds no others), or (what is wrong, where)."""
    lead = load_u8(p)
    if lead == _NEVER:
        return UNEXPECTED, p
    if lead == _NIL or lead & 0xFE == _FALSE:
        return SOUND, p + 1
    if _EXT8 <= lead <= _EXT32 or _FIXEXT1 <= lead <= _FIXEXT16:
        return UNJUDGED, p
    if 0xA0 <= lead <= 0xBF or _STR8 <= lead <= _STR32:
        at, size = _text(p, end)
        if at == REFUSED:
            return ENDS, p
        wrong = broken_utf8(at, at + size)
        return (SOUND, at + size) if wrong == at + size else (NO_UTF8, wrong)
    if _BIN8 <= lead <= _BIN32:
        at, size = _binary(p, end)
        return (SOUND, at + size) if at != REFUSED else (ENDS, p)
    if lead >= _ARRAY16 and lead < 0xE0:  # the head of a container, cut off
        return ENDS, p
    size = 0 if lead < 0x80 or lead >= 0xE0 else 4 if lead == 0xCA else 8 if lead == 0xCB else 1 << (lead & 3)
    return (SOUND, p + 1 + size) if p + 1 + size <= end else (ENDS, p)


@part
def _pass(p: int, end: int) -> tuple[int, int]:
    """(SOUND, position after a value and all that it holds), or (what is wrong, where)."""
    stand_alone()
    left, containers, run = 1, 0, 0
    while left > 0:
        if p >= end:
            return ENDS, p
        kind, count, after = _container(p, end)
        if kind == _NO_CONTAINER:
            found, after = _leaf(p, end)
            if found != SOUND:
                return found, after
            run = 0
        else:
            run = run + 1 if count > 0 else 0
            containers += 1
            left += count * kind
            if left - 1 > end - after:
                return ENDS, p
            if run > DEEPEST:
                return DEEP, p
        left, p = left - 1, after
    return (SOUND, p) if containers <= _MOST_CONTAINERS else (UNJUDGED, p)


@part
def _holds_arrays(p: int, count: int, end: int) -> bool:
    for _ in range(count):
        if _container(p, end)[0] != _NO_CONTAINER:
            return True
        p = _leaf(p, end)[1]
    return False


@part
def _look(p: int, end: int) -> tuple[int, int, float, int, int]:
    """As ``Readers`` has it."""
    stand_alone()
    lead = load_u8(p)
    if lead == _NIL:
        return NULL, 0, 0.0, 0, 0
    if lead & 0xFE == _FALSE:
        return TRUE if lead == _TRUE else FALSE, 0, 0.0, 0, 0
    at, size = _text(p, end)
    if at != REFUSED:
        return TEXT, 0, 0.0, at, size
    at, size = _binary(p, end)
    if at != REFUSED:
        return BYTES, size, 0.0, at, size
    kind, count, after = _container(p, end)
    if kind == _IS_ARRAY:
        return ARRAY, count, 0.0, after, int(_holds_arrays(after, count, end))
    if kind == _IS_MAP:
        return UNJUDGED, count, 0.0, after, 0
    kind, whole, real, _ = _number(p, end)
    return UNJUDGED if kind == 0 else INT if kind == 1 else FLOAT, whole, real, 0, 0


@part
def _past(p: int, end: int) -> int:
    return _leaf(p, end)[1]


@part
def _record(fields: np.ndarray, seen: np.ndarray, p: int, end: int) -> tuple[int, int]:
    """Notes in ``seen`` where the last value of each field begins: (SOUND, end), or (what is wrong, where)."""
    if p >= end:
        return ENDS, p
    for field in range(fields.shape[0]):
        seen[field] = 0
    kind, count, after = _container(p, end)
    if kind == _NO_CONTAINER:
        found, after = _pass(p, end)
        return (found, after) if found != SOUND else (BEHIND if after < end else UNJUDGED, after)
    if count * kind > end - after:
        return ENDS, p
    p = after
    for place in range(count):
        field = place if place < fields.shape[0] else -1
        if kind == _IS_MAP:
            found, after = _pass(p, end)
            if found != SOUND:
                return found, after
            name, size = _text(p, end)
            field = find_field(fields, place, name, size) if name != REFUSED else -1
            p = after
        if field >= 0:
            seen[field] = p
        found, p = _pass(p, end)
        if found != SOUND:
            return found, p
    return (SOUND, p) if p == end else (BEHIND, p)


_judge_row = row_judge(Readers("msgpack", _NIL, False, _look, _past))


@kernel(SIGNATURE)
def judge(job: np.ndarray, fields: np.ndarray, rows: np.ndarray, faults: np.ndarray, seen: np.ndarray) -> None:
    for at in range(len(rows)):
        start, size = place_of(job, rows[at])
        found, place = _record(fields, seen, start, start + size) if size >= 0 else (NO_VALUE, start)
        _judge_row(fields, seen, faults, at, start, start + size, found, place)
