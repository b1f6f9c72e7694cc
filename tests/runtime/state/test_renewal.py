"""A state table that its window begins anew, because its columns are no longer those it wants."""

from typing import Any

import numpy as np
import pytest

from esp.errors import StateError
from esp.runtime.events import VarColumn
from esp.runtime.state.tables import KeyedTable, Tables

OLD, NEW = {"h": ("float32", (2,))}, {"g": ("float32", (3,))}


def fill(table: KeyedTable, name: str, *keys: str) -> None:
    rows = table.rows(VarColumn.of(keys))
    table.column(name)[rows] = np.arange(1, 1 + len(keys))[:, None]


def restored(*images: Any) -> Tables:
    tables = Tables()
    for image in images:
        tables.load(image)
    return tables


def contents(table: KeyedTable, name: str) -> dict[bytes, list[float]]:
    rows = table.live()
    keys = table.keys(rows)
    return {keys.value(at): table.column(name)[row].tolist() for at, row in enumerate(rows)}


def test_a_table_with_the_same_columns_goes_on_and_one_with_others_is_empty() -> None:
    tables = Tables()
    old = tables.table("w", "t", OLD, is_renewed=True)
    fill(old, "h", "a", "b")
    assert tables.table("w", "t", OLD, is_renewed=True) is old
    assert len(tables.table("w", "t", NEW, is_renewed=True)) == 0
    with pytest.raises(StateError, match="state table 'w/t': the saved columns are not those"):
        tables.table("w", "t", OLD)


def test_changes_after_a_renewal_restore_the_new_table_and_nothing_of_the_old() -> None:
    tables = Tables()
    fill(tables.table("w", "t", OLD), "h", "a", "b", "c")
    full = tables.dump(changed_only=False)
    fill(tables.table("w", "t", NEW, is_renewed=True), "g", "c", "d")
    first = tables.dump(changed_only=True)
    fill(tables.table("w", "t", NEW), "g", "e")
    second = tables.dump(changed_only=True)
    assert contents(restored(full).table("w", "t", OLD), "h") == {b"a": [1, 1], b"b": [2, 2], b"c": [3, 3]}
    assert contents(restored(full, first).table("w", "t", NEW), "g") == {b"c": [1] * 3, b"d": [2] * 3}
    assert contents(restored(full, first, second).table("w", "t", NEW), "g") == {b"c": [1] * 3, b"d": [2] * 3, b"e": [1] * 3}


def test_an_empty_table_that_has_taken_the_place_of_another_is_dumped() -> None:
    tables = Tables()
    fill(tables.table("w", "t", OLD), "h", "a")
    full = tables.dump(changed_only=False)
    tables.table("w", "t", NEW, is_renewed=True)
    more = tables.dump(changed_only=True)
    assert contents(restored(full, more).table("w", "t", NEW), "g") == {}
