"""Where rings lie: a block of memory a row of the state table, made when the row comes, never moved and never more than a limit."""

import numpy as np
import numpy.typing as npt

from esp.kernels import sliding as kernels

MOST_BYTES = 256 << 20  # the windows of further rows are scored whole
PAGE_BYTES = 1 << 20
LINE = 16  # floats of a cache line, at which a row's rings begin


class Memory:
    """Blocks of ``row_floats`` floats in pages; ``homes`` has the address of each, ``states`` what the kernel notes of each row."""

    def __init__(self, row_floats: int, most_bytes: int = MOST_BYTES) -> None:
        self.row_bytes = 4 * LINE * -(-row_floats // LINE)
        self.page_rows = max(1, PAGE_BYTES // self.row_bytes)
        self.most_rows = most_bytes // self.row_bytes
        self.pages: list[npt.NDArray[np.uint8]] = []
        self.homes, self.states = np.zeros(0, np.int64), np.zeros((0, kernels.STATE), np.int64)

    def grow(self, rows: int) -> None:
        """Makes room for so many rows, or as many as there may be."""
        while len(self.homes) < min(rows, self.most_rows):
            page = np.empty(self.page_rows * self.row_bytes + 4 * LINE, np.uint8)
            start = -(-page.ctypes.data // (4 * LINE)) * 4 * LINE
            count = min(self.page_rows, self.most_rows - len(self.homes))
            self.pages.append(page)
            self.homes = np.concatenate([self.homes, start + self.row_bytes * np.arange(count)])
            self.states = np.concatenate([self.states, np.full((count, kernels.STATE), kernels.NEVER)])
