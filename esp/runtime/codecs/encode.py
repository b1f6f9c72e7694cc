"""Columns to records: addresses of columns go into the field table, and a kernel writes all rows into one buffer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.kernels import columns as c
from esp.kernels.intake import address
from esp.runtime.codecs.table import FieldTable
from esp.runtime.events import I64, U8, Column, EventBlock, VarColumn

Kernel = Callable[[I64, I64], int]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A kernel over a field table; no row gets larger than ``row_bound`` bytes and ``var_bound`` more for each byte of its strings and blobs.

    ``is_spelled``: the kernel repeats tensors as they stood in their records, where they stood in the form that it writes.
    """

    table: FieldTable
    kernel: Kernel
    row_bound: int
    var_bound: int
    option: int = 0
    is_spelled: bool = False

    def encode(self, block: EventBlock) -> tuple[U8, I64, I64]:
        n, rows = len(block), self.table.rows.copy()
        held: list[np.ndarray[Any, Any]] = []  # what the addresses in the table point to
        bound = n * self.row_bound
        for row, column, (_, dtype, _), valid in zip(rows, block.columns, self.table.cells, block.validity):
            if isinstance(column, VarColumn):
                row[c.CELL], row[c.DATA] = _hold(column.offsets, held), _hold(column.data, held)
                bound += self.var_bound * int(column.offsets[-1] - column.offsets[0])
            else:
                row[c.CELL] = _hold(column.astype(dtype, copy=False), held)
                bound += _spell(row, column, block, held) if self.is_spelled and row[c.FORM] else 0
            row[c.VALID] = 0 if valid is None else _hold(valid, held)
        out, at, size = np.empty(bound, np.uint8), np.empty(n, np.int64), np.empty(n, np.int64)
        job = np.array((n, 0, address(at), address(size), address(out), self.option, 0), np.int64)
        return out[: self.kernel(job, rows)], at, size


def _spell(row: I64, column: Column, block: EventBlock, held: list[np.ndarray[Any, Any]]) -> int:
    """Puts into the table how a tensor stood in its records, where that is known; how many bytes more (or fewer) its rows take for it."""
    for part in block.spellings:
        if part.column is column:
            row[c.SPELLED], row[c.DATA] = _hold(part.cuts, held), _hold(part.buffer, held)
            sizes = part.cuts[part.cuts[:, 2] == row[c.FORM], 1]
            return int(sizes.sum()) - len(sizes) * _SCALAR_BOUND * int(row[c.COUNT])
    return 0


def _hold(array: np.ndarray[Any, Any], held: list[np.ndarray[Any, Any]]) -> int:
    """The address of an array's values, row after row; ``held`` keeps them there."""
    held.append(np.ascontiguousarray(array))
    return address(held[-1].reshape(-1))


_SCALAR_BOUND = 40  # letters of the longest scalar, its quotes and commas, or of what surrounds a string


def text_bound(table: FieldTable) -> int:
    """The most letters that the values of a row take in JSON or CSV, strings and blobs apart."""
    return int(_SCALAR_BOUND * np.maximum(table.rows[:, c.COUNT] + 1, 1).sum())
