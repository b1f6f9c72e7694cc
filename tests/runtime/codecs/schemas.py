"""What tests of Avro and Protobuf share: codecs at a place, events as blocks, and what came out as Python values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esp.runtime.codecs import Codec, Decoded, Place, codec
from esp.runtime.codecs.registry.registries import Registries
from esp.runtime.events import Column, EventBlock, VarColumn
from esp.runtime.schema import Schema

WHERE = "query.toml: windows.w"


def place(folder: Path = Path(), *, topic: str = "t", is_sink: bool = False, registries: Registries | None = None) -> Place:
    return Place(WHERE, folder, topic, registries or Registries(), is_sink=is_sink)


def source(format: str, schema: str, folder: Path = Path(), /, **options: Any) -> Codec:
    return codec(format, Schema.parse(schema), place(folder), **options)


def sink(format: str, schema: str, folder: Path = Path(), /, **options: Any) -> Codec:
    return codec(format, Schema.parse(schema), place(folder, is_sink=True), **options)


def events(schema: str, rows: Sequence[Sequence[Any]]) -> EventBlock:
    """Rows of Python values (None = null; bytes for blobs, stamps in nanoseconds) as a block."""
    parsed = Schema.parse(schema)
    columns: list[Column] = []
    validity: list[Any] = []
    for at, field in enumerate(parsed):
        cells, kind = [row[at] for row in rows], field.type
        there = np.array([cell is not None for cell in cells], np.bool_)
        validity.append(None if there.all() else there)
        if kind.is_var:
            columns.append(VarColumn.of([cell if cell is not None else b"" for cell in cells]))
        else:
            zero = np.zeros(kind.shape, kind.dtype)
            columns.append(np.array([zero if cell is None else cell for cell in cells], kind.dtype).reshape(len(rows), *kind.shape))
    zeros = np.zeros(len(rows), np.int64)
    return EventBlock(parsed, tuple(columns), tuple(validity), zeros, zeros, 0)


def written(made: Codec, block: EventBlock) -> list[bytes]:
    buffer, at, size = made.encode(block)
    return [buffer[start : start + length].tobytes() for start, length in zip(at, size)]


def rows_of(found: Decoded) -> list[list[Any]]:
    """The good rows as Python values; text and blobs as bytes, tensors as nested lists."""
    columns: list[list[Any]] = []
    for column, valid in zip(found.columns, found.validity):
        cells = [column.value(row) for row in range(len(column))] if isinstance(column, VarColumn) else column.tolist()
        columns.append(cells if valid is None else [cell if there else None for cell, there in zip(cells, valid.tolist())])
    return [list(row) for row in zip(*columns)]
