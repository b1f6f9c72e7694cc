"""Codecs: bytes of records to columns and back; each a field table walked by a kernel, with a generic library behind it.

Formats whose records follow a schema of their own (Avro, Protobuf) go through the generic library alone.

Null: a field that is missing or null (in CSV: empty). Unknown fields are ignored. Integers pass as floats, and floats as integers
where they are integral and fit; nothing else is converted. A row that does not fit its schema is bad, with a reason.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from esp.errors import QueryError
from esp.runtime.codecs.csv import CsvCodec
from esp.runtime.codecs.decode import Decoded
from esp.runtime.codecs.json import JsonCodec
from esp.runtime.codecs.msgpack import MsgpackCodec
from esp.runtime.codecs.place import Place
from esp.runtime.codecs.rows import Unwritable
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Schema

__all__ = ["CODECS", "FORMATS", "Codec", "Decoded", "Place", "Unwritable", "codec"]


class Codec(Protocol):
    """Reads and writes the values of records for one schema; one codec serves one thread at a time."""

    name: str

    def decode(self, raw: RawBlock) -> Decoded:
        """The values of a block as columns; bad rows apart, with reasons. A null value is bad."""
        ...

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        """The rows of a block as bytes: one buffer, where each value lies in it, and its size.

        Raises Unwritable where a schema that is not ours has no place for some of them.
        """
        ...


CODECS: dict[str, type[MsgpackCodec] | type[JsonCodec] | type[CsvCodec]] = {
    "msgpack": MsgpackCodec,
    "json": JsonCodec,
    "csv": CsvCodec,
}


def _avro(schema: Schema, place: Place, options: Mapping[str, Any]) -> Codec:
    from esp.runtime.codecs.avro.codec import AvroCodec  # loaded where the format is used: its library is an extra

    return AvroCodec(schema, place, options)


def _protobuf(schema: Schema, place: Place, options: Mapping[str, Any]) -> Codec:
    from esp.runtime.codecs.protobuf.codec import ProtobufCodec

    return ProtobufCodec(schema, place, options)


# Formats whose records follow a schema of their own, from a file or a registry; each the name of an extra too.
BY_SCHEMA: dict[str, Callable[[Schema, Place, Mapping[str, Any]], Codec]] = {"avro": _avro, "protobuf": _protobuf}
FORMATS = (*CODECS, *BY_SCHEMA)


def codec(name: str, schema: Schema, place: Place | None = None, /, **options: Any) -> Codec:
    """The codec of a name for a schema.

    QueryError when there is none of that name, when it has no such option, or when an option's value is not one of those it takes.
    """
    if name in BY_SCHEMA:
        try:
            return BY_SCHEMA[name](schema, place or Place(), options)
        except ImportError as err:
            what = f"format '{name}' needs the package {err.name}"
            raise QueryError(what, mend=f"pip install 'esp-engine[{name}]'") from err
    if name not in CODECS:
        raise QueryError(f"there is no codec '{name}'", mend=f"use one of {', '.join(FORMATS)}")
    kind = CODECS[name]
    for option in options:
        if option not in kind.OPTIONS:
            known = f"it takes {', '.join(kind.OPTIONS)}"
            raise QueryError(f"codec '{name}' has no option '{option}'", mend=known)
    return kind(schema, **options)
