"""Steps of recurrent networks: the products with the inputs of all steps are made before; here the state goes through time.

Addresses, as everywhere in a plan: gates[n, steps, g * h] holds W x + bias of every step; h[n, h] (and c) is the state,
set before and left as it is after the last step; y[n, steps, y_step] takes h at every step where y is not 0.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np

from esp.kernels.compile import instruction, part
from esp.kernels.dense import multiply
from esp.kernels.functions import ONE, ZERO, logistic, tanh
from esp.kernels.pointers import copy_floats, f4, i8

RNN, LSTM, GRU = range(3)
LOW, HIGH = np.float32(-np.inf), np.float32(np.inf)  # the tile's bounds, where there are none
NONE, SINGLE = np.int64(0), np.int64(1)  # typed, for a literal would compile the callee anew


@part
def _product(n, size, h, zero_at, panels, bias, bias_step, out, columns, scratch):
    """out[n, columns] = bias + h[n, size] @ panels."""
    multiply(n, SINGLE, h, size, zero_at, SINGLE, zero_at, size, panels, bias, bias_step, out, columns, columns, LOW, HIGH, scratch)


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
        if is_relu:
            _relu_of(n * size, work, h)
        else:
            _tanh_of(n * size, work, h)
        _keep(n, size, h, y + 4 * t * y_step if y else y, steps * y_step)


# The steps' loops stand apart, touch few arrays each and name one that they change only once: so the compiler can tell
# that the arrays do not overlap, and the loops become vectors.


@part
def _logistic(size, y):
    w = f4(y)
    for j in range(size):
        w[j] = logistic(w[j])


@part
def _tanh(size, y):
    w = f4(y)
    for j in range(size):
        w[j] = tanh(w[j])


@part
def _next_cell(size, enter, keep, new, cell):
    """cell = keep * cell + enter * new."""
    i, f, g, c = f4(enter), f4(keep), f4(new), f4(cell)
    for j in range(size):
        c[j] = f[j] * c[j] + i[j] * g[j]


@part
def _times_tanh(size, gate, x, y):
    """y = gate * tanh(x)."""
    u, v, w = f4(gate), f4(x), f4(y)
    for j in range(size):
        w[j] = u[j] * tanh(v[j])


@part
def _tanh_of(size, x, y):
    v, w = f4(x), f4(y)
    for j in range(size):
        w[j] = tanh(v[j])


@part
def _relu_of(size, x, y):
    v, w = f4(x), f4(y)
    for j in range(size):
        w[j] = ZERO if v[j] < ZERO else v[j]


@part
def _scale(size, a, y):
    """y = a * y."""
    u, w = f4(a), f4(y)
    for j in range(size):
        w[j] = u[j] * w[j]


@part
def _times(size, a, b, y):
    """y = a * b."""
    u, v, w = f4(a), f4(b), f4(y)
    for j in range(size):
        w[j] = u[j] * v[j]


@part
def _tanh_of_sum(size, a, y):
    """y = tanh(a + y)."""
    u, w = f4(a), f4(y)
    for j in range(size):
        w[j] = tanh(u[j] + w[j])


@part
def _blend(size, gate, new, state):
    """state = (1 - gate) * new + gate * state."""
    z, u, w = f4(gate), f4(new), f4(state)
    for j in range(size):
        w[j] = (ONE - z[j]) * u[j] + z[j] * w[j]


@part
def lstm(n, steps, size, is_reversed, gates, h, c, panels, zero_at, work, y, y_step, scratch):
    """LSTM, gates in ONNX's order i, o, f, c; work[n, 4 * size]."""
    for s in range(steps):
        t = steps - 1 - s if is_reversed else s
        _product(n, size, h, zero_at, panels, gates + 16 * t * size, 4 * steps * size, work, 4 * size, scratch)
        for i in range(n):
            base, cell = work + 16 * i * size, c + 4 * i * size
            _logistic(3 * size, base)
            _tanh(size, base + 12 * size)
            _next_cell(size, base, base + 8 * size, base + 12 * size, cell)
            _times_tanh(size, base + 4 * size, cell, h + 4 * i * size)
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
        _logistic(2 * n * size, both)
        for i in range(n):
            _times(size, both + 4 * (2 * i + 1) * size, h + 4 * i * size, reset + 4 * i * size)
        _product(n, size, h if is_linear else reset, zero_at, new_panels, bias, NONE, product, size, scratch)
        for i in range(n):
            new = product + 4 * i * size
            if is_linear:
                _scale(size, both + 4 * (2 * i + 1) * size, new)
            _tanh_of_sum(size, step + 12 * steps * i * size + 8 * size, new)
            _blend(size, both + 8 * i * size, new, h + 4 * i * size)
        _keep(n, size, h, y + 4 * t * y_step if y else y, steps * y_step)


@instruction
def recurrent_row(n, x, y, b, c, f, scratch):
    """Fields: kind, steps, size, is_reversed, panels, a zero, work, y_step, a flag (relu or linear), panels and bias of a GRU's new state.

    b and c are the states; y may be left out.
    """
    g = i8(f)
    if g[0] == RNN:
        simple(n, g[1], g[2], g[3], g[8], x, b, g[4], g[5], g[6], y, g[7], scratch)
    elif g[0] == LSTM:
        lstm(n, g[1], g[2], g[3], x, b, c, g[4], g[5], g[6], y, g[7], scratch)
    else:
        gru(n, g[1], g[2], g[3], g[8], x, b, g[4], g[10], g[9], g[5], g[6], y, g[7], scratch)
