"""Python values of the generic libraries, made into cells of a column: the slow path, and the rule that kernels are held to."""

import base64
import binascii
import math
import re
from datetime import date
from typing import Any

import numpy as np

from esp.errors import EventError
from esp.runtime.schema import ELEMENTS, STAMP_UNITS, Field, FieldType

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(?:(Z)|([+-])(\d\d):?(\d\d))?)?",
    re.ASCII | re.IGNORECASE,
)
_INT = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_EPOCH = date(1970, 1, 1).toordinal()
_DAY_NS = 86_400 * 10**9
TOO_LARGE = (2 - 2**-24) * 2.0**127  # from here on a number rounds to an infinite float32


MISSING: Any = object()  # what stands for a field that a record has not


class Mismatch(EventError):
    """A value does not fit its field; the message names field, wanted and got."""


def cell(field: Field, value: Any, *, has_text_bytes: bool = False) -> Any:
    """What a column holds for a value: a number, an array, or bytes; None is null. Mismatch where it does not fit.

    A field that is null or missing has its default. ``has_text_bytes``: blobs and tensors may be text (JSON, CSV).
    """
    if value is None or value is MISSING:
        if field.default is None and (field.is_key or field.is_required):
            why, got = "a key" if field.is_key else "required", "nothing" if value is MISSING else "null"
            raise Mismatch(f"field '{field.name}': wanted {field.type}, for it is {why}, got {got}")
        return field.default
    try:
        found, got = _cell(field.type, value, has_text_bytes), ""
    except Mismatch as err:
        found, got = None, str(err)
    if found is None:
        raise Mismatch(f"field '{field.name}': wanted {field.type}, got {got or describe(value)}")
    return found


def describe(value: Any) -> str:
    """A value in a few words, for a reason."""
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return f"the text {value[:40]!r}{'...' * (len(value) > 40)}"
    return f"{type(value).__name__} {str(value)[:40]}"


def value_of_text(base: str, text: str) -> Any:
    """A number where the text is one, the text itself for what is text, None where it is empty."""
    if text == "" or base in ("string", "blob"):
        return text or None
    if base == "bool":
        return _BOOLS.get(text.strip().lower(), text)
    number = text.strip()
    if _INT.fullmatch(number) and len(number) < 30:
        return int(number)
    if not _FLOAT.fullmatch(number):
        return text
    found = float(number)
    return text if math.isinf(found) and "f" not in number.lower() else found


def _cell(kind: FieldType, value: Any, has_text_bytes: bool) -> Any:
    if kind.shape:
        return _tensor(kind, value, has_text_bytes)
    if kind.base == "string":
        return value.encode() if isinstance(value, str) else None
    if kind.base == "blob":
        return value if isinstance(value, bytes) else _from_base64(value) if has_text_bytes else None
    if kind.base == "stamp":
        return _stamp(kind, value)
    if kind.base == "date":
        return _date(value)
    return _number(kind.base, value)


def _from_base64(value: Any) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _number(base: str, value: Any) -> Any:
    """A number of the type: integral floats pass as integers, integers as floats; a bool is no number."""
    if base == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if base in ("float32", "float64"):
        return _float(base, value)
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    info = np.iinfo(ELEMENTS[base])
    return value if value is not None and info.min <= value <= info.max else None


