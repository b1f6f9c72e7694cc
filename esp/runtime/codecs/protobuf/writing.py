"""Cells into Protobuf messages: the .proto text that our fields make, and how fields go into a message that was given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from esp.errors import EventError, QueryError
from esp.runtime.codecs.protobuf.reading import TIMESTAMP, F, inner_of, is_map, spoken
from esp.runtime.codecs.protobuf.text import text_of
from esp.runtime.codecs.rows import stamp_text, values_of
from esp.runtime.events import EventBlock
from esp.runtime.schema import STAMP_UNITS, Field, FieldType, Schema

SCALARS = {
    "bool": "bool", "uint8": "uint32", "int32": "int32", "int64": "int64", "float32": "float", "float64": "double", "string": "string", "blob": "bytes",
    "date": "int32",
}  # fmt: skip
_LONG = (F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64)
_INT = (F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32)
_UINT = (F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_FIXED32, F.TYPE_FIXED64)
WIDER = {
    "bool": (F.TYPE_BOOL,), "uint8": (*_INT, *_LONG, *_UINT), "int32": (*_INT, *_LONG, F.TYPE_DOUBLE), "int64": _LONG, "date": (*_INT, *_LONG),
    "float32": (F.TYPE_FLOAT, F.TYPE_DOUBLE), "float64": (F.TYPE_DOUBLE,), "string": (F.TYPE_STRING, F.TYPE_ENUM), "blob": (F.TYPE_BYTES,),
}  # fmt: skip

Put = Callable[[Message, Any], None]  # sets a field to a value that is not null. EventError where it has no place there


def proto_of(schema: Schema, name: str, tensors: str) -> str:
    """The .proto text of events: key fields as they are, tensors repeated (or bytes), all others optional."""
    package, _, message = name.rpartition(".")
    stamps = any(field.type.base == "stamp" and field.type.unit != "iso" for field in schema)
    fields = [_line(field, tensors) for field in schema]
    return text_of(package, message, fields, ["google/protobuf/timestamp.proto"] if stamps else [])


def _line(field: Field, tensors: str) -> tuple[str, str, str]:
    if field.type.base == "stamp":
        return "optional", "string" if field.type.unit == "iso" else TIMESTAMP, field.name
    kind = "bytes" if field.type.shape and tensors == "bytes" else SCALARS[field.type.base]
    if field.type.shape and tensors == "array":
        return "repeated", kind, field.name
    return "" if field.is_key else "optional", kind, field.name


@dataclass(frozen=True, slots=True)
class Writer:
    """A message that records are written as; ``head`` is its place in the schema as the wire has it."""

    kind: Callable[[], Message]
    schema: Schema
    fields: tuple[tuple[FieldDescriptor, Put], ...]
    head: bytes

    @classmethod
    def of(cls, message: Descriptor, head: bytes, schema: Schema) -> "Writer":
        """QueryError where the fields do not go into the message."""
        for entry in message.fields:
            if entry.is_required and entry.name not in schema:
                raise QueryError(f"the message wants a field '{entry.name}', and no such field goes out", mend="add it")
        fields = []
        for field in schema:
            found = message.fields_by_name.get(field.name)
            if found is None:
                there = ", ".join(entry.name for entry in message.fields)
                raise QueryError(f"the message has no field '{field.name}'", mend=f"its fields are {there}; leave it out by fields")
            if not _takes(field.type, found):
                what = f"field '{field.name}' is {field.type}, and the message wants Protobuf's {spoken(found)}"
                raise QueryError(what, mend="make one of them like the other")
            fields.append((found, _putting(field, found)))
        return cls(GetMessageClass(message), schema, tuple(fields), head)

    def columns(self, block: EventBlock) -> list[list[Any]]:
        return [
            values_of(column, valid, field, is_raw=not found.is_repeated)
            for column, valid, field, (found, _) in zip(block.columns, block.validity, self.schema, self.fields)
        ]

    def write(self, values: Sequence[Any]) -> bytes:
        made = self.kind()
        for (found, put), value in zip(self.fields, values):
            if value is not None:
                put(made, value)
            elif not found.is_repeated and (found.is_required or not found.has_presence):
                raise EventError(f"field '{found.name}': null, and the message takes none")
        written: bytes = made.SerializeToString()
        return written


def _takes(kind: FieldType, found: FieldDescriptor) -> bool:
    """Whether all values of a field, but for enums', have a place in a Protobuf field, and none loses anything there but finer time."""
    if found.is_repeated:
        return bool(kind.shape) and not is_map(found) and found.type in WIDER[kind.base]
    inner = inner_of(found)
    if kind.shape:
        return bool(inner.type == F.TYPE_BYTES)
    if found.message_type is not None and inner is found:
        return kind.base == "stamp" and str(found.message_type.full_name) == TIMESTAMP
    if kind.base == "stamp":
        return inner.type == F.TYPE_STRING if kind.unit == "iso" else inner.type in _LONG
    return inner.type in WIDER[kind.base]


def _putting(field: Field, found: FieldDescriptor) -> Put:
    name = found.name
    if found.is_repeated:
        return lambda made, value: getattr(made, name).extend(value)
    if inner_of(found) is not found:
        convert = _convert(field, inner_of(found))
        return lambda made, value: setattr(getattr(made, name), "value", convert(value))
    if found.message_type is not None:
        return lambda made, value: _put_stamp(getattr(made, name), value)
    convert = _convert(field, found)
    return lambda made, value: setattr(made, name, convert(value))


def _put_stamp(made: Any, stamp_ns: int) -> None:
    made.seconds, made.nanos = divmod(stamp_ns, 10**9)


def _convert(field: Field, found: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type.base == "stamp":
        unit_ns = STAMP_UNITS.get(field.type.unit, 1)
        return stamp_text if field.type.unit == "iso" else lambda value: value // unit_ns
    if found.enum_type is not None:
        numbers = {value.name: value.number for value in found.enum_type.values}
        return lambda value: _number(field, numbers, value)
    return lambda value: value


def _number(field: Field, numbers: dict[str, int], value: str) -> int:
    if value not in numbers:
        raise EventError(f"field '{field.name}': the text {value[:40]!r} is none of the enum's names")
    return numbers[value]
