"""A sum that joins the product before it: the same numbers as product, sum and bounds one after another, in fewer rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph, run_reference
from esp.kernels import plan
from esp.runtime.backends import numba
from tests.runtime.backends.nets import Maker, events

Build = Callable[[Maker], str]


def _conv(m: Maker, x: str, inner: int, outer: int, size: int = 3) -> str:
    return m.add("Conv", x, m.weight(outer, inner, size, size, fan=9 * inner), m.weight(outer), pads=(size // 2,) * 4)


def _block(m: Maker) -> str:
    """A block of ResNet: its input is added to what two convolutions make of it."""
    x = m.add("Relu", _conv(m, "x0", 3, 19))
    y = _conv(m, m.add("Relu", _conv(m, x, 19, 19)), 19, 19)
    return m.add("Relu", m.add("Add", y, x))


def _block_turned(m: Maker) -> str:
    x = m.add("Relu", _conv(m, "x0", 3, 40))
    return m.add("Clip", m.add("Add", x, _conv(m, x, 40, 40)), m.const(np.float32(-0.5)), m.const(np.float32(0.75)))


def _projected(m: Maker) -> str:
    """Both operands are products: the later one takes the sum."""
    x = m.add("Relu", _conv(m, "x0", 3, 8))
    return m.add("Relu", m.add("Add", _conv(m, x, 8, 32), _conv(m, x, 8, 32, size=1)))


def _without_relu(m: Maker) -> str:
    x = _conv(m, "x0", 3, 16)
    return m.add("Tanh", m.add("Add", _conv(m, x, 16, 16, size=1), x))


def _dense(m: Maker) -> str:
    x = m.add("Relu", m.add("Gemm", m.add("Flatten", "x0"), m.weight(90, 23, fan=90), m.weight(23)))
    return m.add("Relu", m.add("Add", m.add("Gemm", x, m.weight(23, 23, fan=23), m.weight(23)), x))


FUSED: dict[str, Build] = {
    "block": _block, "block turned": _block_turned, "projected": _projected, "without relu": _without_relu, "dense": _dense,
}  # fmt: skip


def _bounded_before(m: Maker) -> str:
    x = _conv(m, "x0", 3, 16)
    return m.add("Add", m.add("Relu", _conv(m, x, 16, 16)), x)


def _used_twice(m: Maker) -> str:
    x = _conv(m, "x0", 3, 16)
    y = _conv(m, x, 16, 16)
    return m.add("Mul", m.add("Relu", m.add("Add", y, x)), y)


def _made_later(m: Maker) -> str:
    x = _conv(m, "x0", 3, 16)
    y = _conv(m, x, 16, 16)
    return m.add("Relu", m.add("Add", y, m.add("Tanh", x)))


def _itself(m: Maker) -> str:
    y = _conv(m, "x0", 3, 16)
    return m.add("Relu", m.add("Add", y, y))


def _first_input(m: Maker) -> str:
    return m.add("Relu", m.add("Add", _conv(m, "x0", 3, 3), "x0"))


def _broadcast(m: Maker) -> str:
    x = _conv(m, "x0", 3, 16)
    return m.add("Relu", m.add("Add", _conv(m, x, 16, 16), m.add("GlobalAveragePool", x)))


def _groups(m: Maker) -> str:
    x = _conv(m, "x0", 3, 16)
    y = m.add("Conv", x, m.weight(16, 4, 3, 3, fan=36), m.weight(16), pads=(1,) * 4, group=4)
    return m.add("Relu", m.add("Add", y, x))


def _reshaped(m: Maker) -> str:
    x = m.add("Tanh", m.add("Flatten", "x0"))
    y = m.add("Gemm", x, m.weight(90, 90, fan=90), m.weight(90))
    flat = m.add("Flatten", _conv(m, "x0", 3, 3, size=1))
    return m.add("Relu", m.add("Add", y, flat))


APART: dict[str, Build] = {
    "bounded before": _bounded_before, "used twice": _used_twice, "made later": _made_later, "itself": _itself,
    "first input": _first_input, "broadcast": _broadcast, "groups": _groups, "reshaped": _reshaped,
}  # fmt: skip
ALL = FUSED | APART


def _graph(build: Build) -> Graph:
    m = Maker(11, (3, 5, 6))
    return m.graph(build(m))


@pytest.mark.parametrize("name", ALL)
def test_sum_is_what_the_references_give(name: str) -> None:
    graph = _graph(ALL[name])
    x = events(graph, 7)
    for found, wanted in zip(numba.bind(graph, 4).run(x), run_reference(graph, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUSED)
def test_sum_and_bounds_take_no_row_of_their_own(name: str) -> None:
    bound: Any = numba.bind(_graph(FUSED[name]), 4)
    does = [row[0] for row in bound.table.rows]
    assert plan.BINARY.address not in does
    assert does.count(plan.ACTIVATE.address) == (name == "without relu")


@pytest.mark.parametrize("name", ["bounded before", "used twice", "itself"])
def test_product_that_something_else_sees_stays_as_it_is(name: str) -> None:
    bound: Any = numba.bind(_graph(APART[name]), 4)
    assert plan.BINARY.address in [row[0] for row in bound.table.rows]


@pytest.mark.parametrize("name", ALL)
def test_a_row_has_the_same_bits_in_every_batch_and_place(name: str) -> None:
    graph = _graph(ALL[name])
    bound, x = numba.bind(graph, 4), events(graph, 9)
    (whole,) = bound.run(x)
    for n, at in ((1, 0), (1, 8), (3, 2), (6, 1)):
        assert np.array_equal(bound.run([np.ascontiguousarray(x[0][at : at + n])])[0], whole[at : at + n])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spreads_as_in_the_references(value: float) -> None:
    graph = _graph(_block)
    x = events(graph, 3)
    x[0][1, 2, 4, 5] = value
    (found,), (wanted,) = numba.bind(graph, 4).run(x), run_reference(graph, x)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert not np.isfinite(found[1]).all()


@pytest.mark.parametrize("axis", [1, 2])
def test_products_write_to_their_places_in_a_concat(axis: int) -> None:
    m = Maker(3, (3, 5, 6))
    x = m.add("Relu", _conv(m, "x0", 3, 40))
    parts = (
        [m.add("Relu", _conv(m, x, 40, 40, size)) for size in (1, 3)] if axis == 2 else [_conv(m, x, 40, size) for size in (19, 7)]
    )
    graph = m.graph(m.add("Concat", x, *parts, m.add("Tanh", x), axis=axis))
    bound: Any = numba.bind(graph, 4)
    (whole,), fed = bound.run(events(graph, 7)), events(graph, 7)
    np.testing.assert_allclose(whole, run_reference(graph, fed)[0], rtol=1e-5, atol=1e-5)
    assert np.array_equal(bound.run([np.ascontiguousarray(fed[0][2:5])])[0], whole[2:5])
    assert [row[0] for row in bound.table.rows].count(plan.COPY.address) == (2 if axis == 1 else 4)
