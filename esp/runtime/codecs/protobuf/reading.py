"""Protobuf messages into cells: which field of a message feeds which of ours is settled once a schema."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from esp.errors import EventError
from esp.runtime.codecs.quick import array_taker, taker
from esp.runtime.codecs.registry.framing import SIZE, message_path
from esp.runtime.codecs.values import MISSING, Mismatch, cell, describe
from esp.runtime.schema import Field, FieldType, Schema

F = FieldDescriptor
WHOLE = (
    F.TYPE_INT32, F.TYPE_INT64, F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_SINT32, F.TYPE_SINT64, F.TYPE_FIXED32, F.TYPE_FIXED64, F.TYPE_SFIXED32, F.TYPE_SFIXED64,
)  # fmt: skip
NUMBERS = (*WHOLE, F.TYPE_FLOAT, F.TYPE_DOUBLE)
TIMESTAMP, DATE = "google.protobuf.Timestamp", "google.type.Date"
WRAPPERS = tuple(
    f"google.protobuf.{name}Value" for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_NAMES = {number: name.removeprefix("TYPE_").lower() for name, number in vars(F).items() if name.startswith("TYPE_")}
_EPOCH = date(1970, 1, 1).toordinal()

_GIVEN = {
    F.TYPE_BOOL: "bool", F.TYPE_INT64: "int64", F.TYPE_SINT64: "int64", F.TYPE_SFIXED64: "int64", F.TYPE_FLOAT: "float32", F.TYPE_DOUBLE: "float64",
    F.TYPE_STRING: "string",
}  # fmt: skip

TakeFrom = Callable[[Message], Any]  # the cell of a field of ours in a message. EventError where there is none


@dataclass(frozen=True, slots=True)
class MessageReader:
    """One message of a schema: its class, and for each field of ours what takes it out, or the reason why nothing can."""

    kind: Callable[[], Message]
    takes: tuple[TakeFrom | str, ...]

    @classmethod
    def of(cls, message: Descriptor, schema: Schema) -> "MessageReader":
        return cls(GetMessageClass(message), tuple(_taking(field, message) for field in schema))

    def cells(self, data: bytes) -> list[Any]:
        found = self.kind()
        try:
            found.ParseFromString(data)
        except (DecodeError, RecursionError, ValueError) as err:
            raise EventError(f"wanted a Protobuf message, got bytes that are none ({' '.join(str(err).split())[:80]})") from err
        cells = []
        for take in self.takes:
            if isinstance(take, str):
                raise EventError(take)
            cells.append(take(found))
        return cells


@dataclass(frozen=True, slots=True)
class Reader:
    """The messages of a schema by their place in it; ``only`` is the one that there is, where records do not say which."""

    messages: dict[tuple[int, ...], MessageReader | str]
    only: MessageReader | None

    def cells(self, value: bytes, at: int) -> Sequence[Any]:
        if self.only is not None:
            return self.only.cells(value)
        assert at == SIZE
        path, begin = message_path(value)
        reader = self.messages.get(path)
        if reader is None:
            raise EventError(f"its schema has no message at {', '.join(map(str, path))}")
        if isinstance(reader, str):
            raise EventError(reader)
        return reader.cells(value[begin:])


def misfit(field: Field, message: Descriptor) -> str:
    """Why no value of a message's field of that name fits a field of ours; nothing where one may, or there is no such field."""
    found = message.fields_by_name.get(field.name)
    if found is None or _accepts(field.type, found):
        return ""
    return f"field '{field.name}': wanted {field.type}, got Protobuf's {spoken(found)}"


def spoken(found: FieldDescriptor) -> str:
    """The type of a field in the words of a .proto text."""
    named = found.message_type or found.enum_type
    if is_map(found):
        return "map"
    name: str = named.full_name if named is not None else _NAMES[found.type]
    return f"repeated {name}" if found.is_repeated else name


