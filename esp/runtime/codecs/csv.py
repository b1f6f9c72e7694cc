"""The CSV codec: one line a record, columns in the order of the schema."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from esp.errors import EventError, QueryError
from esp.runtime.codecs.decode import Decoded, Decoder
from esp.runtime.codecs.encode import Encoder, text_bound
from esp.runtime.codecs.places import at_byte, csv_place, text_break
from esp.runtime.codecs.table import FieldTable
from esp.runtime.codecs.values import value_of_text
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Field, Schema


class CsvCodec:
    """One line a record (a line end may close it), quoted as in RFC 4180; a tensor takes as many columns as it has numbers.

    Empty is null (so there is no empty string); in a tensor of floats some empty columns are NaN, all of them null. Blobs
    are base64, stamps numbers in their unit or ISO text, dates ISO text or days since 1970. ``delimiter`` is one ASCII letter.
    """

    name = "csv"
    OPTIONS: ClassVar[tuple[str, ...]] = ("delimiter",)

    def __init__(self, schema: Schema, delimiter: str = ",") -> None:
        from esp.kernels import csv as read  # loaded where the format is used
        from esp.kernels import csv_write as write

        if (
            not isinstance(delimiter, str)
            or len(delimiter) != 1
            or not delimiter.isascii()
            or delimiter in '"\r\n\0+-._'
            or delimiter.isalnum()
        ):
            raise QueryError(f"{delimiter!r} is no delimiter of CSV", mend='use one ASCII sign, such as "," or ";"')
        self._schema, self._delimiter = schema, delimiter
        self._width = sum(math.prod(field.type.shape) for field in schema)
        table = FieldTable.of(schema, is_base64=True)
        self._decoder = Decoder(table, read.decode, self.read, self._place, has_text_bytes=True, option=ord(delimiter))
        self._encoder = Encoder(table, write.encode, text_bound(table), 2, option=ord(delimiter))

    def decode(self, raw: RawBlock) -> Decoded:
        return self._decoder.decode(raw)

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        return self._encoder.encode(block)

    def read(self, value: bytes) -> Sequence[Any]:
        """The values of the fields as the generic library reads them."""
        try:
            lines = list(csv.reader(io.StringIO(value.decode(), newline=""), delimiter=self._delimiter, strict=True))
        except (csv.Error, UnicodeDecodeError) as err:
            why, place = text_break(value) or (str(err), value.find(b'"'))
            raise EventError(f"wanted a line of CSV, got text that is none ({why}){at_byte(place)}") from err
        if len(lines) > 1:
            raise EventError(f"wanted one line of CSV, got {len(lines)}")
        parts = (lines and lines[0]) or [""]
        if len(parts) != self._width:
            end = csv_place(value, self._width, self._delimiter)
            place = len(value) if end is None else end
            raise EventError(f"wanted {self._width} columns, got {len(parts)}{at_byte(place)}")
        rest = iter(parts)
        return [_value(field, rest) for field in self._schema]

    def _place(self, value: bytes, field: int) -> int | None:
        columns = sum(math.prod(before.type.shape) for before in self._schema.fields[:field])
        return csv_place(value, columns, self._delimiter)


def _value(field: Field, rest: Iterator[str]) -> Any:
    """What stands for a field in the next columns."""
    if not field.type.shape:
        return value_of_text(field.type.base, next(rest))
    texts = [next(rest) for _ in range(math.prod(field.type.shape))]
    return [value_of_text(field.type.base, text) for text in texts] if any(texts) else None
