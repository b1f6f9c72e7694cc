"""What is wrong with JSON records that the decoder has refused: where the text stops being JSON, or which field has a value that cannot be its own.

Every position is checked against the end of the record. Whoever takes broken escapes, numbers near the end of the floats, keys with escapes or
deep values finds nothing said of them.
"""

import numpy as np

from esp.kernels.columns import find_field
from esp.kernels.compile import kernel, part
from esp.kernels.escapes import _read_escape
from esp.kernels.judge import SIGNATURE, SOUND, Readers, place_of, row_judge
from esp.kernels.numbers import IS_INT, NO_NUMBER, parse_number
from esp.kernels.text import skip_space, special_marks
from esp.kernels.verdicts import (
    ARRAY,
    BEHIND,
    CONTROL,
    DEEP,
    DEEPEST,
    ENDS,
    FALSE,
    FLOAT,
    HUGE,
    INT,
    NO_UTF8,
    NO_VALUE,
    NULL,
    OBJECT,
    TEXT,
    TRUE,
    UNEXPECTED,
    UNJUDGED,
    broken_utf8,
)
from esp.kernels.words import load_u8, load_u64, stand_alone, trailing_zeros

_QUOTE, _COMMA, _POINT, _ZERO, _COLON, _SLASH, _OPEN, _CLOSE, _START, _STOP = 34, 44, 46, 48, 58, 92, 91, 93, 123, 125
_F, _N, _T = 102, 110, 116
_FALSE, _NULL, _TRUE = 0x65736C6166, 0x6C6C756E, 0x65757274  # the words as little-endian numbers
_LEVELS = 60  # each takes one bit of a word
_TENS = 309  # a number of more digits is past all floats
_MOST_POWER = 100_000


@part
def _letter(p: int, end: int) -> int:
    """The byte at p; -1 at the end."""
    return load_u8(p) if p < end else -1


@part
def _wrong(p: int, end: int) -> tuple[int, int]:
    """What is wrong where another byte was wanted, and where."""
    return UNEXPECTED if p < end else ENDS, p


@part
def _text(p: int, end: int) -> tuple[int, int]:
    """(SOUND, position after a string, p at its quote), or (what is wrong, where); it is UTF-8."""
    stand_alone()
    p += 1
    while True:
        while p + 8 <= end:
            marks = special_marks(load_u64(p))
            if marks:
                p += trailing_zeros(marks) >> 3
                break
            p += 8
        letter = _letter(p, end)
        if letter == _QUOTE:
            return SOUND, p + 1
        if letter == _SLASH:
            found, p = _read_escape(p, end)
            if found < 0:
                return UNJUDGED, p
        elif letter < 0:
            return ENDS, p
        elif letter < 32:
            return CONTROL, p
        else:
            p += 1


@part
def _word(word: int, size: int, p: int, end: int) -> tuple[int, int]:
    for at in range(size):
        if _letter(p + at, end) != word >> (8 * at) & 0xFF:
            return _wrong(p + at, end)
    return SOUND, p + size


@part
def _digits(p: int, end: int) -> int:
    while p < end and 48 <= load_u8(p) <= 57:
        p += 1
    return p


@part
def _number(p: int, end: int) -> tuple[int, int]:
    """(SOUND, position after a number), or (what is wrong, where)."""
    stand_alone()
    start = p
    p += load_u8(p) == 45
    first, after = p, _digits(p, end)
    if after == first:
        return _wrong(p, end)
    if load_u8(first) == _ZERO and after > first + 1:
        return UNEXPECTED, first + 1
    tens, p = after - first, after
    if _letter(p, end) == _POINT:
        after = _digits(p + 1, end)
        if after == p + 1:
            return _wrong(after, end)
        p = after
    if _letter(p, end) | 32 == 101:
        p += 1
        is_negative = _letter(p, end) == 45
        p += is_negative or _letter(p, end) == 43
        after, power = _digits(p, end), 0
        if after == p:
            return _wrong(p, end)
        while p < after:
            power, p = min(power * 10 + load_u8(p) - 48, _MOST_POWER), p + 1
        tens += -power if is_negative else power
    if tens < _TENS:
        return SOUND, p
    return (HUGE, start) if tens > _TENS and load_u8(first) != _ZERO else (UNJUDGED, start)


@part
def _leaf(p: int, end: int) -> tuple[int, int]:
    letter = _letter(p, end)
    if letter == _QUOTE:
        return _text(p, end)
    if letter == _T:
        return _word(_TRUE, 4, p, end)
    if letter == _N:
        return _word(_NULL, 4, p, end)
    if letter == _F:
        return _word(_FALSE, 5, p, end)
    return _number(p, end) if letter == 45 or 48 <= letter <= 57 else _wrong(p, end)


@part
def _key(p: int, end: int) -> tuple[int, int]:
    """(SOUND, position of the value of a key), or (what is wrong, where)."""
    stand_alone()
    if _letter(p, end) != _QUOTE:
        return _wrong(p, end)
    found, p = _text(p, end)
    if found != SOUND:
        return found, p
    p = skip_space(p, end)
    return (SOUND, skip_space(p + 1, end)) if _letter(p, end) == _COLON else _wrong(p, end)


@part
def _deep(p: int, end: int) -> tuple[int, int]:
    """What is said of a value nested deeper than there are bits: one of brackets alone is too deep for anybody."""
    run = p
    while _letter(run, end) == _OPEN and run - p < DEEPEST:
        run += 1
    return DEEP if run - p == DEEPEST else UNJUDGED, p