def is_map(found: FieldDescriptor) -> bool:
    return found.message_type is not None and bool(found.message_type.GetOptions().map_entry)


def inner_of(found: FieldDescriptor) -> FieldDescriptor:
    """The field of a wrapper that holds its value; of everything else the field itself."""
    if found.message_type is not None and found.message_type.full_name in WRAPPERS:
        inner: FieldDescriptor = found.message_type.fields_by_name["value"]
        return inner
    return found


def _accepts(kind: FieldType, found: FieldDescriptor) -> bool:
    """Whether values of a Protobuf field may be read into a field of ours."""
    if found.is_repeated:
        wanted = (F.TYPE_BOOL,) if kind.base == "bool" else NUMBERS
        return bool(kind.shape) and found.type in wanted and not is_map(found)
    inner = inner_of(found)
    if kind.shape:
        return bool(inner.type == F.TYPE_BYTES)
    if found.message_type is not None and inner is found:
        return bool(found.message_type.full_name == {"stamp": TIMESTAMP, "date": DATE}.get(kind.base))
    if kind.base == "stamp":
        return inner.type == F.TYPE_STRING or (inner.type in NUMBERS and kind.unit != "iso")
    accepted = {
        "bool": (F.TYPE_BOOL,), "string": (F.TYPE_STRING, F.TYPE_ENUM), "blob": (F.TYPE_BYTES,), "date": (*WHOLE, F.TYPE_STRING),
    }  # fmt: skip
    numbers = (*NUMBERS, F.TYPE_ENUM) if kind.base in ("int32", "int64") else NUMBERS
    return inner.type in accepted.get(kind.base, numbers)


def _taking(field: Field, message: Descriptor) -> TakeFrom | str:
    found = message.fields_by_name.get(field.name)
    if found is None:
        return lambda _: cell(field, MISSING)
    if why := misfit(field, message):
        return why
    value_of = _value_of(field, found)
    name = found.name
    if found.is_repeated:
        take_all = array_taker(field, _GIVEN.get(found.type, ""))
        return lambda made: take_all(list(getattr(made, name)) or None)
    take = taker(field, _GIVEN.get(found.type, ""))
    if not found.has_presence or found.has_default_value:
        return lambda made: take(value_of(getattr(made, name)))
    return lambda made: take(value_of(getattr(made, name)) if made.HasField(name) else None)


def _value_of(field: Field, found: FieldDescriptor) -> Callable[[Any], Any]:
    """What ``cell`` takes of a value of Protobuf's."""
    if inner_of(found) is not found:
        return lambda made: made.value
    if found.message_type is not None:
        return Timestamp if field.type.base == "stamp" else lambda made: _day(field, made)
    if found.enum_type is not None and field.type.base == "string":
        names = {value.number: value.name for value in reversed(found.enum_type.values)}  # of aliases the first
        return lambda number: _name(field, names, number)
    return lambda value: value


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A google.protobuf.Timestamp as ``cell`` takes times: seconds and nanoseconds."""

    made: Any

    @property
    def seconds(self) -> int:
        return int(self.made.seconds)

    @property
    def nanoseconds(self) -> int:
        if not 0 <= self.made.nanos < 10**9:
            raise EventError(f"wanted a Timestamp, got one of {self.made.nanos} nanoseconds")
        return int(self.made.nanos)

    def __str__(self) -> str:
        return f"of {self.seconds} s"


def _day(field: Field, made: Any) -> int:
    try:
        return date(made.year, made.month, made.day).toordinal() - _EPOCH
    except (ValueError, OverflowError) as err:
        raise Mismatch(f"field '{field.name}': wanted date, got the day {made.year}-{made.month}-{made.day}") from err


def _name(field: Field, names: dict[int, str], number: int) -> str:
    if number not in names:
        raise Mismatch(f"field '{field.name}': wanted {field.type}, got {describe(number)}, which its enum does not name")
    return names[number]
