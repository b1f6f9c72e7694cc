"""The cells of recurrent networks against numpy in float64: units of every number, NaN in its own unit alone."""

from typing import Any

import numpy as np
import pytest

from esp.kernels import cells
from esp.kernels.compile import kernel
from esp.kernels.vectors import SIZE

F4 = Any
LSTM, RESET, GRU, LINEAR = range(4)
UNITS = [*range(1, 2 * SIZE + 2), 100]


@kernel("void(intp, intp, intp, intp, intp, intp)")
def _cell(kind: int, size: int, gates: int, inputs: int, product: int, state: int) -> None:
    if kind == LSTM:
        cells.lstm(size, gates, product, state)
    elif kind == RESET:
        cells.gru_reset(size, gates, state, product)
    elif kind == GRU:
        cells.gru(size, gates, inputs, product, state)
    else:
        cells.gru_linear(size, gates, inputs, product, state)


def logistic(x: F4) -> F4:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def numbers(*shape: int) -> F4:
    return 2 * np.random.default_rng(shape[-1]).standard_normal(shape).astype(np.float32)


def stepped(kind: int, gates: F4, inputs: F4, product: F4, state: F4) -> tuple[F4, F4]:
    """What a cell leaves in ``product`` and ``state``, which stand in frames that must stay as they were."""
    size, frame = gates.shape[1], np.full((2, gates.shape[1] + 2 * SIZE), 7, np.float32)
    left = frame[:, SIZE:-SIZE]
    left[0], left[1] = product, state
    _cell(kind, size, gates.ctypes.data, inputs.ctypes.data, left[0].ctypes.data, left[1].ctypes.data)
    assert (frame[:, :SIZE] == 7).all()
    assert (frame[:, -SIZE:] == 7).all()
    return left[0], left[1]


@pytest.mark.parametrize("size", UNITS)
def test_lstm(size: int) -> None:
    gates, cell = numbers(4, size), numbers(size)
    h, c = stepped(LSTM, gates, gates, cell, cell)
    enter, leave, keep = (logistic(gate) for gate in gates[:3])
    wanted = keep * cell + enter * np.tanh(gates[3].astype(np.float64))
    np.testing.assert_allclose(c, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(h, leave * np.tanh(wanted), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", UNITS)
def test_gru_with_its_reset_before_and_after_the_product(size: int) -> None:
    gates, inputs, product, state = numbers(2, size), *numbers(3, size)
    reset, _ = stepped(RESET, gates, inputs, product, state)
    np.testing.assert_allclose(reset, logistic(gates[1]) * state, rtol=1e-6)
    keep = logistic(gates[0])
    for kind, share in ((GRU, 1), (LINEAR, logistic(gates[1]))):
        _, h = stepped(kind, gates, inputs, product, state)
        wanted = (1 - keep) * np.tanh(inputs + share * product.astype(np.float64)) + keep * state
        np.testing.assert_allclose(h, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [LSTM, GRU, LINEAR])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_own_unit(kind: int, value: float) -> None:
    size = SIZE + 5
    gates, inputs, product, state = numbers(4, size), *numbers(3, size)
    before = stepped(kind, gates, inputs, product, state)
    gates[0, 3], gates[1, SIZE + 1] = value, value
    after = stepped(kind, gates, inputs, product, state)
    others = [at for at in range(size) if at not in (3, SIZE + 1)]
    np.testing.assert_array_equal(before[1][others], after[1][others])
    assert np.isnan(after[1][3]) == np.isnan(value)
