"""A schema as the integer table that a codec's kernel walks; no code is made for a schema."""

from dataclasses import dataclass

import numpy as np

from esp.kernels import columns as c
from esp.runtime.events import I64, U8
from esp.runtime.schema import STAMP_UNITS, Field, FieldType, Schema

_CODES = {
    "bool": c.BOOL, "uint8": c.UINT8, "int32": c.INT32, "int64": c.INT64, "float32": c.FLOAT32, "float64": c.FLOAT64,
    "string": c.STRING, "blob": c.BLOB, "stamp": c.STAMP, "date": c.DATE,
}  # fmt: skip
_CUT_SIZE = 16  # bytes of a cut: where a string lies and how long it is


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The table (int64[fields, FIELD_WIDTH]; columns as in kernels/columns.py) and the arrays that its addresses point into."""

    schema: Schema
    rows: I64
    names: U8
    dims: I64
    cells: tuple[tuple[tuple[int, ...], np.dtype[np.generic], int], ...]  # of each column: shape of a row, element, bytes of a row
    of_var_size: tuple[int, ...]  # the fields that are strings or blobs, whose cells are cuts
    defaults: U8
    extra: bytes  # what the defaults of strings and blobs hold

    @classmethod
    def of(cls, schema: Schema, *, names: tuple[bytes, ...] | None = None, is_base64: bool = False) -> "FieldTable":
        """``names`` are the bytes that stand for the fields' names (UTF-8 where left out); ``is_base64``: blobs come as base64."""
        names = names or tuple(name.encode() for name in schema.names)
        text = np.frombuffer(b"".join(names) or b"\0", np.uint8)
        dims = np.array([dim for field in schema for dim in field.type.shape] or [0], np.int64)
        rows = np.zeros((len(schema), c.FIELD_WIDTH), np.int64)
        name_at, dims_at = text.ctypes.data, dims.ctypes.data
        for at, field in enumerate(schema):
            _describe(rows[at], field)
            rows[at, [c.NAME, c.NAME_SIZE, c.DIMS, c.GUESS]] = name_at, len(names[at]), dims_at, at
            rows[at, c.BASE64] = is_base64 and field.type.base == "blob"
            name_at, dims_at = name_at + len(names[at]), dims_at + 8 * len(field.type.shape)
        defaults, extra = _defaults(schema, rows)
        cells = tuple((*_cell(field.type), size) for field, size in zip(schema, rows[:, c.SIZE].tolist()))
        of_var_size = tuple(at for at, field in enumerate(schema) if field.type.is_var)
        return cls(schema, rows, text, dims, cells, of_var_size, defaults, extra)


def _defaults(schema: Schema, rows: I64) -> tuple[U8, bytes]:
    """The cells of all defaults, to which the table points then, and the bytes that those of strings and blobs point to."""
    cells, extra, places = b"", b"", dict[int, int]()
    for at, field in enumerate(schema):
        if field.default is None:
            continue
        places[at] = len(cells)
        if field.type.is_var:
            cells += np.array((-1 - len(extra), len(field.default)), np.int64).tobytes()
            extra += field.default
        else:
            cells += np.ascontiguousarray(field.default, field.type.dtype).tobytes()
    held = np.frombuffer(cells or b"\0", np.uint8)
    for at, place in places.items():
        rows[at, c.DEFAULT] = held.ctypes.data + place
    return held, extra


def _cell(kind: FieldType) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    return ((2,), np.dtype(np.int64)) if kind.is_var else (kind.shape, kind.dtype)


def _describe(row: I64, field: Field) -> None:
    kind = field.type
    count = int(np.prod(kind.shape)) if kind.shape else 0
    row[c.TYPE], row[c.COUNT], row[c.RANK], row[c.IS_KEY] = (
        _CODES[kind.base],
        count,
        len(kind.shape),
        field.is_key or field.is_required,
    )
    row[c.SIZE] = _CUT_SIZE if kind.is_var else kind.dtype.itemsize * max(count, 1)
    row[c.UNIT] = STAMP_UNITS.get(kind.unit, 0)
