"""The copy kind: keeps the last rows of each key, and takes back (as deletes) the ones that fall out."""

from math import prod
from typing import Literal

import numpy as np
import pydantic

from esp.kernels import windows as kernels
from esp.runtime.events import I64, Block, Bools, Column, EventBlock, VarColumn
from esp.runtime.keys import row_keys
from esp.runtime.kinds.assemble import joined, joined_validity
from esp.runtime.kinds.keyed import KeyedSettings, check_ring, refuse_retractions
from esp.runtime.kinds.window import Context, Environment, Ports, Stream, Window
from esp.runtime.schema import Schema


class CopySettings(KeyedSettings):
    """Passes inserts on, each followed by the delete of the row that it pushes out."""

    kind: Literal["copy"]
    keep: int = pydantic.Field(ge=1, le=1_000_000, description="rows kept of each key")

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        refuse_retractions(stream, env, self.kind)
        self.key_fields(stream, env)
        check_ring(self.keep * _row_bytes(stream.schema), f"{env.where}.keep")
        return {"out": Stream(stream.schema, True, stream.partitioned_by)}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        return CopyWindow(stream.schema, self.key_fields(stream, env), self.keep)


def _row_bytes(schema: Schema) -> int:
    """What a row takes in its ring: event time, validity, and the values (of strings and blobs only where they lie)."""
    sizes = (16 if field.type.is_var else field.type.dtype.itemsize * prod(field.type.shape) for field in schema)
    return 8 + len(schema) + sum(sizes)


class CopyWindow:
    """Rings of rows in a state table: event number s of a key lies in slot s % keep."""

    def __init__(self, schema: Schema, by: tuple[str, ...], keep: int) -> None:
        self.schema, self.by, self.keep = schema, by, keep

    def open(self, context: Context) -> None:
        columns: dict[str, tuple[str, tuple[int, ...]]] = {
            "count": ("int64", ()),
            "ts_ns": ("int64", (self.keep,)),
            "valid": ("bool", (self.keep, len(self.schema))),
        }
        for field in self.schema:
            dtype = "bytes" if field.type.is_var else str(field.type.dtype)
            columns[f"field {field.name}"] = (dtype, (self.keep, *field.type.shape))
        self.table = context.table("rows", columns)

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        if not len(block):
            return [("out", block)]
        n = len(block)
        rows = self.table.rows(row_keys(block, self.by))
        count = self.table.column("count")
        before = count[rows]
        begin, place, order = np.zeros(len(count), np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
        kernels.group(rows, begin, place, order)
        source, cause, opcode = np.empty(2 * n, np.int64), np.empty(2 * n, np.int64), np.empty(2 * n, np.uint8)
        is_kept, fallen = np.empty(n, np.uint8), np.empty((n, 2), np.int64)
        made = kernels.retain(rows, self.keep, count, begin, place, order, source, opcode, cause, is_kept, fallen)
        source, cause, opcode = source[:made], cause[:made], opcode[:made]
        out = block if made == n else self._emit(block, source, cause, opcode, fallen[: int((source >= n).sum())])
        kept = np.flatnonzero(is_kept)
        self._store(block, kept, rows[kept], (before + place)[kept] % self.keep)
        return [("out", out)]

    def _emit(self, block: EventBlock, source: I64, cause: I64, opcode: "np.ndarray", fallen: I64) -> EventBlock:
        """The block with the deletes between its rows; ``fallen`` are the rows that the table gives back."""
        n, rows, slots = len(block), fallen[:, 0].copy(), fallen[:, 1].copy()
        columns: list[Column] = []
        validity: list[Bools | None] = []
        valid = self.table.column("valid")[rows, slots]
        for at, field in enumerate(self.schema):
            both = joined(block.columns[at], self._held(field.name, rows, slots))
            columns.append(both.take(source) if isinstance(both, VarColumn) else both[source])
            flags = joined_validity(block.validity[at], n, valid[:, at], len(rows))
            validity.append(None if flags is None else flags[source])
        ts_ns = np.concatenate((block.ts_ns, self.table.column("ts_ns")[rows, slots]))[source]
        raw_row = None if block.raw_row is None else np.where(opcode == kernels.INSERT, block.raw_row[cause], -1)
        return EventBlock(
            self.schema, tuple(columns), tuple(validity), ts_ns, block.watermark_ns[cause], block.end_watermark_ns, opcode,
            block.raw, raw_row, block.models,
        )  # fmt: skip

    def _held(self, name: str, rows: I64, slots: I64) -> Column:
        if self.schema[name].type.is_var:
            return self.table.get(f"field {name}", rows, slots)
        return self.table.column(f"field {name}")[rows, slots]

    def _store(self, block: EventBlock, kept: I64, rows: I64, slots: I64) -> None:
        self.table.column("ts_ns")[rows, slots] = block.ts_ns[kept]
        for at, field in enumerate(self.schema):
            column, valid = block.columns[at], block.validity[at]
            self.table.column("valid")[rows, slots, at] = True if valid is None else valid[kept]
            if isinstance(column, VarColumn):
                self.table.put(f"field {field.name}", rows, slots, column.take(kept))
            else:
                self.table.column(f"field {field.name}")[rows, slots] = column[kept]
