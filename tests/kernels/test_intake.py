"""What goes into a network is looked through for NaN: every number of it, and nothing else is taken for one."""

import numpy as np
import pytest

from esp.kernels.intake import LOOKED_AT, any_nan


@pytest.mark.parametrize("size", [1, 7, LOOKED_AT - 1, LOOKED_AT, LOOKED_AT + 1, 2 * LOOKED_AT + 3])
def test_a_nan_is_found_wherever_it_stands(size: int) -> None:
    numbers = np.random.default_rng(0).normal(size=size).astype(np.float32)
    numbers[::3] = np.inf
    numbers[1::3] = -np.inf
    assert not any_nan(numbers)
    for bits in (0x7FC00000, 0xFFC00000, 0x7F800001):  # quiet, negative, signalling
        for place in range(size):
            spoiled = numbers.copy()
            spoiled.view(np.uint32)[place] = bits
            assert any_nan(spoiled), f"number {place} of {size}"


def test_there_is_no_nan_where_there_is_nothing() -> None:
    assert not any_nan(np.zeros(0, np.float32))
