"""State tables: the only place where windows remember, so that snapshot, incremental checkpoint and restore are written once."""

import secrets
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.errors import StateError
from esp.kernels import tables as kernels
from esp.kernels.tables import CHANGED, FREE, LIVE, LOW, USED
from esp.runtime.events import I64, VarColumn
from esp.runtime.state.heap import Heap

Columns = Mapping[str, tuple[str, tuple[int, ...]]]  # name -> (dtype or "bytes", shape of one row's cell)
_SMALLEST = 16


class KeyedTable:
    """Rows found by key (bytes); each row has one cell a column, zero at first.

    Row numbers are part of the state: a restored table gives new keys the same rows as the one that it was dumped from.

    >>> table = KeyedTable("counts", {"n": ("int64", ())})
    >>> rows = table.rows(VarColumn.of(["a", "b", "a"]))
    >>> np.add.at(table.column("n"), rows, 1)
    >>> table.column("n")[table.find(VarColumn.of(["a"]))]
    array([2])
    """

    def __init__(self, name: str, columns: Columns) -> None:
        self.name, self.columns = name, dict(columns)
        self._seed = np.uint64(secrets.randbits(64))  # chosen keys can't pile up; slots are never seen outside
        self._reset()

    def _reset(self) -> None:
        n = _SMALLEST
        self.is_new = True  # until it is dumped or loaded: the first dump is a full one
        self._slots: I64 = np.full(2 * n, -1, np.int64)
        self._hashes = np.zeros(n, np.uint64)
        self._flags = np.zeros(n, np.uint8)
        self._free: I64 = np.zeros(n, np.int64)
        self._head: I64 = np.zeros(3, np.int64)
        self._keys = Heap(n)
        self._fixed: dict[str, npt.NDArray[Any]] = {}
        self._heaps: dict[str, Heap] = {}
        for name, (dtype, shape) in self.columns.items():
            if dtype == "bytes":
                self._heaps[name] = Heap(n * prod(shape))
            else:
                self._fixed[name] = np.zeros((n, *shape), dtype)

    def __len__(self) -> int:
        return int(self._head[USED] - self._head[FREE])

    @property
    def size_bytes(self) -> int:
        """The memory that the table holds."""
        arrays: list[npt.NDArray[Any]] = [self._slots, self._hashes, self._flags, self._free, *self._fixed.values()]
        heaps = [self._keys, *self._heaps.values()]
        return sum(array.nbytes for array in arrays) + sum(heap.size_bytes for heap in heaps)

    def rows(self, keys: VarColumn) -> I64:
        """The row of each key, a new one where there is none; all of them are marked as changed."""
        out, done = np.empty(len(keys), np.int64), 0
        while True:
            done = kernels.find_or_insert(
                keys.offsets, keys.data, done, self._seed, self._slots, self._hashes, self._flags, self._keys.span,
                self._keys.data, self._keys.fill, self._free, self._head, out,
            )  # fmt: skip
            if done == len(out):
                return out
            if self._head[FREE] == 0 and self._head[USED] == len(self._flags):
                self._grow(2 * len(self._flags))
            self._keys.reserve(int(keys.offsets[done + 1] - keys.offsets[done]))

    def find(self, keys: VarColumn) -> I64:
        """The row of each key, -1 where there is none."""
        out = np.empty(len(keys), np.int64)
        kernels.find(
            keys.offsets, keys.data, self._seed, self._slots, self._hashes, self._flags, self._keys.span, self._keys.data, out
        )
        return out

    def column(self, name: str) -> npt.NDArray[Any]:
        """The column itself, [capacity, *shape], to read and write; fetch it anew after ``rows``, which may move it."""
        return self._fixed[name]

    def put(self, name: str, rows: I64, cells: I64, values: VarColumn) -> None:
        """Writes a "bytes" column: cell ``cells[i]`` (flat number within the row) of ``rows[i]`` becomes value i."""
        self._heaps[name].put(rows * prod(self.columns[name][1]) + cells, values)

    def get(self, name: str, rows: I64, cells: I64) -> VarColumn:
        """Reads a "bytes" column."""
        return self._heaps[name].get(rows * prod(self.columns[name][1]) + cells)

    def touch(self, rows: I64 | int) -> None:
        """Marks rows as changed, after a write through ``column`` to rows that did not come from ``rows``."""
        self._flags[rows] |= CHANGED

    def remove(self, rows: I64) -> None:
        """Takes rows out; their numbers are used again, the last one first."""
        kernels.remove(rows, self._slots, self._hashes, self._flags, self._keys.span, self._keys.fill, self._free, self._head)
        self._wipe(rows)

    def live(self) -> I64:
        """The rows in use, ascending."""
        return np.flatnonzero(self._flags[: self._head[USED]] & LIVE)

    def keys(self, rows: I64) -> VarColumn:
        """The keys of rows in use."""
        return self._keys.get(rows)

    @property
    def is_changed(self) -> bool:
        """Whether anything changed since the last dump, or there was none."""
        return self.is_new or bool((self._flags & CHANGED).any())

    def dump(self, changed_only: bool) -> dict[str, Any]:
        """A copy of all rows, or of what changed since the last dump; what comes next counts as changed anew."""
        changed_only = changed_only and not self.is_new
        flags, low = self._flags[: self._head[USED]], int(self._head[LOW]) if changed_only else 0
        wanted = LIVE | CHANGED if changed_only else LIVE
        rows = np.flatnonzero((flags & wanted) == wanted)
        keys = self.keys(rows)
        image = {
            "columns": [[name, dtype, list(shape)] for name, (dtype, shape) in self.columns.items()],
            "full": not changed_only,
            "used": int(self._head[USED]),
            "free_from": low,
            "free": self._free[low : self._head[FREE]].copy(),
            "gone": np.flatnonzero(flags == CHANGED) if changed_only else np.zeros(0, np.int64),
            "rows": rows,
            "keys": [keys.offsets, keys.data],
            "cells": {name: self._dump_cells(name, rows) for name in self.columns},
        }
        self._flags &= LIVE
        self._head[LOW] = self._head[FREE]
        self.is_new = False
        return image

    def load(self, image: Mapping[str, Any], is_last: bool = True) -> None:
        """Takes a dump: a full one replaces all, the changes are laid over what is there; keys are found again after the last one."""
        if image["full"]:
            self.columns = _columns(image)
            self._reset()
        elif _columns(image) != self.columns:
            raise StateError(
                f"the saved columns are {image['columns']}", where=f"state table '{self.name}'", mend="start anew with --fresh"
            )
        self.is_new = False
        capacity = len(self._flags)
        while capacity < image["used"]:
            capacity *= 2
        if capacity != len(self._flags):
            self._lengthen(capacity)
        free_from, free = image["free_from"], image["free"]
        self._free[free_from : free_from + len(free)] = free
        self._head[:] = image["used"], free_from + len(free), free_from + len(free)
        self._load_rows(image)
        if is_last:
            self.index()

    def _load_rows(self, image: Mapping[str, Any]) -> None:
        gone, rows = image["gone"], image["rows"]
        self._wipe(gone)
        self._keys.clear(gone)
        self._flags[gone] = 0
        self._flags[rows] = LIVE
        self._keys.put(rows, VarColumn(*image["keys"]))
        for name, cells in image["cells"].items():
            if name in self._heaps:
                self._heaps[name].put(self._all_cells(name, rows), VarColumn(*cells))
            else:
                self._fixed[name][_span(rows)] = cells

    def _dump_cells(self, name: str, rows: I64) -> Any:
        if name not in self._heaps:
            return self._fixed[name][_span(rows)].copy()
        values = self._heaps[name].get(self._all_cells(name, rows))
        return [values.offsets, values.data]

    def _all_cells(self, name: str, rows: I64) -> I64:
        """The cells of rows in a "bytes" column."""
        width = prod(self.columns[name][1])
        return (rows[:, None] * width + np.arange(width)).reshape(-1)

    def _wipe(self, rows: I64) -> None:
        """Sets the cells of rows to zero."""
        for column in self._fixed.values():
            column[rows] = 0
        for name, heap in self._heaps.items():
            heap.clear(self._all_cells(name, np.unique(rows)))

    def _grow(self, capacity: int) -> None:
        """Adds rows up to this capacity (a power of two)."""
        if capacity != len(self._flags):
            self._lengthen(capacity)
            self.index()

    def _lengthen(self, capacity: int) -> None:
        """The same, with the index yet to be built."""
        self._hashes = _longer(self._hashes, capacity)
        self._flags = _longer(self._flags, capacity)
        self._free = _longer(self._free, capacity)
        self._keys.grow(capacity)
        for name, (_, shape) in self.columns.items():
            if name in self._heaps:
                self._heaps[name].grow(capacity * prod(shape))
            else:
                self._fixed[name] = _longer(self._fixed[name], capacity)

    def index(self) -> None:
        """Builds the index anew from the rows in use."""
        self._slots = np.full(2 * len(self._flags), -1, np.int64)
        kernels.rebuild(self._seed, self._slots, self._hashes, self._flags, self._keys.span, self._keys.data, int(self._head[USED]))


