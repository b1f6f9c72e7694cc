"""The sink kind: events become records again, with the key, the headers and the time stamp of what they come from."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic

from esp.errors import QueryError
from esp.kernels.origins import origins
from esp.kernels.pieces import join
from esp.runtime.codecs import Codec, Place, Unwritable, codec
from esp.runtime.events import I64, U8, Block, DeadBlock, EventBlock, Opcode, RawBlock
from esp.runtime.headers import add_headers
from esp.runtime.keys import key_text
from esp.runtime.kinds.keyed import require_field
from esp.runtime.kinds.origins import as_records
from esp.runtime.kinds.retractions import refuse_unretracted
from esp.runtime.kinds.window import Context, Environment, Ports, Settings, Stream, Window
from esp.runtime.schema import Schema


class SinkSettings(Settings):
    """Encodes events for its connector."""

    kind: Literal["sink"]
    format: str = pydantic.Field("json", description="codec of the values: msgpack, json, csv, avro or protobuf")
    options: dict[str, Any] = pydantic.Field(
        default_factory=dict, description="options of the format, such as tensors; see esp keys options.json"
    )
    fields: tuple[str, ...] = pydantic.Field((), description="the fields that go out, in this order; all, if left out")
    key: tuple[str, ...] | None = pydantic.Field(
        None,
        description="fields that make the record key, as text joined by '|'; left out: the key of the origin (not with tombstones), "
        "else the key fields of the schema",
    )
    deletes: Literal["tombstone", "drop"] = pydantic.Field(
        "drop", description="what a delete becomes: a record without a value, or nothing"
    )
    model_header: bool = pydantic.Field(False, description="stamp the digest of the model into the record header esp-model")

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        for key, names in (("fields", self.fields), ("key", self.key or ())):
            for name in names:
                require_field(stream, name, f"{env.where}.{key}")
                if names.count(name) > 1:
                    raise QueryError(f"field '{name}' is named twice", where=f"{env.where}.{key}", mend="name it once")
        for name in self.key or ():
            if stream.schema[name].type.shape:
                raise QueryError(f"the tensor '{name}' cannot be part of a key", where=f"{env.where}.key", mend="take it out")
        if self.deletes == "tombstone" and not (self.key or stream.schema.keys):
            raise QueryError("a tombstone needs a key", where=f"{env.where}.key", mend='say key = ["FIELD"]')
        if self.deletes == "tombstone":
            refuse_unretracted(self.key or stream.schema.keys, stream, f"{env.where}.key")
        try:
            self._codec(stream, env)
        except QueryError as err:
            raise QueryError(err.what, where=err.where or env.where, mend=err.mend) from err
        return {}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        return SinkWindow(self, stream.schema, self._schema(stream.schema), self._codec(stream, env))

    def _codec(self, stream: Stream, env: Environment) -> Codec:
        place = Place(env.where, env.folder, env.topic, env.registries, is_sink=True)
        return codec(self.format, self._schema(stream.schema), place, **self.options)

    def _schema(self, schema: Schema) -> Schema:
        return Schema(tuple(schema[name] for name in self.fields)) if self.fields else schema


class SinkWindow:
    """Leaves RawBlocks on port ``out``."""

    def __init__(self, settings: SinkSettings, schema: Schema, written: Schema, codec: Codec) -> None:
        self.settings, self.written, self.codec = settings, written, codec
        self.key_fields = settings.key if settings.key is not None else schema.keys
        # a delete has no origin: its record gets the key of the record that it takes back only where fields make both
        self.keeps_key = settings.key is None and settings.deletes == "drop"

    def open(self, context: Context) -> None:
        self.partition, self.window = context.partition, context.window

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        if block.opcode is not None and self.settings.deletes == "drop":
            block = block.take(np.flatnonzero(block.opcode < Opcode.DELETE))
        try:
            return [("out", self._record_block(block))] if len(block) else []
        except Unwritable as err:
            bad = np.array(list(err.reasons), np.int64)
            dead = DeadBlock(as_records(block.take(bad)), np.arange(len(bad)), tuple(err.reasons.values()), self.window)
            return [*self.on_block(port, block.take(np.delete(np.arange(len(block)), bad))), ("dead", dead)]

    def _record_block(self, block: EventBlock) -> RawBlock:
        if self.settings.fields:
            places = [block.schema.index(name) for name in self.written.names]
            shown = block.with_columns(self.written, [block.columns[i] for i in places], [block.validity[i] for i in places])
        else:
            shown = block
        values, value_at, value_size = self.codec.encode(shown)
        if block.opcode is not None:
            value_size = np.where(block.opcode >= Opcode.DELETE, -1, value_size)
        origin = _Origin.of(block)
        keys, key_at, key_size = self._keys(block, origin)
        headers, header_at, header_size = self._headers(block, origin)
        if len(keys) or len(headers):
            key_at, header_at = key_at + len(values), header_at + (len(values) + len(keys))
            values = np.concatenate((values, keys, headers))
        return RawBlock(
            "", self.partition, values, value_at, value_size, key_at, key_size, header_at, header_size,
            np.arange(len(block), dtype=np.int64), origin.stamps_ms,
        )  # fmt: skip

    def _keys(self, block: EventBlock, origin: "_Origin") -> tuple[U8, I64, I64]:
        """Row by row the key of the origin, where it is kept and there is one, else the text of the key fields."""
        if self.keeps_key and origin.events == len(block):
            return _origin_keys(block, slice(None), origin.key_bytes)
        data, at, size = _nothing(len(block))
        if self.key_fields:
            text = key_text(block, self.key_fields)
            data, at, size = text.data, text.offsets[:-1].copy(), np.diff(text.offsets)
        if self.keeps_key and origin.events:
            own = _origin_rows(block)
            keys, begin, size[own] = _origin_keys(block, own, origin.key_bytes)
            at[own] = begin + len(data)
            data = np.concatenate((data, keys))
        return data, at, size

    def _headers(self, block: EventBlock, origin: "_Origin") -> tuple[U8, I64, I64]:
        """The origin's headers, and the model's digest behind them; one copy serves all rows that have no headers of their own."""
        model = [("esp-model", block.models[-1].encode())] if self.settings.model_header and block.models else []
        shared = add_headers(b"", model)
        at, size = np.zeros(len(block), np.int64), np.full(len(block), len(shared) or -1)
        parts, end = [shared], len(shared)
        for row, headers in _own_headers(block) if origin.with_headers else ():
            parts.append(add_headers(headers, model) if model else headers)
            at[row], size[row] = end, len(parts[-1])
            end += len(parts[-1])
        return np.frombuffer(b"".join(parts), np.uint8), at, size


class _Origin(NamedTuple):
    """What events have of the records that they come from: their stamps (their own time where there is none), how many come from one, the
    bytes of all keys, and how many have headers."""

    stamps_ms: I64
    events: int
    key_bytes: int
    with_headers: int

    @classmethod
    def of(cls, block: EventBlock) -> "_Origin":
        raw, row = block.raw, block.raw_row
        if raw is None or row is None or not len(raw):
            return cls(block.ts_ns // 1_000_000, 0, 0, 0)
        stamps_ms, told = np.empty(len(block), np.int64), np.empty(3, np.int64)
        origins(row, raw.key_size, raw.header_size, raw.ts_ms, block.ts_ns, stamps_ms, told)
        return cls(stamps_ms, *told.tolist())


def _origin_rows(block: EventBlock) -> I64:
    """The rows that come from a record."""
    assert block.raw_row is not None
    return np.flatnonzero(block.raw_row >= 0)


def _origin_keys(block: EventBlock, rows: "I64 | slice", key_bytes: int) -> tuple[U8, I64, I64]:
    """The keys of the records that rows come from, one behind the other: where each begins, and its size (-1 = none)."""
    assert block.raw is not None
    assert block.raw_row is not None
    from_rows = block.raw_row[rows]
    at, size = block.raw.key_at[from_rows], block.raw.key_size[from_rows]
    keys, begin = np.empty(key_bytes, np.uint8), np.empty(len(size), np.int64)
    join(block.raw.buffer, at, size, keys, begin)
    return keys, begin, size


def _own_headers(block: EventBlock) -> Iterator[tuple[int, bytes]]:
    """The rows whose record has headers, with them."""
    assert block.raw is not None
    assert block.raw_row is not None
    own = _origin_rows(block)
    for row in own[block.raw.header_size[block.raw_row[own]] > 0].tolist():
        yield row, block.raw.headers(block.raw_row[row])


def _nothing(n: int) -> tuple[U8, I64, I64]:
    return np.empty(0, np.uint8), np.zeros(n, np.int64), np.full(n, -1, np.int64)