@part
def _pass(p: int, end: int) -> tuple[int, int]:
    """(SOUND, position after a value and all that it holds), or (what is wrong, where); ``kinds`` has a bit a level: 1 = object."""
    stand_alone()
    depth, kinds, found = 0, 0, SOUND
    while True:
        letter = _letter(p, end)
        if letter in (_START, _OPEN):
            is_object, p = letter == _START, skip_space(p + 1, end)
            if _letter(p, end) == (_STOP if is_object else _CLOSE):
                p += 1
            else:
                depth, kinds = depth + 1, kinds << 1 | is_object
                if depth > _LEVELS:
                    return _deep(p, end)
                if is_object:
                    found, p = _key(p, end)
                    if found != SOUND:
                        return found, p
                continue
        else:
            found, p = _leaf(p, end)
            if found != SOUND:
                return found, p
        found, p, depth, kinds = _ends(p, end, depth, kinds)
        if depth == 0 or found != SOUND:
            return found, p


@part
def _ends(p: int, end: int, depth: int, kinds: int) -> tuple[int, int, int, int]:
    """From behind a value to the next one, over what closes there; depth 0 where nothing comes."""
    while depth > 0:
        p = skip_space(p, end)
        letter = _letter(p, end)
        if letter == _COMMA:
            found, p = SOUND, skip_space(p + 1, end)
            if kinds & 1:
                found, p = _key(p, end)
            return found, p, depth, kinds
        if letter != (_STOP if kinds & 1 else _CLOSE):
            found, p = _wrong(p, end)
            return found, p, depth, kinds
        p, depth, kinds = p + 1, depth - 1, kinds >> 1
    return SOUND, p, depth, kinds


@part
def _count(p: int, end: int) -> tuple[int, bool]:
    """How many values a sound array holds, and whether one of them is an array."""
    stand_alone()
    count, is_nested = 0, False
    p = skip_space(p + 1, end)
    while load_u8(p) != _CLOSE:
        is_nested |= load_u8(p) == _OPEN
        p = skip_space(_pass(p, end)[1], end)
        count += 1
        p = skip_space(p + 1, end) if load_u8(p) == _COMMA else p
    return count, is_nested


@part
def _look(p: int, end: int) -> tuple[int, int, float, int, int]:
    """As ``Readers`` has it; the size of a text is -1 where there are escapes among its letters."""
    stand_alone()
    letter = load_u8(p)
    if letter == _QUOTE:
        size = _text(p, end)[1] - p - 2
        for at in range(p + 1, p + 1 + size):
            if load_u8(at) == _SLASH:
                return TEXT, 0, 0.0, p + 1, -1
        return TEXT, 0, 0.0, p + 1, size
    if letter == _OPEN:
        count, is_nested = _count(p, end)
        return ARRAY, count, 0.0, skip_space(p + 1, end), int(is_nested)
    if letter == _START:
        return OBJECT, 0, 0.0, 0, 0
    if letter in (_T, _F):
        return TRUE if letter == _T else FALSE, 0, 0.0, 0, 0
    if letter == _N:
        return NULL, 0, 0.0, 0, 0
    kind, whole, real, _ = parse_number(p, end)
    return UNJUDGED if kind == NO_NUMBER else INT if kind == IS_INT else FLOAT, whole, real, 0, 0


@part
def _past(p: int, end: int) -> int:
    """Over a value without others and the comma or bracket behind it."""
    return skip_space(skip_space(_leaf(p, end)[1], end) + 1, end)


@part
def _record(fields: np.ndarray, seen: np.ndarray, p: int, end: int) -> tuple[int, int]:
    """Notes in ``seen`` where the last value of each field begins: (SOUND, end), or (what is wrong, where)."""
    for field in range(fields.shape[0]):
        seen[field] = 0
    wrong = broken_utf8(p, end)
    if wrong < end:
        return NO_UTF8, wrong
    p = skip_space(p, end)
    if _letter(p, end) != _START:
        found, p = _pass(p, end)
        p = skip_space(p, end) if found == SOUND else p
        return (found, p) if found != SOUND else (BEHIND if p < end else UNJUDGED, p)
    p, place = skip_space(p + 1, end), 0
    is_more = _letter(p, end) != _STOP
    while is_more:
        name = p + 1
        found, p = _key(p, end)
        if found != SOUND:
            return found, p
        size = _text(name - 1, end)[1] - name - 1
        for at in range(size):
            if load_u8(name + at) == _SLASH:
                return UNJUDGED, p
        field = find_field(fields, place, name, size)
        if field >= 0:
            seen[field] = p
        found, p = _pass(p, end)
        if found != SOUND:
            return found, p
        p, place = skip_space(p, end), place + 1
        is_more = _letter(p, end) == _COMMA
        p = skip_space(p + 1, end) if is_more else p
    if _letter(p, end) != _STOP:
        return _wrong(p, end)
    p = skip_space(p + 1, end)
    return (SOUND, p) if p == end else (BEHIND, p)


_judge_row = row_judge(Readers("json", _N, True, _look, _past))


@kernel(SIGNATURE)
def judge(job: np.ndarray, fields: np.ndarray, rows: np.ndarray, faults: np.ndarray, seen: np.ndarray) -> None:
    for at in range(len(rows)):
        start, size = place_of(job, rows[at])
        found, place = _record(fields, seen, start, start + size) if size >= 0 else (NO_VALUE, start)
        _judge_row(fields, seen, faults, at, start, start + size, found, place)
