"""What is wrong with msgpack records that the decoder has refused: whether one is whole, and which field has a value that cannot be its own.

Every position is checked against the end of the record. Whoever takes extension types, integers past int64 or depth finds nothing said of them.
"""

import numpy as np

from esp.kernels.columns import BASE, BOOL, COUNT, DEFAULT, IS_KEY, SIZE, TYPE, UNIT, VALUE_AT, VALUE_SIZE, find_field
from esp.kernels.compile import kernel, part
from esp.kernels.msgpack import REFUSED, _binary, _container, _number, _text
from esp.kernels.verdicts import (
    ARRAY,
    BAD,
    BEHIND,
    BYTES,
    DEEP,
    DEEPEST,
    ENDS,
    FALSE,
    FLOAT,
    GOOD,
    INT,
    NO_UTF8,
    NO_VALUE,
    NOTHING,
    NULL,
    NUMBER,
    TEXT,
    TRUE,
    UNEXPECTED,
    UNJUDGED,
    UNSURE,
    blame,
    broken_utf8,
    fits,
)
from esp.kernels.verdicts import COUNT as OF_COUNT
from esp.kernels.words import load_i64, load_u8, stand_alone

_SOUND = -1
_NO_CONTAINER, _IS_ARRAY, _IS_MAP = 0, 1, 2
_NIL, _NEVER, _FALSE, _TRUE, _BIN8, _BIN32, _EXT8, _EXT32 = 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC6, 0xC7, 0xC9
_FIXEXT1, _FIXEXT16, _STR8, _STR32, _ARRAY16 = 0xD4, 0xD8, 0xD9, 0xDB, 0xDC
_MOST_CONTAINERS = 256  # so many cannot be nested deeper than the library takes


@part
def _leaf(p: int, end: int) -> tuple[int, int]:
    """(_SOUND, position after a value that holds no others), or (what is wrong, where)."""
    lead = load_u8(p)
    if lead == _NEVER:
        return UNEXPECTED, p
    if lead == _NIL or lead & 0xFE == _FALSE:
        return _SOUND, p + 1
    if _EXT8 <= lead <= _EXT32 or _FIXEXT1 <= lead <= _FIXEXT16:
        return UNJUDGED, p
    if 0xA0 <= lead <= 0xBF or _STR8 <= lead <= _STR32:
        at, size = _text(p, end)
        if at == REFUSED:
            return ENDS, p
        wrong = broken_utf8(at, at + size)
        return (_SOUND, at + size) if wrong == at + size else (NO_UTF8, wrong)
    if _BIN8 <= lead <= _BIN32:
        at, size = _binary(p, end)
        return (_SOUND, at + size) if at != REFUSED else (ENDS, p)
    if lead >= _ARRAY16 and lead < 0xE0:  # the head of a container, cut off
        return ENDS, p
    size = 0 if lead < 0x80 or lead >= 0xE0 else 4 if lead == 0xCA else 8 if lead == 0xCB else 1 << (lead & 3)
    return (_SOUND, p + 1 + size) if p + 1 + size <= end else (ENDS, p)


@part
def _pass(p: int, end: int) -> tuple[int, int]:
    """(_SOUND, position after a value and all that it holds), or (what is wrong, where)."""
    stand_alone()
    left, containers, run = 1, 0, 0
    while left > 0:
        if p >= end:
            return ENDS, p
        kind, count, after = _container(p, end)
        if kind == _NO_CONTAINER:
            found, after = _leaf(p, end)
            if found != _SOUND:
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
    return (_SOUND, p) if containers <= _MOST_CONTAINERS else (UNJUDGED, p)


@part
def _look(p: int, end: int) -> tuple[int, int, float, int, int]:
    """What a sound value is: (found, integer or how many it holds, float, where its bytes lie, their size)."""
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
    if kind != _NO_CONTAINER:
        return ARRAY if kind == _IS_ARRAY else UNJUDGED, count, 0.0, after, 0
    kind, whole, real, _ = _number(p, end)
    return UNJUDGED if kind == 0 else INT if kind == 1 else FLOAT, whole, real, 0, 0


@part
def _tensor(fields: np.ndarray, field: int, faults: np.ndarray, row: int, base: int, p: int, end: int) -> int:
    """Judges the value of a tensor."""
    stand_alone()
    found, whole, real, at, size = _look(p, end)
    if found == UNJUDGED:
        return UNSURE
    if found == BYTES and size == fields[field, SIZE]:
        return UNSURE if fields[field, TYPE] == BOOL else GOOD
    if found == ARRAY and _holds_arrays(at, whole, end):
        return UNSURE
    if found == ARRAY and whole == fields[field, COUNT]:
        return _elements(fields, field, faults, row, p - base, at, end)
    return BAD if blame(faults, row, field, found, p - base, whole, real, at, size) else UNSURE