def _span(rows: I64) -> I64 | slice:
    """Ascending rows as a slice, where no row between them is left out: a tenth of the time."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _longer(array: npt.NDArray[Any], capacity: int) -> npt.NDArray[Any]:
    out = np.zeros((capacity, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


def _columns(image: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (dtype, tuple(shape)) for name, dtype, shape in image["columns"]}


class Tables:
    """All tables of one task, by window and name."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], KeyedTable] = {}

    def table(self, window: str, name: str, columns: Columns, is_renewed: bool = False) -> KeyedTable:
        """The table of that name: as it was loaded, or a new one.

        One with other columns is replaced by a new one where it may be (``is_renewed``), else it is a StateError.
        """
        table = self._tables.setdefault((window, name), KeyedTable(f"{window}/{name}", columns))
        if table.columns != dict(columns) and is_renewed:
            table = self._tables[window, name] = KeyedTable(f"{window}/{name}", columns)
        if table.columns != dict(columns):
            raise StateError(
                "the saved columns are not those that the window wants", where=f"state table '{table.name}'",
                mend="start anew with --fresh",
            )  # fmt: skip
        return table

    def dump(self, changed_only: bool) -> dict[str, Any]:
        """What ``load`` takes, copied; tables without changes are left out of an incremental dump."""
        windows: dict[str, dict[str, Any]] = {}
        for (window, name), table in self._tables.items():
            if table.is_changed or not changed_only:
                windows.setdefault(window, {})[name] = table.dump(changed_only)
        return {"full": not changed_only, "windows": windows}

    def load(self, image: Mapping[str, Any], is_last: bool = True) -> None:
        """Lays a dump over the tables; those that are not there yet come to be. Where others follow, ``index`` comes after the last one."""
        for window, tables in image["windows"].items():
            for name, saved in tables.items():
                self.table(window, name, _columns(saved), is_renewed=saved["full"]).load(saved, is_last)

    def index(self) -> None:
        """Lets keys be found after dumps that others followed."""
        for table in self._tables.values():
            table.index()

    @property
    def size_bytes(self) -> int:
        return sum(table.size_bytes for table in self._tables.values())

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))
