"""Putting a plan together: constants go to one place, packed weights straight from where they lie."""

import ctypes
import weakref
from typing import Any

import numpy as np
import pytest

from esp.kernels import plan
from esp.kernels.lanes import LANES, PANEL
from esp.runtime.backends.lowering.assembly import assemble
from esp.runtime.backends.lowering.lowering import Row
from esp.runtime.backends.lowering.packed import Packed
from esp.runtime.backends.lowering.values import Buffer


def _floats(address: int, count: int) -> Any:
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).copy()


def _panels(weights: Any) -> Any:
    """Number by number: panel by panel of PANEL columns, the last of LANES where so many suffice, row by row."""
    k, m = weights.shape
    out: list[float] = []
    for at in range(0, m, PANEL):
        width = PANEL if m - at > LANES else LANES
        out += [weights[row, at + c] if at + c < m else 0.0 for row in range(k) for c in range(width)]
    return np.array(out, np.float32)


@pytest.mark.parametrize("columns", [1, LANES - 1, LANES, LANES + 1, PANEL, PANEL + 1, PANEL + LANES, 2 * PANEL + 3])
def test_weights_lie_in_panels(columns: int) -> None:
    kernel = np.random.default_rng(columns).standard_normal((columns, 5, 3, 2)).astype(np.float32)
    turned = np.moveaxis(kernel, (0, 1), (-1, -2))
    wanted = _panels(turned.reshape(-1, columns))
    x, y = Buffer(9), Buffer(columns)
    table = assemble([Row(plan.MULTIPLY, x, y, (Packed(turned),))], 1)
    np.testing.assert_array_equal(_floats(int(table.rows[0, plan.HEAD]), len(wanted)), wanted)


def test_constants_are_aligned_and_written_once() -> None:
    shared, other = np.arange(5, dtype=np.float32), np.arange(3, dtype=np.int64)
    x, y, z = Buffer(5), Buffer(5), Buffer(5)
    rows = [Row(plan.COPY, shared, y, (other, 2.5, 7)), Row(plan.COPY, y, z, (shared, other), b=x)]
    table = assemble(rows, 4)
    first, second = table.rows
    assert first[1] == second[plan.HEAD]
    assert first[plan.HEAD] == second[plan.HEAD + 1]
    assert not any(int(address) % 64 for address in (*first[1:3], *second[1:4], *second[plan.HEAD : plan.HEAD + 2]))
    np.testing.assert_array_equal(_floats(int(first[1]), 5), shared)
    assert first[plan.HEAD + 1] == np.float32(2.5).view(np.int32)
    assert first[plan.HEAD + 2] == 7


def test_rows_and_their_constants_are_let_go() -> None:
    weights = np.ones((40, 40), np.float32)
    gone = weakref.ref(weights)
    rows = [Row(plan.MULTIPLY, Buffer(40), Buffer(40), (Packed(weights),))]
    del weights
    assemble(rows, 1)
    assert rows == []
    assert gone() is None


@pytest.mark.parametrize(
    ("floats", "weights_floats", "max_batch", "chunk"),
    [
        (1 << 10, 1 << 10, 1024, 128),  # as many as half a megabyte holds
        (1 << 10, 1 << 10, 5, 5),
        (1 << 20, 1 << 10, 1024, 1),  # an event alone is more, and the weights are few
        (1 << 20, 3 << 20, 1024, 3),  # weights are read once for three events, whose arena is as large
        (1 << 20, 30 << 20, 1024, 8),  # but for no more than eight
        (8 << 20, 60 << 20, 1024, 2),  # and for no more than 64 MB
    ],
)
def test_chunk_weighs_cache_against_weights(floats: int, weights_floats: int, max_batch: int, chunk: int) -> None:
    x, y = Buffer(floats // 2), Buffer(floats // 2)
    weights = Packed(np.ones((weights_floats // PANEL, PANEL), np.float32))
    assert assemble([Row(plan.MULTIPLY, x, y, (weights,))], max_batch).chunk == chunk
