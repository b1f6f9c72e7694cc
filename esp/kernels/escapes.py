"""JSON strings with escapes: how long the text is that they stand for, and the text itself, as UTF-8."""

from esp.kernels.compile import part
from esp.kernels.words import load_u8, stand_alone, store_u8

ESCAPED = 1 << 62  # added to the place of a cut: what lies there is to be unescaped
_NO_LETTER = -1
_QUOTE, _SLASH, _U = 34, 92, 117  # " \ u
_HIGH_FIRST, _LOW_FIRST, _LAST = 0xD800, 0xDC00, 0xDFFF  # surrogates


@part
def measure_escaped(p: int, end: int) -> tuple[int, int]:
    """(size of the text that a string stands for, position of its closing quote), p behind the opening one; (-1, p) where it is none.

    Bytes past ASCII are not looked at.
    """
    stand_alone()
    size = 0
    while p < end and load_u8(p) != _QUOTE:
        if load_u8(p) < 32:
            return -1, p
        if load_u8(p) == _SLASH:
            letter, p = _read_escape(p, end)
            if letter == _NO_LETTER:
                return -1, p
            size += 1 if letter < 0x80 else 2 if letter < 0x800 else 3 if letter < 0x10000 else 4
        else:
            p, size = p + 1, size + 1
    return (size, p) if p < end else (-1, p)


@part
def unescape(target: int, size: int, p: int) -> None:
    """Writes the ``size`` bytes that a measured string at p stands for."""
    stand_alone()
    stop = target + size
    while target < stop:
        if load_u8(p) == _SLASH:
            letter, p = _read_escape(p, p + 12)
            target = _write_letter(target, letter)
        else:
            store_u8(target, load_u8(p))
            p, target = p + 1, target + 1


@part
def _read_escape(p: int, end: int) -> tuple[int, int]:
    """(the letter that an escape at p stands for, position after it); -1 where it is none, or half of a pair of surrogates."""
    stand_alone()
    if p + 2 > end:
        return _NO_LETTER, p
    if load_u8(p + 1) != _U:
        return _short_escape(load_u8(p + 1)), p + 2
    letter = _four_digits(p + 2, end)
    if not _HIGH_FIRST <= letter <= _LAST:
        return letter, p + 6
    if letter >= _LOW_FIRST or p + 12 > end or load_u8(p + 6) != _SLASH or load_u8(p + 7) != _U:
        return _NO_LETTER, p
    low = _four_digits(p + 8, end)
    if not _LOW_FIRST <= low <= _LAST:
        return _NO_LETTER, p
    return 0x10000 + ((letter - _HIGH_FIRST) << 10) + low - _LOW_FIRST, p + 12


@part
def _short_escape(letter: int) -> int:
    if letter in (_QUOTE, _SLASH, 47):
        return letter
    if letter == 98:
        return 8
    if letter == 102:
        return 12
    return 10 if letter == 110 else 13 if letter == 114 else 9 if letter == 116 else _NO_LETTER


@part
def _four_digits(p: int, end: int) -> int:
    """A number of four hexadecimal digits; -1 where there are none."""
    if p + 4 > end:
        return _NO_LETTER
    value = 0
    for at in range(4):
        letter = load_u8(p + at)
        digit = letter - 48 if 48 <= letter <= 57 else (letter | 32) - 87 if 97 <= letter | 32 <= 102 else -1
        if digit < 0:
            return _NO_LETTER
        value = value << 4 | digit
    return value


@part
def _write_letter(p: int, letter: int) -> int:
    """Writes a letter as UTF-8; the position after it."""
    if letter < 0x80:
        store_u8(p, letter)
        return p + 1
    more = 1 if letter < 0x800 else 2 if letter < 0x10000 else 3
    store_u8(p, (0xF0 << (3 - more) & 0xFF) | letter >> (6 * more))
    for at in range(1, more + 1):
        store_u8(p + at, 0x80 | (letter >> (6 * (more - at)) & 0x3F))
    return p + more + 1
