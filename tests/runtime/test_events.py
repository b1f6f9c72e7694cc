"""Raw blocks and variable-size columns."""

import numpy as np
import pytest

from esp.runtime.events import VarColumn, joined, raw_block


def test_a_raw_block_gives_back_values_keys_headers_and_nulls() -> None:
    block = raw_block(
        [b"abc", None, b""], topic="t", partition=2, keys=[None, b"k", b""], headers=[b"", b"hh", b""], offsets=[5, 7, 9]
    )
    assert [block.value(i) for i in range(3)] == [b"abc", None, b""]
    assert [block.key(i) for i in range(3)] == [None, b"k", b""]
    assert [block.headers(i) for i in range(3)] == [b"", b"hh", b""]
    assert block.next_offset == 10
    assert block.take(slice(1, 2)).key(0) == b"k"


@pytest.mark.parametrize("sizes", [[3], [1, 4], [2, 1, 5, 1]])
def test_joined_blocks_hold_the_records_of_all_in_order(sizes: list[int]) -> None:
    values = [b"value %d" % i * (i % 3) if i % 4 else None for i in range(sum(sizes))]
    whole = raw_block(values, keys=[b"%d" % i for i in range(len(values))], headers=[b"h"] * len(values), ts_ms=range(len(values)))
    blocks, at = [], 0
    for size in sizes:
        part = slice(at, at + size)
        numbers = list(range(at, at + size))
        keys = [b"%d" % i for i in numbers]
        blocks.append(raw_block(values[part], keys=keys, headers=[b"h"] * size, offsets=numbers, ts_ms=numbers))
        at += size
    together = joined(blocks)
    for row in range(len(whole)):
        assert (together.value(row), together.key(row), together.headers(row)) == (
            whole.value(row),
            whole.key(row),
            whole.headers(row),
        )
    assert together.offset.tolist() == whole.offset.tolist()
    assert together.ts_ms.tolist() == whole.ts_ms.tolist()


def test_taking_rows_of_a_variable_column_copies_their_values_together() -> None:
    column = VarColumn.of(["one", b"", "three"])
    taken = column.take(np.array([2, 0, 1, 2]))
    assert [taken.value(i) for i in range(4)] == [b"three", b"one", b"", b"three"]
