"""Header bytes: one model, one sequence of msgpack bytes; and a reader that no hostile bytes can make allocate much."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from esp.errors import FileError

MAX_DEPTH = 16  # of maps and arrays in each other
MAX_ITEMS = 1 << 18  # of values in a header
INT64 = range(-(1 << 63), 1 << 63)

_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8} | {0xCC + i: 1 << i for i in range(4)} | {0xD0 + i: 1 << i for i in range(4)}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bin and str: bytes of the length that follows
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}
_FIX_MAP, _FIX_ARRAY, _FIX_STR, _NIL, _NEGATIVE = 0x80, 0x90, 0xA0, 0xC0, 0xE0


def pack(value: Any, where: str = "header") -> bytes:
    """Canonical msgpack: keys in order, shortest integers, floats as float64; FileError for what a header cannot hold."""
    try:
        return msgpack.packb(plain(value, where), use_bin_type=True)  # type: ignore[no-any-return]
    except (UnicodeEncodeError, OverflowError, ValueError) as err:
        raise FileError(
            f"a value cannot be written: {err}", where=where, mend="keep text valid Unicode and integers within 64 bits"
        ) from err


def plain(value: Any, where: str) -> Any:
    """The same value as dicts with sorted keys, lists, text, bytes and Python's numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return _plain_map(value, where)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, str | bytes | bool | float | None):
        return value
    if isinstance(value, int) and value in INT64:
        return value
    if isinstance(value, Sequence):
        return [plain(item, f"{where}[{at}]") for at, item in enumerate(value)]
    raise FileError(f"a {type(value).__name__} cannot be written", where=where, mend="use text, 64-bit numbers, lists and maps")


def _plain_map(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise FileError(f"the key {key!r} is not text", where=where, mend="use text for the keys of maps")
    return {key: plain(value[key], f"{where}.{key}") for key in sorted(value)}


def jsonable(value: Any, where: str) -> Any:
    """The same in JSON's own types: null for a NaN or an infinity, which JSON has no word for, hexadecimal digits for bytes."""
    return _finite(plain(value, where))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unpack(data: bytes, where: str) -> dict[str, Any]:
    """The map that the bytes hold, after ``scan`` has found them harmless; FileError, ``where`` with its byte, otherwise."""
    scan(data, where)
    try:
        value = msgpack.unpackb(data, object_pairs_hook=_unique, strict_map_key=False)
    except ValueError as err:
        raise FileError(f"the msgpack is not valid: {err}", where=where, mend="write the file anew") from err
    if not isinstance(value, dict):
        raise FileError(f"wanted a map, got {type(value).__name__}", where=where, mend="write the file anew")
    return value


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    if not all(isinstance(key, str) for key, _ in pairs):
        raise ValueError("a key is not text")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def scan(data: bytes, where: str) -> None:
    """Walks the msgpack without building anything: every length must fit what remains, so no claim is believed unpaid."""
    at, seen, open_counts, owed = 0, 0, [1], 1
    while open_counts:
        if open_counts[-1] == 0:
            open_counts.pop()
            continue
        if at >= len(data):
            raise _bad("the bytes end within a value", where, at)
        open_counts[-1] -= 1
        at, children = _step(data, at, where)
        seen, owed = seen + 1, owed - 1 + children
        if owed > len(data) - at:
            raise _bad("a length is larger than the bytes that remain", where, at)
        if children:
            open_counts.append(children)
        if len(open_counts) > MAX_DEPTH or seen > MAX_ITEMS:
            raise _bad(f"there are more than {MAX_ITEMS} values, or they are nested deeper than {MAX_DEPTH}", where, at)
    if at != len(data):
        raise _bad("bytes follow the map", where, at)


def _step(data: bytes, at: int, where: str) -> tuple[int, int]:
    """Past one value's head and bytes; with it the number of values that it says it contains."""
    code = data[at]
    at += 1
    if code < _FIX_MAP or code >= _NEGATIVE:
        return at, 0
    if code < _FIX_ARRAY:
        return at, 2 * (code & 0x0F)
    if code < _FIX_STR:
        return at, code & 0x0F
    if code < _NIL:
        return _past(data, at, code & 0x1F, where), 0
    if code in _FIXED:
        return _past(data, at, _FIXED[code], where), 0
    if code in _SIZED:
        start = _past(data, at, _SIZED[code], where)
        return _past(data, start, int.from_bytes(data[at:start], "big"), where), 0
    width = _ARRAYS.get(code) or _MAPS.get(code)
    if width is None:
        raise _bad(f"msgpack type 0x{code:02x} has no place here", where, at - 1)
    start = _past(data, at, width, where)
    return start, int.from_bytes(data[at:start], "big") * (2 if code in _MAPS else 1)


def _past(data: bytes, at: int, size: int, where: str) -> int:
    if size > len(data) - at:
        raise _bad("a length is larger than the bytes that remain", where, at)
    return at + size


def _bad(what: str, where: str, at: int) -> FileError:
    return FileError(
        what,
        where=f"{where}: byte {at}",
        mend="the file is damaged or was not written by esp; fetch or write it anew",
    )