def _float(base: str, value: int | float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    is_overflow = base == "float32" and TOO_LARGE <= abs(number) < math.inf
    return None if is_overflow else number


def _tensor(kind: FieldType, value: Any, has_text_bytes: bool) -> np.ndarray[Any, Any] | None:
    """Little-endian bytes of exactly the size, or numbers: flat, nested to the shape, or to the shape without its ones."""
    dtype = np.dtype(ELEMENTS[kind.base]).newbyteorder("<")
    if isinstance(value, str) and has_text_bytes:
        value = _numbers(kind, value) if (data := _from_base64(value)) is None or len(data) != kind.size_bytes else data
    if isinstance(value, bytes):
        is_whole = len(value) == kind.size_bytes
        return np.frombuffer(value, dtype).reshape(kind.shape) if is_whole and _are_bools(kind, value) else None
    if not isinstance(value, list) or _dims(value) not in _shapes(kind.shape):
        return None
    parts = _flatten(value)
    if (floats := _floats(kind.base, parts)) is not None:
        return floats.astype(dtype).reshape(kind.shape)
    numbers = [_element(kind.base, part) for part in parts]
    if None in numbers:
        at = next(at for at, number in enumerate(numbers) if number is None)
        raise Mismatch(f"{describe(parts[at])} as number {at + 1} of {len(parts)}")
    return np.array(numbers, dtype).reshape(kind.shape)


def _floats(base: str, numbers: list[Any]) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """Numbers for a tensor of floats, where they are all such as it holds and nothing else is among them; None where not."""
    if base not in ("float32", "float64") or not set(map(type, numbers)) <= {float, int}:
        return None
    try:
        floats = np.array(numbers, np.float64)
    except OverflowError:  # an integer that no float holds
        return None
    size = np.abs(floats)
    return None if base == "float32" and ((size >= TOO_LARGE) & (size < math.inf)).any() else floats


def _numbers(kind: FieldType, text: str) -> list[Any] | None:
    """Numbers with commas between them, and one behind the last or none."""
    parts = [part.strip() for part in text.split(",")]
    parts = parts[:-1] if parts[-1] == "" else parts
    return [value_of_text(kind.base, part) for part in parts] if all(parts) else None


def _are_bools(kind: FieldType, value: bytes) -> bool:
    return kind.base != "bool" or set(value) <= {0, 1}


def _element(base: str, value: Any) -> Any:
    """A number of a tensor; null is NaN where the type has one."""
    return math.nan if value is None and base in ("float32", "float64") else _number(base, value)


def _shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return shape, (math.prod(shape),), tuple(dim for dim in shape if dim > 1)


def _dims(value: Any) -> tuple[int, ...] | None:
    """The shape of nested lists; None where they are ragged."""
    if not isinstance(value, list):
        return ()
    if list not in set(map(type, value)) and value:
        return (len(value),)
    inner = {_dims(part) for part in value}
    if len(inner) != 1 or None in inner:
        return None
    return (len(value), *(inner.pop() or ()))


def _flatten(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    if list not in set(map(type, value)):
        return value
    return [number for part in value for number in _flatten(part)]


def _stamp(kind: FieldType, value: Any) -> int | None:
    """Nanoseconds: of a number in the unit of the wire (fractions rounded), of ISO text, or of a msgpack time stamp."""
    if isinstance(value, str):
        ns = _iso_ns(value)
    elif hasattr(value, "nanoseconds"):
        ns = value.seconds * 10**9 + value.nanoseconds
    elif isinstance(value, bool) or not isinstance(value, int | float) or kind.unit == "iso" or not math.isfinite(value):
        return None
    else:
        unit, whole = STAMP_UNITS[kind.unit], math.floor(value)
        ns = whole * unit + round((value - whole) * unit)
    return ns if ns is not None and abs(ns) < 1 << 63 else None


def _iso_ns(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if not match:
        return None
    day, hour, minute, second, fraction, _, sign, zone_hour, zone_minute = match.groups(default="0")
    days = _iso_days(day)
    if days is None or int(hour) > 23 or max(int(minute), int(second), int(zone_minute)) > 59 or int(zone_hour) > 23:
        return None
    zone = (int(zone_hour) * 60 + int(zone_minute)) * (-1 if sign == "-" else 1)
    clock = (int(hour) * 60 + int(minute) - zone) * 60 + int(second)
    return days * _DAY_NS + clock * 10**9 + int(fraction.ljust(9, "0"))


def _iso_days(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH if len(text) == 10 and text.isascii() else None
    except ValueError:
        return None


def _date(value: Any) -> Any:
    if isinstance(value, str):
        return _iso_days(value) if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII) else None
    return _number("int32", value)
