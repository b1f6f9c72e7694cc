"""Steps of recurrent networks: the products with the inputs of all steps are made before; here the state goes through time.

Addresses, as everywhere in a plan: gates[n, steps, g * h] holds W x + bias of every step; h[n, h] (and c) is the state,
set before and left as it is after the last step; y[n, steps, y_step] takes h at every step where y is not 0.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np

from esp.kernels.compile import part
from esp.kernels.dense import multiply
from esp.kernels.functions import ONE, ZERO, logistic, tanh
from esp.kernels.pointers import copy_floats, f4

FREE = np.float32(-np.inf)  # the tile's lower bound, where there is none


@part
def _product(n, size, h, zero_at, panels, bias, bias_step, out, columns, scratch):
    """out[n, columns] = bias + h[n, size] @ panels."""
    multiply(n, 1, h, size, zero_at, 1, zero_at, size, panels, bias, bias_step, out, columns, columns, FREE, scratch)


@part
def _keep(n, size, h, y, y_row):
    """Writes the state as a step's output."""
    if y:
        for i in range(n):
            copy_floats(y + 4 * i * y_row, h + 4 * i * size, size)


@part
def simple(n, steps, size, is_reversed, is_relu, gates, h, panels, zero_at, work, y, y_step, scratch):
    """RNN: h = tanh or relu of (gates + h R); work[n, size]."""
    for s in range(steps):
        t = steps - 1 - s if is_reversed else s
        _product(n, size, h, zero_at, panels, gates + 4 * t * size, steps * size, work, size, scratch)
        source, state = f4(work), f4(h)
        if is_relu:
            for j in range(n * size):
                value = source[j]
                state[j] = ZERO if value < ZERO else value
        else:
            for j in range(n * size):
                state[j] = tanh(source[j])
        _keep(n, size, h, y + 4 * t * y_step if y else y, steps * y_step)


@part
def lstm(n, steps, size, is_reversed, gates, h, c, panels, zero_at, work, y, y_step, scratch):
    """LSTM, gates in ONNX's order i, o, f, c; work[n, 4 * size]."""
    for s in range(steps):
        t = steps - 1 - s if is_reversed else s
        _product(n, size, h, zero_at, panels, gates + 16 * t * size, 4 * steps * size, work, 4 * size, scratch)
        for i in range(n):
            base = work + 16 * i * size
            enter, leave, keep, new = f4(base), f4(base + 4 * size), f4(base + 8 * size), f4(base + 12 * size)
            state, cell = f4(h + 4 * i * size), f4(c + 4 * i * size)
            for j in range(size):
                value = logistic(keep[j]) * cell[j] + logistic(enter[j]) * tanh(new[j])
                cell[j] = value
                state[j] = logistic(leave[j]) * tanh(value)
        _keep(n, size, h, y + 4 * t * y_step if y else y, steps * y_step)


@part
def gru(n, steps, size, is_reversed, is_linear, gates, h, panels, bias, new_panels, zero_at, work, y, y_step, scratch):
    """GRU, gates in ONNX's order z, r, h. work[n, 5 * size] holds z and r, then h R of the new state, then r * h.

    ``is_linear`` is ONNX's linear_before_reset: bias (of the recurrent product for the new state) is then added before
    the reset; otherwise it is part of gates, and the product is taken of r * h.
    """
    both, product, reset = work, work + 8 * n * size, work + 12 * n * size
    for s in range(steps):
        t = steps - 1 - s if is_reversed else s
        step = gates + 12 * t * size
        _product(n, size, h, zero_at, panels, step, 3 * steps * size, both, 2 * size, scratch)
        for i in range(n):
            ratio, state, scaled = f4(both + 4 * (2 * i + 1) * size), f4(h + 4 * i * size), f4(reset + 4 * i * size)
            for j in range(size):
                ratio[j] = logistic(ratio[j])
                scaled[j] = ratio[j] * state[j]
        _product(n, size, h if is_linear else reset, zero_at, new_panels, bias, 0, product, size, scratch)
        for i in range(n):
            update, ratio, other = f4(both + 8 * i * size), f4(both + 4 * (2 * i + 1) * size), f4(product + 4 * i * size)
            given, state = f4(step + 12 * steps * i * size + 8 * size), f4(h + 4 * i * size)
            for j in range(size):
                new = tanh(given[j] + (ratio[j] * other[j] if is_linear else other[j]))
                z = logistic(update[j])
                state[j] = (ONE - z) * new + z * state[j]
        _keep(n, size, h, y + 4 * t * y_step if y else y, steps * y_step)
