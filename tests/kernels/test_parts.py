"""Parts of kernels: compiled to IR alone, whoever calls them, and right where two of them share a third."""

from typing import Any

import numpy as np

from esp.kernels.compile import kernel, part
from esp.kernels.parts import PartLibrary


@part
def _doubled(x: int) -> int:
    return 2 * x


@part
def _plus_one(x: int) -> int:
    return _doubled(x) + 1


@part
def _sum_of_doubled(table: np.ndarray) -> int:
    total = 0
    for at in range(len(table)):
        total += _doubled(table[at])
    return total


@kernel("int64(int64[::1], int64)")
def _both(table: np.ndarray, x: int) -> int:
    return _sum_of_doubled(table) * _plus_one(x)


def test_parts_that_share_a_part_are_linked_into_their_kernel() -> None:
    assert _both(np.array([1, 2, 3], np.int64), 10) == 2 * (1 + 2 + 3) * 21


def test_a_part_is_no_machine_code_of_its_own() -> None:
    @part
    def tripled(x: int) -> int:
        return 3 * x

    made: Any = tripled
    made.compile("int64(int64)")
    (found,) = made.overloads.values()
    library = found.library
    assert isinstance(library, PartLibrary)
    assert library.get_pointer_to_function(found.fndesc.llvm_func_name) == 0
    assert found.fndesc.llvm_cfunc_wrapper_name not in library.get_llvm_str()


def test_a_part_counts_no_references_to_its_arrays() -> None:
    @part
    def twice(table: np.ndarray) -> int:
        return 2 * _sum_of_doubled(table)

    made: Any = twice
    made.compile("int64(int64[::1])")
    (found,) = made.overloads.values()
    text = found.library.get_llvm_str()
    assert "sum_of_doubled" in text
    assert "NRT" not in text
