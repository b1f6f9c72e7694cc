"""State tables: the only place where windows remember, so that snapshot, incremental checkpoint and restore are written once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.runtime.events import I64, VarColumn

Columns = Mapping[str, tuple[str, tuple[int, ...]]]  # name -> (dtype or "bytes", shape of one row's cell)


class KeyedTable:
    """Rows found by key (bytes); each row has one cell a column."""

    def __init__(self, name: str, columns: Columns) -> None:
        raise NotImplementedError
