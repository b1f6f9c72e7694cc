"""Cells into Avro values: the schema that our fields make, and how fields go into a schema that was given."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import fastavro

from esp.errors import EventError, QueryError
from esp.runtime.codecs.avro.reading import UNITS_NS
from esp.runtime.codecs.avro.types import Type
from esp.runtime.codecs.rows import stamp_text, values_of
from esp.runtime.events import EventBlock
from esp.runtime.schema import STAMP_UNITS, Field, FieldType, Schema

LOGICAL = {"ms": "timestamp-millis", "us": "timestamp-micros", "ns": "timestamp-nanos"}
SCALARS = {
    "bool": "boolean", "uint8": "int", "int32": "int", "int64": "long", "float32": "float", "float64": "double", "string": "string", "blob": "bytes",
}  # fmt: skip
WIDER = {"int": ("int", "long", "double"), "long": ("long",), "float": ("float", "double"), "double": ("double",)}

Put = Callable[[Any], Any]  # a Python value as fastavro takes it. EventError where the schema has no such value


def schema_of(schema: Schema, name: str, tensors: str) -> dict[str, Any]:
    """The Avro schema of events: key fields as they are, all others null or a value; ``name`` may have a namespace before it."""
    fields: list[dict[str, Any]] = []
    for field in schema:
        kind = _type_of(field.type, tensors)
        fields.append(
            {"name": field.name, "type": kind} if field.is_key else {"name": field.name, "type": ["null", kind], "default": None}
        )
    return {"type": "record", "name": name, "fields": fields}


def _type_of(kind: FieldType, tensors: str) -> Any:
    if kind.shape:
        return "bytes" if tensors == "bytes" else {"type": "array", "items": SCALARS[kind.base]}
    if kind.base == "stamp":
        if kind.unit == "iso":
            return "string"
        return {"type": "long", "logicalType": LOGICAL[kind.unit]} if kind.unit in LOGICAL else "long"
    return {"type": "int", "logicalType": "date"} if kind.base == "date" else SCALARS[kind.base]


@dataclass(frozen=True, slots=True)
class Writer:
    """A schema that records are written by; ``fields`` say for each of ours whether tensors go as bytes, and what is put for a value."""

    parsed: Any
    schema: Schema
    fields: tuple[tuple[bool, Put], ...]
    head: ClassVar[bytes] = b""

    @classmethod
    def of(cls, parsed: Any, written: Type, schema: Schema) -> "Writer":
        """QueryError where the fields do not go into the schema."""
        there = {entry.name: entry for entry in written.fields}
        for entry in written.fields:
            if entry.name not in schema and not entry.has_default:
                raise QueryError(
                    f"the schema wants a field '{entry.name}', and no such field goes out",
                    mend="add it, or a default to the schema",
                )
        fields = []
        for field in schema:
            if field.name not in there:
                raise QueryError(
                    f"the schema has no field '{field.name}'", mend=f"its fields are {', '.join(there)}; leave it out by fields"
                )
            fields.append(_putting(field, there[field.name].type))
        return cls(parsed, schema, tuple(fields))

    def columns(self, block: EventBlock) -> list[list[Any]]:
        """The values of each field, as ``write`` takes those of a row."""
        return [
            values_of(column, valid, field, is_raw=is_raw)
            for column, valid, field, (is_raw, _) in zip(block.columns, block.validity, self.schema, self.fields)
        ]

    def write(self, values: Sequence[Any]) -> bytes:
        """A record. EventError where the schema takes no such value."""
        record = {field.name: put(value) for field, (_, put), value in zip(self.schema, self.fields, values)}
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.parsed, record)
        return out.getvalue()


def _putting(field: Field, found: Type) -> tuple[bool, Put]:
    """How values of a field go into a type. QueryError when they do not."""
    part = next((part for part in found.branches if _takes(field.type, part)), None)
    if part is None:
        what = f"field '{field.name}' is {field.type}, and the schema wants Avro's {found}"
        raise QueryError(what, mend="make one of them like the other")
    inner, takes_null, is_union, branch = _put(field, part), found.takes_null, found.kind == "union", part.name or part.kind

    def put(value: Any) -> Any:
        if value is not None:
            return (branch, inner(value)) if is_union else inner(value)  # which branch it is, fastavro need not find out
        if not takes_null:
            raise EventError(f"field '{field.name}': null, and the schema takes none")
        return None

    return bool(field.type.shape) and part.kind in ("bytes", "fixed"), put


def _takes(kind: FieldType, part: Type) -> bool:
    """Whether all values of a field, but for enums' and sizes, have a place in an Avro type, and none loses anything there but finer time."""
    if part.logical in ("decimal", "uuid", "duration"):
        return False
    if kind.shape:
        items = part.parts[0].branches[0] if part.kind == "array" and part.parts[0].branches else None
        if part.kind == "fixed":
            return part.size == kind.dtype.itemsize * math.prod(kind.shape)
        return part.kind == "bytes" or (items is not None and items.kind in WIDER.get(SCALARS[kind.base], ("boolean",)))
    if kind.base == "stamp":
        if part.kind == "long" and part.logical:
            return (
                part.logical.rpartition("-")[0] in ("timestamp", "local-timestamp") and part.logical.rpartition("-")[2] in UNITS_NS
            )
        return part.kind == ("string" if kind.unit == "iso" else "long")
    if kind.base == "date":
        return part.kind in ("int", "long") and part.logical in ("", "date")
    if kind.base in ("string", "blob"):
        return part.kind in (("string", "enum") if kind.base == "string" else ("bytes", "fixed"))
    wanted = SCALARS[kind.base]
    return part.kind in WIDER.get(wanted, (wanted,)) and not part.logical


def _put(field: Field, part: Type) -> Put:
    if part.kind == "enum":
        return lambda value: _one_of(field, value, part.symbols)
    if part.kind == "fixed" and not field.type.shape:
        return lambda value: _of_size(field, value, part.size)
    if field.type.base == "stamp" and part.kind == "string":
        return stamp_text
    if field.type.base == "stamp":
        unit_ns = UNITS_NS[part.logical.rpartition("-")[2]] if part.logical else STAMP_UNITS[field.type.unit]
        return lambda value: value // unit_ns
    return lambda value: value


def _one_of(field: Field, value: str, symbols: Sequence[str]) -> str:
    if value not in symbols:
        raise EventError(f"field '{field.name}': the text {value[:40]!r} is none of the enum's symbols")
    return value


def _of_size(field: Field, value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise EventError(f"field '{field.name}': {len(value)} bytes, and the schema takes {size}")
    return value
