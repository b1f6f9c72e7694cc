"""The JSON codec: one object a record."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from esp.errors import EventError
from esp.kernels import columns as c
from esp.runtime.codecs.decode import Decoded, Decoder
from esp.runtime.codecs.encode import Encoder, text_bound
from esp.runtime.codecs.forms import tensor_forms
from esp.runtime.codecs.judging import Judge
from esp.runtime.codecs.places import at_byte, json_place, text_break
from esp.runtime.codecs.table import FieldTable
from esp.runtime.codecs.values import MISSING, describe
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Schema

_WANTED = "wanted a JSON object"
_FORMS = {"array": c.ARRAY_FORM, "base64": c.BASE64_FORM, "text": c.TEXT_FORM}


class JsonCodec:
    """One object a record. Blobs are base64 text; tensors arrays, flat or nested, base64 of little-endian numbers, or numbers as text in
    one string, with commas between them and one behind the last or none.

    Stamps are numbers in their unit or ISO text, dates ISO text or days since 1970. NaN and infinities are written as null (nan and inf in
    text); null in an array of floats is NaN. ``tensors`` is what ``encode`` writes: "array" (flat), "base64" or "text", for all
    tensors or by field, as in { points = "text" }. A tensor that stood so in its record and is unchanged is repeated letter by letter.
    """

    name = "json"
    OPTIONS: ClassVar[tuple[str, ...]] = ("tensors",)

    def __init__(self, schema: Schema, tensors: str | Mapping[str, str] = "array") -> None:
        from esp.kernels import json as read  # loaded where the format is used
        from esp.kernels import json_judge
        from esp.kernels import json_write as write

        forms = tensor_forms(schema, tensors, tuple(_FORMS))
        self._schema = schema
        self._decoder = Decoder(
            FieldTable.of(schema, is_base64=True), read.decode, self.read, self._place, has_text_bytes=True, is_spelled=True,
            judge=Judge.of(json_judge.judge, schema, f"{_WANTED}, got text that is none"),
        )  # fmt: skip
        keys = tuple(orjson.dumps(name) + b":" for name in schema.names)
        table = FieldTable.of(schema, names=keys)
        table.rows[:, c.FORM] = [_FORMS[form] if form else c.NO_FORM for form in forms]
        bound = 2 + sum(len(key) for key in keys) + text_bound(table)
        self._encoder = Encoder(table, write.encode, bound, 6, is_spelled=True)

    def decode(self, raw: RawBlock) -> Decoded:
        return self._decoder.decode(raw)

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        return self._encoder.encode(block)

    def read(self, value: bytes) -> Sequence[Any]:
        """The values of the fields as the generic library reads them."""
        try:
            record = orjson.loads(value)
        except orjson.JSONDecodeError as err:
            why, place = text_break(value) or (err.msg, len(err.doc[: err.pos].encode()))
            raise EventError(f"{_WANTED}, got text that is none ({why}){at_byte(place)}") from err
        if not isinstance(record, dict):
            raise EventError(f"{_WANTED}, got {describe(record)}")
        return [record.get(name, MISSING) for name in self._schema.names]

    def _place(self, value: bytes, field: int) -> int | None:
        return json_place(value, self._schema.names[field])
