"""Event schemas: named, typed fields, and the shorthand they are written in (``id*:int64, ts:stamp(ms), acc:float32[3]``)."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from esp.errors import QueryError

NUMBERS = {"bool": np.bool_, "int32": np.int32, "int64": np.int64, "float32": np.float32, "float64": np.float64}
ELEMENTS = NUMBERS | {"uint8": np.uint8}  # what a tensor may hold
STAMP_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}  # nanoseconds each; "iso" is text
MAX_FIELD_BYTES = 1 << 28  # of one tensor
_SIZE = "[1-9][0-9]{0,9}"
_FIELD = re.compile(r"\s*([A-Za-z_]\w*)(\*?)\s*:\s*([a-z]\w*)\s*(?:\(\s*(\w+)\s*\))?\s*(?:\[\s*([\d\s,]*)\])?\s*")


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a field: a scalar (``shape`` empty), a string, a blob, a stamp, a date or a fixed tensor.

    Columns are numpy arrays: bool, int32, int64, float32, float64 as named; stamp int64 nanoseconds since 1970 (``unit``
    is the unit of the wire: s, ms, us, ns or iso); date int32 days since 1970; tensors ``[n, *shape]``. Strings (UTF-8)
    and blobs are ``VarColumn``.
    """

    base: str
    shape: tuple[int, ...] = ()
    unit: str = "ns"

    @property
    def is_var(self) -> bool:
        """Whether values differ in size (string or blob)."""
        return self.base in ("string", "blob")

    @property
    def size_bytes(self) -> int:
        """What a value takes in its column; asked of fixed-size types only."""
        return self.dtype.itemsize * prod(self.shape)

    @property
    def is_number(self) -> bool:
        """Whether it is a scalar number (bool is none)."""
        return not self.shape and self.base in NUMBERS and self.base != "bool"

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The dtype of the column; asked of fixed-size types only."""
        if self.base == "stamp":
            return np.dtype(np.int64)
        return np.dtype(np.int32) if self.base == "date" else np.dtype(ELEMENTS[self.base])

    def __str__(self) -> str:
        unit = f"({self.unit})" if self.base == "stamp" and self.unit != "ns" else ""
        return self.base + unit + (f"[{','.join(map(str, self.shape))}]" if self.shape else "")


@dataclass(frozen=True, slots=True)
class Field:
    """One named field; ``is_key`` marks it as part of the event's key.

    What a record without it makes of it is no part of what it is: its ``default`` (a cell of its column), else null, or where it
    ``is_required`` (or a key) the record is refused.
    """

    name: str
    type: FieldType
    is_key: bool = False
    default: Any = dataclasses.field(default=None, compare=False)
    is_required: bool = dataclasses.field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name}{'*' * self.is_key}:{self.type}"


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of an event, in order.

    >>> Schema.parse("id*:int64, ts:stamp(ms), acc:float32[3]").keys
    ('id',)
    """

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        for name, count in Counter(self.names).items():
            if count > 1:
                raise QueryError(f"field '{name}' is there twice", mend="give every field its own name")

    @classmethod
    def parse(cls, text: str, where: str = "") -> "Schema":
        """Reads the shorthand; QueryError when a part of it is not a field."""
        fields = tuple(_parse_field(part, where) for part in _split(text) if part.strip())
        try:
            return cls(fields)
        except QueryError as err:
            raise QueryError(err.what, where=where, mend=err.mend) from err

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the fields that make the event's key."""
        return tuple(field.name for field in self.fields if field.is_key)

    def index(self, name: str) -> int:
        """Where a field stands; KeyError when there is none of that name."""
        for at, field in enumerate(self.fields):
            if field.name == name:
                return at
        raise KeyError(name)

    def __getitem__(self, name: str) -> Field:
        return self.fields[self.index(name)]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __str__(self) -> str:
        return ", ".join(map(str, self.fields))


def _split(text: str) -> list[str]:
    """Cuts at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _parse_field(text: str, where: str) -> Field:
    match = _FIELD.fullmatch(text)
    if not match:
        raise QueryError(
            f"'{text.strip()}' is not a field", where=where, mend="write name:type, such as ts:stamp(ms) or acc:float32[3]"
        )
    name, star, base, unit, dims = match.groups()
    known = (*ELEMENTS, "string", "blob", "stamp", "date")
    if base not in known or (base == "uint8" and dims is None):
        mend = "uint8 is for tensors, such as uint8[8,8,1]" if base == "uint8" else f"use one of {', '.join(known)}"
        raise QueryError(f"field '{name}' has the unknown type '{base}'", where=where, mend=mend)
    if unit is not None and (base != "stamp" or unit not in (*STAMP_UNITS, "iso")):
        raise QueryError(
            f"field '{name}': ({unit}) is no unit of {base}", where=where, mend="stamps take (s), (ms), (us), (ns) or (iso)"
        )
    shape = tuple(int(dim) for dim in re.findall(_SIZE, dims)) if dims and base in ELEMENTS else ()
    if dims is not None and (not shape or not re.fullmatch(rf"\s*{_SIZE}\s*(,\s*{_SIZE}\s*){{0,15}}", dims)):
        raise QueryError(
            f"field '{name}': [{dims:.40}] is no shape of {base}", where=where, mend="write positive sizes, such as float32[3]"
        )
    if shape and prod(shape) * np.dtype(ELEMENTS[base]).itemsize > MAX_FIELD_BYTES:
        raise QueryError(
            f"field '{name}': one {base}[{dims}] is past {MAX_FIELD_BYTES} bytes", where=where, mend="write a smaller shape"
        )
    return Field(name, FieldType(base, shape, unit or "ns"), bool(star))
