"""A heap of cells that differ in size (keys, strings, blobs), compacted as it fills up."""

import numpy as np
import numpy.typing as npt

from esp.kernels import tables as kernels
from esp.runtime.events import I64, U8, VarColumn

_SMALLEST = 256


class Heap:
    """Cells by number; a cell that was never written is empty."""

    def __init__(self, cells: int) -> None:
        self.span: npt.NDArray[np.int64] = np.zeros((cells, 2), np.int64)
        self.data: U8 = np.zeros(_SMALLEST, np.uint8)
        self.fill: I64 = np.zeros(2, np.int64)

    def put(self, cells: I64, values: VarColumn) -> None:
        """Cell ``cells[i]`` becomes value i (the last one, where a cell is named twice)."""
        self.reserve(int(values.offsets[-1] - values.offsets[0]))
        kernels.heap_put(cells, values.offsets, values.data, self.span, self.data, self.fill)

    def get(self, cells: I64) -> VarColumn:
        """A copy of the cells."""
        offsets = np.zeros(len(cells) + 1, np.int64)
        np.cumsum(self.span[cells, 1], out=offsets[1:])
        data = np.empty(int(offsets[-1]), np.uint8)
        kernels.heap_get(cells, offsets, self.span, self.data, data)
        return VarColumn(offsets, data)

    def clear(self, cells: I64) -> None:
        """The cells (each named once) become empty."""
        self.fill[kernels.BYTES] -= int(self.span[cells, 1].sum())
        self.span[cells, 1] = 0

    def reserve(self, size: int) -> None:
        """Makes room for ``size`` more bytes: drops the gaps, and grows unless they were the larger part."""
        if self.fill[kernels.END] + size <= len(self.data):
            return
        needed, room = int(self.fill[kernels.BYTES]) + size, len(self.data)
        while room < 2 * needed:
            room *= 2
        data = np.zeros(room, np.uint8)
        self.fill[kernels.END] = kernels.heap_compact(self.span, self.data, data)
        self.data = data

    def grow(self, cells: int) -> None:
        """Adds cells up to this number."""
        span = np.zeros((cells, 2), np.int64)
        span[: len(self.span)] = self.span
        self.span = span

    @property
    def size_bytes(self) -> int:
        return self.span.nbytes + self.data.nbytes
