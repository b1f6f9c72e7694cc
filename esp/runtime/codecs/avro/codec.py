"""The Avro codec: how fastavro reads and writes records, and what our fields look like in an Avro schema."""

from functools import cached_property
from typing import Any

import fastavro
import orjson

from esp.runtime.codecs.avro.reading import Reader, misfit
from esp.runtime.codecs.avro.types import Type, load, plain, record_of
from esp.runtime.codecs.avro.writing import Writer, schema_of
from esp.runtime.codecs.by_schema import SchemaCodec
from esp.runtime.codecs.options import AvroOptions
from esp.runtime.codecs.registry.client import SchemaText
from esp.runtime.codecs.schema_error import SchemaError

DEFAULT_NAME = "Event"


class AvroCodec(SchemaCodec):
    """A field that the schema of a record has not is null, or the default that ``schema_file`` gives it.

    Numbers pass as in the other formats; times by their logical type, without one in the field's unit; decimals only as text; arrays
    of numbers, ``bytes`` and ``fixed`` are tensors. Bytes behind the record, or too few, make it bad.
    """

    name, kind, options_kind = "avro", "AVRO", AvroOptions

    def read_file(self, data: bytes) -> SchemaText:
        try:
            text = SchemaText(0, self.kind, data.decode())
        except UnicodeDecodeError as err:
            raise SchemaError("it is no text") from err
        parse(text)
        return text

    def make_text(self) -> SchemaText:
        made = schema_of(self.schema, self.options.name or DEFAULT_NAME, self.options.tensors)
        return SchemaText(0, self.kind, orjson.dumps(made).decode())

    def reader(self, text: SchemaText) -> Reader:
        parsed, written = self._named(text)
        return Reader.of(parsed, written, self.schema, None if self.client is None else self._read_by)

    def writer(self, text: SchemaText) -> Writer:
        return Writer.of(*parse(text), self.schema)

    def misfits(self, text: SchemaText, *, is_whole: bool) -> str:
        written = self._named(text)[1]
        there = {entry.name: entry for entry in written.fields}
        for field in self.schema:
            if field.name not in there:
                if is_whole and field.default is None:
                    return f"it has no field '{field.name}', but {', '.join(there)}"
            elif why := misfit(field, there[field.name]):
                return why
        return ""

    def _named(self, text: SchemaText) -> tuple[Any, Type]:
        """A schema of the record that the options name, if they name one."""
        parsed, written = parse(text)
        if self.options.name not in ("", written.name):
            raise SchemaError(f"it is a schema of {written.name[:80]}, not of {self.options.name}")
        return parsed, written

    @cached_property
    def _read_by(self) -> Type | None:
        return None if self.given is None else parse(self.given)[1]


def parse(text: SchemaText) -> tuple[Any, Type]:
    """A schema as fastavro takes it, without logical types, and as a tree. SchemaError when it is none, or not of a record."""
    referred = [load(other.text) for other in text.all_references()]
    data = load(text.text)
    written = record_of(data, referred)
    named: dict[str, Any] = {}
    try:
        for other in referred:
            fastavro.parse_schema(plain(other), named_schemas=named)
        return fastavro.parse_schema(plain(data), named_schemas=named), written
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError, TypeError, ValueError) as err:
        raise SchemaError(f"it is no Avro schema ({' '.join(str(err).split())[:80]})") from err
