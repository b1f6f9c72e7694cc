"""The msgpack codec: maps by field name or arrays by position, told apart record by record."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgpack

from esp.errors import EventError, QueryError
from esp.kernels import columns as c
from esp.runtime.codecs.decode import Decoded, Decoder
from esp.runtime.codecs.encode import Encoder
from esp.runtime.codecs.forms import tensor_forms
from esp.runtime.codecs.judging import Judge
from esp.runtime.codecs.places import at_byte, msgpack_break, msgpack_place, pass_over
from esp.runtime.codecs.table import FieldTable
from esp.runtime.codecs.values import MISSING, describe
from esp.runtime.events import I64, U8, EventBlock, RawBlock
from esp.runtime.schema import Schema

_WANTED = "wanted one msgpack map or array, got bytes that are none"
_LAYOUTS = ("map", "array")
DEEPEST = 1024  # levels that the library takes, each of a byte at least
_FORMS = {"bin": c.NO_FORM, "array": c.ARRAY_FORM}


class MsgpackCodec:
    """One map or array a record. Strings are str, blobs bin; tensors bin of little-endian numbers, or arrays, flat or nested.

    Stamps are integers in their unit, ISO text or msgpack time stamps; dates days since 1970 or ISO text. An array that is too
    short ends in nulls; what it holds past the schema is ignored. ``layout`` ("map", "array") is what ``encode`` writes, with
    ``tensors``, for all or by field, as "bin" or "array" (flat).
    """

    name = "msgpack"
    OPTIONS: ClassVar[tuple[str, ...]] = ("layout", "tensors")

    def __init__(self, schema: Schema, layout: str = "map", tensors: str | Mapping[str, str] = "bin") -> None:
        from esp.kernels import msgpack as read  # loaded where the format is used
        from esp.kernels import msgpack_judge
        from esp.kernels import msgpack_write as write

        if layout not in _LAYOUTS:
            raise QueryError(f"msgpack has no layout '{layout}'", mend=f"use one of {', '.join(_LAYOUTS)}")
        self._schema = schema
        judge = Judge.of(msgpack_judge.judge, schema, _WANTED)
        self._decoder = Decoder(FieldTable.of(schema), read.decode, self.read, self._place, has_text_bytes=False, judge=judge)
        packed = tuple(msgpack.packb(name) for name in schema.names) if layout == "map" else (b"",) * len(schema)
        table = FieldTable.of(schema, names=packed)
        table.rows[:, c.FORM] = [_FORMS[form] if form else c.NO_FORM for form in tensor_forms(schema, tensors, tuple(_FORMS))]
        numbers = int((table.rows[:, c.COUNT] * (table.rows[:, c.FORM] == c.ARRAY_FORM)).sum())
        bound = 5 + sum(len(name) for name in packed) + int(table.rows[:, c.SIZE].sum()) + 40 * len(schema) + numbers
        self._encoder = Encoder(table, write.encode, bound, 1, option=_LAYOUTS.index(layout))

    def decode(self, raw: RawBlock) -> Decoded:
        return self._decoder.decode(raw)

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        return self._encoder.encode(block)

    def read(self, value: bytes) -> Sequence[Any]:
        """The values of the fields as the generic library reads them."""
        try:
            if (
                len(value) > DEEPEST
            ):  # what is nested deeper the library makes whole before it refuses it, in a hundred times the time
                pass_over(value)
            record = msgpack.unpackb(value, strict_map_key=False, object_pairs_hook=tuple)
        except (ValueError, msgpack.exceptions.UnpackException) as err:
            why = "nested too deep" if isinstance(err, msgpack.StackError) else str(err).strip(".") or "no such form"
            place = len(value) - len(err.extra) if isinstance(err, msgpack.ExtraData) else msgpack_break(value)
            raise EventError(f"{_WANTED} ({why}){at_byte(place)}") from err
        if isinstance(record, list):
            return (record + [MISSING] * len(self._schema))[: len(self._schema)]
        if not isinstance(record, tuple):
            raise EventError(f"wanted a msgpack map or array, got {describe(record)}")
        found = {key: part for key, part in record if isinstance(key, str)}
        return [found.get(name, MISSING) for name in self._schema.names]

    def _place(self, value: bytes, field: int) -> int | None:
        return msgpack_place(value, self._schema, field)
