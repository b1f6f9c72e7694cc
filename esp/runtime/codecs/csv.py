"""The CSV codec: one line a record, columns in the order of the schema."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from esp.errors import EventError, QueryError
from esp.kernels import columns as c
from esp.runtime.codecs.decode import Decoded, Decoder
from esp.runtime.codecs.encode import Encoder, text_bound
from esp.runtime.codecs.forms import tensor_forms
from esp.runtime.codecs.places import at_byte, csv_place, text_break
from esp.runtime.codecs.table import FieldTable
from esp.runtime.codecs.values import value_of_text
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Field, Schema

_FORMS = {"columns": c.NO_FORM, "text": c.TEXT_FORM, "base64": c.BASE64_FORM}


class CsvCodec:
    """One line a record (a line end may close it), quoted as in RFC 4180; a tensor takes as many columns as it has numbers.

    Empty is null (so there is no empty string); in a tensor of floats some empty columns are NaN, all of them null. Blobs
    are base64, stamps numbers in their unit or ISO text, dates ISO text or days since 1970. ``delimiter`` is one ASCII letter.
    ``tensors`` says how they stand in a line, for all or by field: "columns", or in one column as "text" (numbers with commas between
    them) or "base64" of little-endian numbers; either is read there.
    """

    name = "csv"
    OPTIONS: ClassVar[tuple[str, ...]] = ("delimiter", "tensors")

    def __init__(self, schema: Schema, delimiter: str = ",", tensors: str | Mapping[str, str] = "columns") -> None:
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
        self._forms = forms = tensor_forms(schema, tensors, tuple(_FORMS))
        self._widths = [math.prod(field.type.shape) if form == "columns" else 1 for field, form in zip(schema, forms)]
        table = FieldTable.of(schema, is_base64=True)
        table.rows[:, c.FORM] = [_FORMS[form] if form else c.NO_FORM for form in forms]
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
        width = sum(self._widths)
        if len(parts) != width:
            end = csv_place(value, width, self._delimiter)
            place = len(value) if end is None else end
            raise EventError(f"wanted {width} columns, got {len(parts)}{at_byte(place)}")
        rest = iter(parts)
        cells = [[next(rest) for _ in range(width)] for width in self._widths]
        return [_value(field, form, texts) for field, form, texts in zip(self._schema, self._forms, cells)]

    def _place(self, value: bytes, field: int) -> int | None:
        return csv_place(value, sum(self._widths[:field]), self._delimiter)


def _value(field: Field, form: str | None, texts: Sequence[str]) -> Any:
    """What stands for a field in its columns."""
    if not field.type.shape:
        return value_of_text(field.type.base, texts[0])
    if form != "columns":
        return texts[0] or None
    return [value_of_text(field.type.base, text) for text in texts] if any(texts) else None
