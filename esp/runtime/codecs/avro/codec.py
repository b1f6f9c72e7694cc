"""The Avro codec: bare records of a schema that is given, or records whose schema a registry knows."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro
import orjson

from esp.errors import EventError, QueryError
from esp.runtime.codecs.avro.options import AvroOptions
from esp.runtime.codecs.avro.reading import Reader, misfit
from esp.runtime.codecs.avro.types import SchemaError, Type, load, plain, record_of
from esp.runtime.codecs.avro.writing import Writer, schema_of
from esp.runtime.codecs.decode import Decoded
from esp.runtime.codecs.place import Place
from esp.runtime.codecs.registry.client import Refusal, SchemaText
from esp.runtime.codecs.registry.framing import SIZE, prefix, schema_number
from esp.runtime.codecs.rows import decode_rows, encode_rows
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Schema
from esp.settings import checked

MOST_FILE_BYTES = 4 << 20
MOST_READERS = 256  # schemas that are kept ready


class AvroCodec:
    """One record of a schema a Kafka record. A field that the schema has not is null, or the default that ``schema_file`` gives it.

    Numbers pass as in the other formats; times by their logical type, without one in the field's unit; decimals only as text; arrays
    of numbers, ``bytes`` and ``fixed`` are tensors. Bytes behind the record, or too few, make it bad.
    """

    name = "avro"

    def __init__(self, schema: Schema, place: Place, options: Mapping[str, Any]) -> None:
        self.schema, self.place = schema, place
        self.options = checked(AvroOptions, dict(options), f"{place.where}.options", QueryError)
        registry = self.options.registry
        self._client = place.registries.client(registry, f"{place.where}.options.registry") if registry is not None else None
        self._given = self._read_file()
        self._readers: dict[int, Reader | str] = {}
        if self._client is None and self._given is None and not place.is_sink:
            raise QueryError("it is not said by which schema", where=f"{place.where}.options", mend="add schema_file or registry")
        self._check_given()
        if self._client is not None:
            place.registries.expect(place.where, self._prepare)

    def decode(self, raw: RawBlock) -> Decoded:
        return decode_rows(raw, self.schema, self._cells)

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        head, writer = self._head, self._writer
        return encode_rows(block, writer.columns(block), lambda values: head + writer.write(values))

    # ---- reading --------------------------------------------------------------------------------------------------

    def _cells(self, value: bytes) -> Sequence[Any]:
        if self._client is None:
            return self._given_reader.cells(value, 0)
        number = schema_number(value)
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = self._reader(self._client.schema(number))
            if len(self._readers) > MOST_READERS:
                del self._readers[next(iter(self._readers))]
        if isinstance(reader, str):
            raise EventError(reader)
        return reader.cells(value, SIZE)

    def _reader(self, text: SchemaText) -> Reader | str:
        """How records of a schema are read, or why they cannot be."""
        try:
            parsed, written = parse(text)
        except SchemaError as err:
            return f"schema {text.number}: {err}"
        return Reader.of(parsed, written, self.schema, self._given[1] if self._given else None)

    @cached_property
    def _given_reader(self) -> Reader:
        assert self._given is not None
        return Reader.of(*self._given, self.schema)

    # ---- writing --------------------------------------------------------------------------------------------------

    @cached_property
    def _writer(self) -> Writer:
        parsed, written = self._written
        try:
            return Writer.of(parsed, written, self.schema)
        except QueryError as err:
            raise QueryError(err.what, where=f"{self.place.where}.options", mend=err.mend) from err

    @cached_property
    def own_text(self) -> SchemaText:
        """The schema that is written by, as far as it is known here."""
        if self._file_text:
            return SchemaText(0, "AVRO", self._file_text)
        return SchemaText(0, "AVRO", orjson.dumps(schema_of(self.schema, self.options.name, self.options.tensors)).decode())

    @cached_property
    def _named(self) -> SchemaText:
        """The schema that the registry knows ours by: registered, looked up, or the newest of its subject."""
        client, registry, where = self._client, self.options.registry, f"{self.place.where}.options.registry"
        assert client is not None
        assert registry is not None
        if registry.is_registering or self._given is not None:
            number = client.number_of(self._subject, self.own_text, is_registering=registry.is_registering)
            return SchemaText(number, "AVRO", self.own_text.text)
        found = client.latest(self._subject)
        if found is None:
            raise Refusal(f"there is no schema of {self._subject}", where=where, mend="say register = true, or register one before")
        return found

    @cached_property
    def _written(self) -> tuple[Any, Type]:
        try:
            return parse(self._named if self._client is not None else self.own_text)
        except SchemaError as err:
            raise QueryError(
                f"the schema of {self._subject} cannot be used: {err}", where=self.place.where, mend="mend it"
            ) from err

    @cached_property
    def _head(self) -> bytes:
        return prefix(self._named.number) if self._client is not None else b""

    # ---- before the first event -----------------------------------------------------------------------------------

    @property
    def _subject(self) -> str:
        registry = self.options.registry
        return registry.subject if registry is not None and registry.subject else f"{self.place.topic}-value"

    def _prepare(self) -> None:
        """What must be right at the registry: a sink has its schema there, and what a source will most likely get fits its fields."""
        if self.place.is_sink:
            _ = self._writer, self._head
            return
        assert self._client is not None
        latest = self._client.latest(self._subject)
        if latest is not None:
            self._check_read(latest, f"{self.place.where}.schema")

    def _check_read(self, text: SchemaText, where: str) -> None:
        try:
            _, written = parse(text)
        except SchemaError as err:
            raise QueryError(f"schema {text.number} of {self._subject}: {err}", where=where, mend="mend the schema") from err
        _check_fit(self.schema, written, f"schema {text.number} of {self._subject}", where)

    def _read_file(self) -> tuple[Any, Type] | None:
        """The schema file, parsed."""
        self._file_text = ""
        if self.options.schema_file is None:
            return None
        path, where = self.place.folder / self.options.schema_file, f"{self.place.where}.options.schema_file"
        self._file_text = text_of(path, where)
        try:
            return parse(SchemaText(0, "AVRO", self._file_text))
        except SchemaError as err:
            raise QueryError(f"{path}: {err}", where=where, mend="give an Avro schema of a record") from err

    def _check_given(self) -> None:
        """QueryError where fields and schema file do not go together."""
        if self.place.is_sink:
            if self._client is None or self._given is not None:
                Writer.of(*parse(self.own_text), self.schema)
            return
        if self._given is None:
            return
        where, there = f"{self.place.where}.schema", [entry.name for entry in self._given[1].fields]
        for name in self.schema.names:
            if name not in there:
                raise QueryError(
                    f"{self.options.schema_file} has no field '{name}'", where=where, mend=f"its fields are {', '.join(there)}"
                )
        _check_fit(self.schema, self._given[1], str(self.options.schema_file), where)


def parse(text: SchemaText) -> tuple[Any, Type]:
    """A schema as fastavro takes it, without logical types, and as a tree. SchemaError when it is none, or not of a record."""
    if text.kind != "AVRO":
        raise SchemaError(f"it is {text.kind}, not AVRO")
    referred = [load(other.text) for other in _referred(text)]
    data = load(text.text)
    written = record_of(data, referred)
    named: dict[str, Any] = {}
    try:
        for other in referred:
            fastavro.parse_schema(plain(other), named_schemas=named)
        return fastavro.parse_schema(plain(data), named_schemas=named), written
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError, TypeError, ValueError) as err:
        raise SchemaError(f"it is no Avro schema ({' '.join(str(err).split())[:80]})") from err


def _referred(text: SchemaText) -> list[SchemaText]:
    """All that a schema refers to, each once, after what it refers to itself."""
    found: dict[int, SchemaText] = {}
    for _, other in text.references:
        found |= {each.number: each for each in _referred(other)}
        found[other.number] = other
    return list(found.values())


def _check_fit(schema: Schema, written: Type, what: str, where: str) -> None:
    there = {entry.name: entry for entry in written.fields}
    for field in schema:
        if field.name in there and (why := misfit(field, there[field.name])):
            raise QueryError(f"{what}: {why}", where=where, mend="make one of them like the other")


def text_of(path: Path, where: str) -> str:
    """The text of a schema file. QueryError when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
        if len(data) > MOST_FILE_BYTES:
            raise QueryError(f"{path} is past {MOST_FILE_BYTES} bytes", where=where, mend="give the file of a schema")
        return data.decode()
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or "it is no text"
        raise QueryError(f"{path} cannot be read ({reason})", where=where, mend="check the path") from err
