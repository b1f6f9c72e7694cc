"""What Avro and Protobuf share: records one at a time, by a schema that a file gives, a registry knows, or our fields make."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from esp.errors import EventError, QueryError
from esp.runtime.codecs.decode import Decoded
from esp.runtime.codecs.options import SchemaOptions
from esp.runtime.codecs.place import Place
from esp.runtime.codecs.registry.asking import Refusal
from esp.runtime.codecs.registry.client import Client, SchemaText
from esp.runtime.codecs.registry.framing import SIZE, prefix, schema_number
from esp.runtime.codecs.rows import decode_rows, encode_rows
from esp.runtime.codecs.schema_error import SchemaError
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Schema
from esp.settings import checked

MOST_FILE_BYTES = 4 << 20
MOST_READERS = 256  # schemas that are kept ready


class RecordReader(Protocol):
    """Reads records that were written by one schema."""

    def cells(self, value: bytes, at: int) -> Sequence[Any]:
        """The cells of our fields in the record that begins at a byte (what stands before it names its schema). EventError where it is bad."""
        ...


class RecordWriter(Protocol):
    """Writes records by one schema; ``head`` stands between the schema's number and the record."""

    @property
    def head(self) -> bytes: ...

    def columns(self, block: EventBlock) -> list[list[Any]]:
        """The values of each field, as ``write`` takes those of a row."""
        ...

    def write(self, values: Sequence[Any]) -> bytes:
        """A record. EventError where the schema takes no such values."""
        ...


