"""Keys of events: equal where the values are equal, different where they are not, and readable again."""

import itertools
import random

import numpy as np

from esp.runtime.events import EventBlock, VarColumn
from esp.runtime.keys import key_text, pack_keys, row_keys, unpack_keys
from esp.runtime.schema import FieldType, Schema


def block(schema: str, columns: list, validity: list | None = None) -> EventBlock:
    n = len(columns[0])
    zeros = np.zeros(n, np.int64)
    return EventBlock(Schema.parse(schema), tuple(columns), tuple(validity or [None] * len(columns)), zeros, zeros, 0)


def test_keys_are_equal_just_where_all_fields_are() -> None:
    texts, numbers, nulls = ["", "a", "ab", "b"], [0, 1, 256], [True, False]
    rows = list(itertools.product(texts, numbers, nulls, nulls))
    there = [np.array([row[2] for row in rows]), np.array([row[3] for row in rows])]
    texts_column = VarColumn.of([row[0] if row[2] else "" for row in rows])
    numbers_column = np.array([row[1] if row[3] else 0 for row in rows], np.int32)
    keys = row_keys(block("s:string, n:int32", [texts_column, numbers_column], there), ["s", "n"])
    values = [(row[0] if row[2] else None, row[1] if row[3] else None) for row in rows]
    for (i, left), (j, right) in itertools.combinations(enumerate(values), 2):
        assert (keys.value(i) == keys.value(j)) == (left == right)


def test_two_strings_do_not_flow_into_one_another() -> None:
    keys = row_keys(block("a:string, b:string", [VarColumn.of(["ab", "a"]), VarColumn.of(["c", "bc"])]), ["a", "b"])
    assert keys.value(0) != keys.value(1)


def test_what_is_packed_comes_back() -> None:
    rng, n = random.Random(1), 50
    columns = [
        VarColumn.of([rng.randbytes(rng.randrange(300)) for _ in range(n)]), np.arange(n) % 2 == 0, np.arange(n, dtype=np.int64) - 20,
        np.linspace(-1, 1, n).astype(np.float32), np.arange(n, dtype=np.int32),
    ]  # fmt: skip
    types = [FieldType(base) for base in ("blob", "bool", "stamp", "float32", "date")]
    there = np.arange(n) % 3 > 0
    back, validity = unpack_keys(pack_keys(columns, [None, None, there, None, None], n), types)
    assert [back[0].value(i) for i in range(n)] == [columns[0].value(i) for i in range(n)]
    for place in (1, 3, 4):
        np.testing.assert_array_equal(back[place], columns[place])
        assert back[place].dtype == columns[place].dtype
    np.testing.assert_array_equal(back[2], np.where(there, columns[2], 0))
    assert [valid is None for valid in validity] == [True, True, False, True, True]
    np.testing.assert_array_equal(validity[2], there)


def test_no_rows_and_no_fields_have_keys_too() -> None:
    assert len(pack_keys([], [], 3)) == 3
    assert len(pack_keys([np.zeros(0, np.int64), VarColumn.of([])], [None, None], 0)) == 0


def test_text_of_keys_of_every_type() -> None:
    schema = "s:string, b:blob, t:bool, i:int64, f:float32, d:date, ms:stamp(ms), iso:stamp(iso)"
    columns = [
        VarColumn.of(["left"]), VarColumn.of([b"\x01\xff"]), np.array([True]), np.array([-7]), np.array([0.1], np.float32),
        np.array([365], np.int32), np.array([1_500_000_000]), np.array([1_500_000_000]),
    ]  # fmt: skip
    names = [part.split(":")[0].strip() for part in schema.split(",")]
    text = key_text(block(schema, columns), names).value(0)
    assert text == b"left|01ff|true|-7|0.1|1971-01-01|1500|1970-01-01T00:00:01.500000000Z"


def test_a_null_is_empty_text() -> None:
    assert key_text(block("n:int64", [np.array([0, 3])], [np.array([False, True])]), ["n"]).value(0) == b""


def test_a_date_outside_the_years_of_iso_text_is_its_number() -> None:
    days = np.array([-719_163, -719_162, 2_932_896, 2_932_897, 2**31 - 1, -(2**31)], np.int32)
    text = key_text(block("d:date", [days]), ["d"])
    assert [text.value(row) for row in range(6)] == [
        b"-719163", b"0001-01-01", b"9999-12-31", b"2932897", b"2147483647", b"-2147483648",
    ]  # fmt: skip