@part
def _holds_arrays(p: int, count: int, end: int) -> bool:
    for _ in range(count):
        if _container(p, end)[0] != _NO_CONTAINER:
            return True
        p = _leaf(p, end)[1]
    return False


@part
def _elements(fields: np.ndarray, field: int, faults: np.ndarray, row: int, place: int, p: int, end: int) -> int:
    """Judges the numbers of a tensor, of which there are as many as there should be."""
    code = fields[field, TYPE]
    is_float = code != BOOL and fits(code, 0, FLOAT, 0, 0.5, 0, 0, False) == GOOD
    for number in range(fields[field, COUNT]):
        found, whole, real, at, size = _look(p, end)
        if found == NULL and not is_float:
            return UNSURE
        verdict = GOOD if found == NULL else fits(code, 0, found, whole, real, at, size, False)
        if verdict == BAD:
            if not blame(faults, row, field, found, place, whole, real, at, size):
                return UNSURE
            faults[row, NUMBER], faults[row, OF_COUNT] = number + 1, fields[field, COUNT]
        if verdict != GOOD:
            return verdict
        p = _leaf(p, end)[1]
    return GOOD


@part
def _fields(fields: np.ndarray, seen: np.ndarray, faults: np.ndarray, row: int, start: int, end: int) -> None:
    """Blames the first field whose value does not fit; nothing where one before it may or may not."""
    for field in range(fields.shape[0]):
        p, place = seen[field], seen[field] - start
        found = NOTHING if p == 0 else NULL if load_u8(p) == _NIL else UNJUDGED
        if found != UNJUDGED:
            if fields[field, DEFAULT] == 0 and fields[field, IS_KEY] != 0:
                blame(faults, row, fields.shape[0] + field, found, place if p != 0 else -1, 0, 0.0, 0, 0)
                return
            continue
        if fields[field, COUNT] > 0:
            verdict = _tensor(fields, field, faults, row, start, p, end)
        else:
            found, whole, real, at, size = _look(p, end)
            verdict = fits(fields[field, TYPE], fields[field, UNIT], found, whole, real, at, size, False)
            if verdict == BAD:
                blame(faults, row, field, found, place, whole, real, at, size)
        if verdict != GOOD:
            return


@part
def _record(fields: np.ndarray, seen: np.ndarray, p: int, end: int) -> tuple[int, int]:
    """Notes in ``seen`` where the last value of each field begins: (_SOUND, end), or (what is wrong, where)."""
    for field in range(fields.shape[0]):
        seen[field] = 0
    kind, count, after = _container(p, end)
    if kind == _NO_CONTAINER:
        found, after = _pass(p, end)
        return (found, after) if found != _SOUND else (BEHIND if after < end else UNJUDGED, after)
    if count * kind > end - after:
        return ENDS, p
    p = after
    for place in range(count):
        field = place if place < fields.shape[0] else -1
        if kind == _IS_MAP:
            found, after = _pass(p, end)
            if found != _SOUND:
                return found, after
            name, size = _text(p, end)
            field = find_field(fields, place, name, size) if name != REFUSED else -1
            p = after
        if field >= 0:
            seen[field] = p
        found, p = _pass(p, end)
        if found != _SOUND:
            return found, p
    return (_SOUND, p) if p == end else (BEHIND, p)


# job and fields as in columns.py, rows int64[n] of the job; faults int64[n, FAULT_WIDTH], zeros; seen int64[F]. The heads of a fault are those of
# the fields, then of fields that may not be missing, then of a record that is none, then of one without a value.
@kernel("void(int64[::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[::1])")
def judge(job: np.ndarray, fields: np.ndarray, rows: np.ndarray, faults: np.ndarray, seen: np.ndarray) -> None:
    count = fields.shape[0]
    for at in range(len(rows)):
        size = load_i64(job[VALUE_SIZE] + 8 * rows[at])
        start = job[BASE] + load_i64(job[VALUE_AT] + 8 * rows[at])
        if size < 0:
            blame(faults, at, 2 * count + 1, NO_VALUE, -1, 0, 0.0, 0, 0)
            continue
        found, place = _record(fields, seen, start, start + size) if size > 0 else (ENDS, start)
        if found == _SOUND:
            _fields(fields, seen, faults, at, start, start + size)
        elif found != UNJUDGED:
            byte = load_u8(place) if found == UNEXPECTED else 0
            blame(faults, at, 2 * count, found, place - start, byte, 0.0, 0, 0)
