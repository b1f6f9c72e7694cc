"""Avro values into cells: what a field may be read from is settled once a schema, what is left for each value is its range."""

import io
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import fastavro

from esp.errors import EventError
from esp.runtime.codecs.avro.indexes import Walk, walk_of
from esp.runtime.codecs.avro.types import FieldOf, Type
from esp.runtime.codecs.quick import Take, array_taker, taker
from esp.runtime.codecs.values import MISSING, Mismatch, cell
from esp.runtime.schema import STAMP_UNITS, Field, FieldType, Schema

WHOLE, NUMBERS = ("int", "long"), ("int", "long", "float", "double")
UNITS_NS = {"millis": 1_000_000, "micros": 1_000, "nanos": 1}
MOST_DECIMAL_BYTES = 1024
FAULTS = (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError)  # of fastavro, for bytes that are none

_GIVEN = {"boolean": "bool", "long": "int64", "float": "float32", "double": "float64", "string": "string", "enum": "string"}


@dataclass(frozen=True, slots=True)
class Reader:
    """A schema that records were written by, and how the fields of ours come out of them.

    ``takes`` holds for each field the name that it has there and what is made of its value; or the name, None and the reason why nothing can be.
    ``walk`` looks for what fastavro lets pass.
    """

    parsed: Any
    walk: Walk | None
    takes: tuple[tuple[str, Take | None, Any], ...]

    @classmethod
    def of(cls, parsed: Any, written: Type, schema: Schema, read_by: Type | None = None) -> "Reader":
        """``parsed`` is fastavro's form of ``written`` without logical types; ``read_by`` gives aliases and defaults."""
        return cls(parsed, walk_of(written), tuple(_taking(field, written, read_by) for field in schema))

    def cells(self, value: bytes, at: int) -> list[Any]:
        """The cells of the record that begins at a byte. EventError where it is none, or does not fit."""
        stream = io.BytesIO(value)
        stream.seek(at)
        try:
            record: Any = fastavro.schemaless_reader(stream, self.parsed, None)
            if self.walk is not None:
                self.walk(value, at)
        except FAULTS as err:
            raise EventError(f"wanted an Avro record, got bytes that are none ({_why(err)})") from err
        if stream.tell() != len(value):
            raise EventError(f"wanted an Avro record, got one with {len(value) - stream.tell()} bytes behind it")
        cells = []
        for name, take, other in self.takes:
            if take is None:
                raise EventError(other)
            cells.append(take(record.get(name, other)))
        return cells


def _why(err: BaseException) -> str:
    return " ".join(str(err).split())[:80] or type(err).__name__


def _taking(field: Field, written: Type, read_by: Type | None) -> tuple[str, Take | None, Any]:
    own = next((entry for entry in read_by.fields if entry.name == field.name), None) if read_by is not None else None
    names = (field.name, *(own.aliases if own is not None else ()))
    found = next((entry for name in names for entry in written.fields if entry.name == name), None)
    default = own.default if own is not None and own.has_default else MISSING
    if found is None:
        if isinstance(default, str) and own is not None and _holds_bytes(own.type):
            default = default.encode("latin-1", errors="replace")  # as Avro has it
        return field.name, _taker(field, own.type if own is not None else Type("null")), default
    if why := misfit(field, found):
        return field.name, None, why
    return found.name, _taker(field, found.type), None


def _holds_bytes(kind: Type) -> bool:
    return bool(kind.branches) and kind.branches[0].kind in ("bytes", "fixed")


def misfit(field: Field, found: FieldOf) -> str:
    """Why no value of an Avro field fits a field of ours; nothing where one may."""
    branches = found.type.branches
    taken = [part for part in branches if _accepts(field.type, part)]
    if branches and not taken:
        return f"field '{field.name}': wanted {field.type}, got Avro's {found.type}"
    if field.type.base == "stamp" and len({_unit_ns(field.type, part) for part in taken if part.kind in WHOLE}) > 1:
        return f"field '{field.name}': it cannot be told which of the times of {found.type} a number is"
    return ""


def _accepts(kind: FieldType, part: Type) -> bool:
    """Whether values of an Avro type may be read into a field."""
    if part.logical == "decimal":
        return kind.base == "string" and not kind.shape and part.kind in ("bytes", "fixed")
    if kind.shape:
        return part.kind in ("bytes", "fixed") or _is_array_of_numbers(kind, part)
    if kind.base == "stamp":
        if part.logical == "date" or part.logical.startswith("time-"):
            return False
        return (
            part.kind == "string"
            or (part.kind == "long" and _unit_ns(kind, part) > 0)
            or (part.kind in NUMBERS and kind.unit != "iso")
        )
    accepted = {
        "bool": ("boolean",), "int32": NUMBERS, "int64": NUMBERS, "float32": NUMBERS, "float64": NUMBERS,
        "string": ("string", "enum"), "blob": ("bytes", "fixed"), "date": ("int", "long", "string"),
    }  # fmt: skip
    if kind.base == "date" and part.logical.startswith(("timestamp", "local-timestamp", "time")):
        return False
    return part.kind in accepted[kind.base]


def _is_array_of_numbers(kind: FieldType, part: Type) -> bool:
    if part.kind != "array":
        return False
    item = part.parts[0]
    wanted = ("boolean",) if kind.base == "bool" else NUMBERS
    return all(_is_array_of_numbers(kind, inner) if inner.kind == "array" else inner.kind in wanted for inner in item.branches)


def _unit_ns(kind: FieldType, part: Type) -> int:
    """Nanoseconds of one of a number that is a time; 0 where the number alone does not say, and neither does the field."""
    name, _, unit = part.logical.rpartition("-")
    if name in ("timestamp", "local-timestamp") and unit in UNITS_NS:
        return UNITS_NS[unit]
    return STAMP_UNITS.get(kind.unit, 0)


def _taker(field: Field, found: Type) -> Take:
    """What makes cells of a field out of values of a type; decimals and times are told by the type, the rest by the value."""
    branches = [part for part in found.branches if _accepts(field.type, part)]
    decimal = next((part for part in branches if part.logical == "decimal"), None)
    units = {_unit_ns(field.type, part) for part in branches if part.kind == "long" and part.logical}
    if decimal is not None:
        return lambda value: cell(field, _decimal_text(field, value, decimal.scale) if isinstance(value, bytes) else value)
    if field.type.base == "stamp" and units:
        unit_ns = units.pop()
        return lambda value: _stamp(field, value, unit_ns) if type(value) is int else cell(field, value)
    if len(branches) != 1:
        return lambda value: cell(field, value)
    if branches[0].kind == "array":
        return array_taker(field, _GIVEN.get(branches[0].parts[0].kind, ""))
    return taker(field, _GIVEN.get(branches[0].kind, ""))


def _stamp(field: Field, value: int, unit_ns: int) -> int:
    found = value * unit_ns
    if abs(found) >= 1 << 63:
        raise Mismatch(f"field '{field.name}': wanted {field.type}, got a time past the year 2262 ({value})")
    return found


def _decimal_text(field: Field, value: bytes, scale: int) -> str:
    if len(value) > MOST_DECIMAL_BYTES or scale > 8 * MOST_DECIMAL_BYTES:
        raise Mismatch(f"field '{field.name}': wanted a decimal of at most {MOST_DECIMAL_BYTES} bytes, got {len(value)}")
    number = int.from_bytes(value, "big", signed=True)
    return format(Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale)), "f")
