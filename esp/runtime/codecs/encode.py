"""Columns to records: addresses of columns go into the field table, and a kernel writes all rows into one buffer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.kernels import columns as c
from esp.runtime.codecs.table import FieldTable
from esp.runtime.events import I64, U8, EventBlock, VarColumn

Kernel = Callable[[I64, I64], int]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A kernel over a field table; no row gets larger than ``row_bound`` bytes and ``var_bound`` more for each byte of its strings and blobs."""

    table: FieldTable
    kernel: Kernel
    row_bound: int
    var_bound: int
    option: int = 0

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        n = len(block)
        rows, held, var_bytes = self.table.rows.copy(), [], 0
        for at, (column, field) in enumerate(zip(block.columns, self.table.schema)):
            if isinstance(column, VarColumn):
                offsets, data = np.ascontiguousarray(column.offsets), np.ascontiguousarray(column.data)
                rows[at, c.DATA] = _address(data)
                var_bytes += int(offsets[-1] - offsets[0])
                held += [offsets, data]
                rows[at, c.CELL] = _address(offsets)
            else:
                held.append(np.ascontiguousarray(column, field.type.dtype))
                rows[at, c.CELL] = _address(held[-1])
            valid = block.validity[at]
            if valid is not None:
                held.append(np.ascontiguousarray(valid))
                rows[at, c.VALID] = _address(held[-1])
        out = np.empty(n * self.row_bound + self.var_bound * var_bytes, np.uint8)
        spans = np.empty((2, n), np.int64)
        spans_at = _address(spans)
        job = np.array((n, 0, spans_at, spans_at + 8 * n, 0, _address(out), self.option), np.int64)
        size = self.kernel(job, rows)
        return out[:size], spans[0], spans[1]


_SCALAR_BOUND = 40  # letters of the longest scalar, its quotes and commas, or of what surrounds a string


def text_bound(table: FieldTable) -> int:
    """The most letters that the values of a row take in JSON or CSV, strings and blobs apart."""
    return int(_SCALAR_BOUND * np.maximum(table.rows[:, c.COUNT] + 1, 1).sum())


def _address(array: np.ndarray[Any, Any]) -> int:
    return array.ctypes.data
