"""State tables against a plain Python dict."""

import random

import numpy as np
import pytest

from esp.errors import StateError
from esp.runtime.events import VarColumn
from esp.runtime.state.tables import KeyedTable, Tables

COLUMNS = {"n": ("int64", ()), "ring": ("float32", (3,)), "text": ("bytes", (2,))}


def var(*values: bytes | str) -> VarColumn:
    return VarColumn.of(values)


def values_of(column: VarColumn) -> list[bytes]:
    return [column.value(i) for i in range(len(column))]


def contents(table: KeyedTable) -> dict[bytes, tuple[int, list[float], list[bytes]]]:
    rows = table.live()
    keys = values_of(table.keys(rows))
    texts = [values_of(table.get("text", np.full(2, row), np.arange(2))) for row in rows]
    return {
        key: (int(table.column("n")[row]), table.column("ring")[row].tolist(), text)
        for key, row, text in zip(keys, rows, texts, strict=True)
    }


def one_step(table: KeyedTable, model: dict, rng: random.Random) -> None:
    """A random batch of writes, or of removals, to the table and to the dict."""
    keys = [b"key-%d" % rng.randrange(300) * rng.choice((1, 1, 4)) for _ in range(rng.randrange(1, 40))]
    if rng.random() < 0.35:
        rows = table.find(var(*keys))
        known = [key for key in dict.fromkeys(keys) if key in model]
        assert {keys[i] for i in range(len(keys)) if rows[i] >= 0} == set(known)
        table.remove(table.find(var(*known)))
        for key in known:
            del model[key]
        return
    rows = table.rows(var(*keys))
    for key, row in zip(keys, rows.tolist(), strict=True):
        number, text = rng.randrange(100), rng.randbytes(rng.randrange(0, 12))
        cell = rng.randrange(2)
        old_n, ring, texts = model.get(key, (0, [0.0] * 3, [b"", b""]))
        model[key] = (old_n + number, [*ring[:2], float(number)], [text if i == cell else texts[i] for i in range(2)])
        table.column("n")[row] += number
        table.column("ring")[row, 2] = number
        table.put("text", np.array([row]), np.array([cell]), var(text))


@pytest.mark.parametrize("seed", range(6))
def test_table_holds_what_a_dict_would_hold(seed: int) -> None:
    rng, table, model = random.Random(seed), KeyedTable("t", COLUMNS), {}
    for _ in range(120):
        one_step(table, model, rng)
        assert len(table) == len(model)
    assert contents(table) == model


@pytest.mark.parametrize("seed", range(6))
def test_full_and_incremental_dumps_restore_the_table_and_its_row_numbers(seed: int) -> None:
    rng, table, model = random.Random(seed), KeyedTable("t", COLUMNS), {}
    copy = KeyedTable("t", COLUMNS)
    copy.load(table.dump(changed_only=False))
    for step in range(60):
        one_step(table, model, rng)
        if step % 3 == 0:
            copy.load(table.dump(changed_only=rng.random() < 0.8))
            assert contents(copy) == model
            assert copy.live().tolist() == table.live().tolist()
    copy.load(table.dump(changed_only=True))
    fresh = var(*(f"new-{i}" for i in range(500)))
    assert copy.rows(fresh).tolist() == table.rows(fresh).tolist()


def test_rows_of_one_batch_with_the_same_key_are_the_same_row() -> None:
    assert KeyedTable("t", {}).rows(var("a", "b", "a", "", "b", "")).tolist() == [0, 1, 0, 2, 1, 2]


def test_keys_that_differ_in_the_last_byte_or_in_length_are_different_keys() -> None:
    table = KeyedTable("t", {})
    keys = [bytes(size) for size in range(40)] + [bytes(size) + b"\x01" for size in range(40)]
    assert table.rows(var(*keys)).tolist() == list(range(80))


def test_a_million_bytes_of_rewritten_cells_stay_small_in_memory() -> None:
    table = KeyedTable("t", {"text": ("bytes", ())})
    rows, cells = table.rows(var("a", "b")), np.zeros(2, np.int64)
    for _ in range(1000):
        table.put("text", rows, cells, var(b"x" * 500, b"y" * 500))
    assert values_of(table.get("text", rows, cells)) == [b"x" * 500, b"y" * 500]
    assert table.size_bytes < 20_000


def test_a_row_used_again_starts_with_zeros() -> None:
    table = KeyedTable("t", COLUMNS)
    row = table.rows(var("a"))
    table.column("n")[row] = 7
    table.put("text", row, np.array([1]), var("old"))
    table.remove(row)
    assert table.rows(var("b")).tolist() == row.tolist()
    assert contents(table) == {b"b": (0, [0.0] * 3, [b"", b""])}


def test_an_unchanged_table_is_left_out_of_an_incremental_dump_and_touch_brings_it_back() -> None:
    tables = Tables()
    table = tables.table("window", "t", {"n": ("int64", ())})
    row = table.rows(var("a"))
    assert tables.dump(changed_only=True)["windows"]["window"]["t"]["rows"].tolist() == [0]
    assert tables.dump(changed_only=True)["windows"] == {}
    table.touch(row)
    assert tables.dump(changed_only=True)["windows"]["window"]["t"]["rows"].tolist() == [0]


def test_loaded_tables_refuse_other_columns() -> None:
    tables, other = Tables(), Tables()
    tables.table("window", "t", {"n": ("int64", ())})
    other.load(tables.dump(changed_only=False))
    with pytest.raises(StateError, match=r"window/t.*--fresh"):
        other.table("window", "t", {"n": ("float64", ())})