class SchemaCodec(ABC):
    """One record of a schema a Kafka record: bare, or with the schema's number in front where there is a registry.

    A schema that a source meets is made into a reader once; what cannot be read has its reason. At the start of a query a sink has
    its schema at the registry, and the newest schema of a source's subject, if there is one, is held against its fields.
    """

    name: str
    kind: str  # as registries call it
    asks = ""  # what is added to requests for a schema
    options_kind: type[SchemaOptions]

    def __init__(self, schema: Schema, place: Place, options: Mapping[str, Any]) -> None:
        self.schema, self.place = schema, place
        self.options = checked(self.options_kind, dict(options), f"{place.where}.options", QueryError)
        self.registry = self.options.registry
        self._where_registry = f"{place.where}.options.registry"
        self.client = place.registries.client(self.registry, self._where_registry) if self.registry is not None else None
        self.given = self._read_given()
        self._readers: dict[int, RecordReader | str] = {}
        self._check()
        if self.client is not None:
            place.registries.expect(place.where, self._prepare)

    # ---- what a format knows --------------------------------------------------------------------------------------

    @abstractmethod
    def read_file(self, data: bytes) -> SchemaText:
        """The schema in a file. SchemaError when it is none."""

    @abstractmethod
    def make_text(self) -> SchemaText:
        """The schema that our fields make."""

    @abstractmethod
    def reader(self, text: SchemaText) -> RecordReader:
        """How records of a schema are read. SchemaError when they cannot be."""

    @abstractmethod
    def writer(self, text: SchemaText) -> RecordWriter:
        """How records of a schema are written. SchemaError; QueryError where our fields do not go into it."""

    @abstractmethod
    def misfits(self, text: SchemaText, *, is_whole: bool) -> str:
        """Why a schema is none for our fields, nothing where it is; ``is_whole``: it has to have all of them. SchemaError."""

    # ---- events ---------------------------------------------------------------------------------------------------

    def decode(self, raw: RawBlock) -> Decoded:
        return decode_rows(raw, self.schema, self._cells)

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        number, writer = self._writing
        head = b"" if number is None else prefix(number) + writer.head
        return encode_rows(block, writer.columns(block), lambda values: head + writer.write(values))

    def _cells(self, value: bytes) -> Sequence[Any]:
        if self.client is None:
            return self._given_reader.cells(value, 0)
        number = schema_number(value)
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = self._reader_or_reason(self.client.schema(number, self.asks))
            if len(self._readers) > MOST_READERS:
                del self._readers[next(iter(self._readers))]
        if isinstance(reader, str):
            raise EventError(reader)
        return reader.cells(value, SIZE)

    def _reader_or_reason(self, text: SchemaText) -> RecordReader | str:
        try:
            self._check_kind(text)
            return self.reader(text)
        except SchemaError as err:
            return f"schema {text.number}: {err}"

    def _check_kind(self, text: SchemaText) -> None:
        if text.kind != self.kind:
            raise SchemaError(f"it is {text.kind[:40]}, not {self.kind}")

    @cached_property
    def _given_reader(self) -> RecordReader:
        assert self.given is not None
        return self.reader(self.given)

    # ---- writing --------------------------------------------------------------------------------------------------

    @property
    def own_text(self) -> SchemaText:
        """The schema of a sink as far as it is known here: that of its file, else that of its fields."""
        return self.given or self.make_text()

    @cached_property
    def _writing(self) -> tuple[int | None, RecordWriter]:
        """The number of the schema at the registry, if there is one, and how records are written by it."""
        text = self.own_text if self.client is None else self._registered(self.client)
        return None if self.client is None else text.number, self._made_writer(text)

    def _registered(self, client: Client) -> SchemaText:
        """The schema that the registry knows ours by: registered, looked up, or the newest of its subject."""
        assert self.registry is not None
        if self.registry.is_registering or self.given is not None:
            own = self.own_text
            self._made_writer(own)  # what could not be written is not registered
            number = client.number_of(self.subject, own, is_registering=self.registry.is_registering)
            return SchemaText(number, own.kind, own.text, own.references)
        found = client.latest(self.subject, self.asks)
        if found is None:
            what, mend = f"there is no schema of {self.subject}", "say register = true, or register one before"
            raise Refusal(what, where=self._where_registry, mend=mend)
        return found

    def _made_writer(self, text: SchemaText) -> RecordWriter:
        where = f"{self.place.where}.options"
        try:
            self._check_kind(text)
            return self.writer(text)
        except SchemaError as err:
            raise QueryError(f"the schema cannot be used: {err}", where=where, mend="mend it") from err
        except QueryError as err:
            raise QueryError(err.what, where=err.where or where, mend=err.mend) from err

    # ---- before the first event -----------------------------------------------------------------------------------

    @property
    def subject(self) -> str:
        assert self.registry is not None
        return self.registry.subject or f"{self.place.topic}-value"

    def _prepare(self) -> None:
        """What must be right at the registry."""
        assert self.client is not None
        if self.place.is_sink:
            _ = self._writing
        elif (latest := self.client.latest(self.subject, self.asks)) is not None:
            self._check_read(latest, f"schema {latest.number} of {self.subject}", is_whole=False)

    def _check(self) -> None:
        """QueryError where options, schema file and fields do not go together."""
        where = f"{self.place.where}.options"
        if self.registry is not None and not (self.registry.subject or self.place.topic):
            raise QueryError("it is not said which subject", where=self._where_registry, mend="add subject")
        if self.place.is_sink:
            self._check_names()
            if self.client is None or self.given is not None or (self.registry is not None and self.registry.is_registering):
                self._made_writer(self.own_text)
            return
        if self.registry is not None and self.registry.is_registering:
            raise QueryError("a source registers nothing", where=f"{self._where_registry}.register", mend="take the key out")
        if self.given is not None:
            self._check_read(self.given, str(self.options.schema_file), is_whole=True)
        elif self.client is None:
            raise QueryError("it is not said by which schema records are read", where=where, mend="add schema_file or registry")

    def _check_names(self) -> None:
        for name in self.schema.names:
            if not name.isascii():
                mend = "use letters of ASCII, digits and underscores"
                raise QueryError(f"{self.name} has no fields like '{name}'", where=f"{self.place.where}.options", mend=mend)

    def _check_read(self, text: SchemaText, what: str, *, is_whole: bool) -> None:
        where = f"{self.place.where}.schema"
        try:
            self._check_kind(text)
            why = self.misfits(text, is_whole=is_whole)
        except SchemaError as err:
            raise QueryError(f"{what}: {err}", where=where, mend="mend the schema") from err
        if why:
            raise QueryError(f"{what}: {why}", where=where, mend="make one of them like the other")

    def _read_given(self) -> SchemaText | None:
        """The schema of the file."""
        if self.options.schema_file is None:
            return None
        path, where = self.place.folder / self.options.schema_file, f"{self.place.where}.options.schema_file"
        try:
            with path.open("rb") as file:
                data = file.read(MOST_FILE_BYTES + 1)
            if len(data) > MOST_FILE_BYTES:
                raise SchemaError(f"it is past {MOST_FILE_BYTES} bytes")
            return self.read_file(data)
        except (OSError, ValueError) as err:  # ValueError: a NUL in the path
            reason = getattr(err, "strerror", None) or err
            raise QueryError(f"{path} cannot be read ({reason})", where=where, mend="check the path") from err
        except SchemaError as err:
            raise QueryError(f"{path}: {err}", where=where, mend=f"give a schema of {self.name}") from err
