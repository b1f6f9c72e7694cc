"""Recurrent networks through time: a few steps' products with the inputs at once, then step by step the state's products and the cells.

Addresses, as everywhere in a plan: x[n, steps, inputs]; h[n, size] (and c) are the states, set before and left as they are after
the last step; y[n, steps, y_step] takes h of every step where y is not 0. Gates lie in work as ONNX orders them. A row has
``lengths`` of its own where that is not 0: past them its states stay and its outputs are 0.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from esp.kernels import cells
from esp.kernels.compile import instruction, part
from esp.kernels.dense import FIELDS, multiply_at
from esp.kernels.lanes import PANEL
from esp.kernels.pointers import call_row, copy_floats, f4, i8

RNN, LSTM, GRU = range(3)
GROUP = 4 * PANEL  # columns that one row alone takes at once
BLOCK_STEPS = 8  # steps whose products with the inputs are made at once
FORM = 4  # int64 of a function: a kind of ``pointwise``, 1, its parameters' bits
# The shape of a node, int64[SHAPE]: what it is, the addresses of ``multiply_row`` and ``activate_row``, the bound of what goes
# into gates (a form) where there is one, up to three forms, and where each step's inputs begin in a row.
(KIND, STEPS, SIZE, INPUTS, IS_REVERSED, Y_STEP, IS_PLAIN, FLAG, MULTIPLY, ACTIVATE, HAS_CLIP) = range(11)
CLIP_FORM, FORMS, STARTS = 11, 11 + FORM, 11 + 4 * FORM
SHAPE = STARTS + BLOCK_STEPS
MORE = 2 * FIELDS  # floats of work a row beyond those of its units


@part
def _inputs(n, count, shape, fields, x, panels, bias, gates, columns, scratch):
    """gates[n, count, columns] = bias + the inputs of ``count`` steps @ panels."""
    g = i8(shape)
    size, at = g[INPUTS], shape + 8 * STARTS
    multiply_at(g[MULTIPLY], fields, n, count, x, g[STEPS] * size, at, size, panels, bias, 0, gates, columns, columns, scratch)


@part
def _states(n, t, shape, fields, h, panels, bias, bias_step, out, columns, scratch):
    """out[n, columns] = bias + h @ panels. One row alone goes forth and back over the weights: those used last are still near."""
    g, group, first = i8(shape), columns if n > 1 else GROUP, 0
    size = g[SIZE]
    last = (columns - 1) // group * group
    while first < columns:
        c = last - first if t % 2 else first
        multiply_at(g[MULTIPLY], fields, n, 1, h, size, shape + 8 * STARTS, size, panels + 4 * c * size, bias + 4 * c, bias_step,
                    out + 4 * c, columns, min(group, columns - c), scratch)  # fmt: skip
        first += group


@part
def _bend(shape, which, count, x):
    """x[count] = the function ``which`` of itself, bound before where gates are."""
    g = i8(shape)
    if g[HAS_CLIP] and which < 2:
        call_row(g[ACTIVATE], count, x, x, 0, 0, shape + 8 * CLIP_FORM, 0)
    call_row(g[ACTIVATE], count, x, x, 0, 0, shape + 8 * (FORMS + FORM * which), 0)


@part
def _lstm_of(shape, gates, h, c, look):
    """An LSTM of any kind; ``look`` holds the peepholes i, o, f. The gate that has been used last holds what is on its way."""
    g = i8(shape)
    size = g[SIZE]
    run = 4 * size
    enter, leave, keep, new = gates, gates + run, gates + 2 * run, gates + 3 * run
    if look:
        cells.sum_of_product(size, look, c, enter, enter)
        cells.sum_of_product(size, look + 2 * run, c, keep, keep)
    _bend(shape, 0, size, enter)
    if g[FLAG]:
        cells.rest_of(size, enter, keep)
    else:
        _bend(shape, 0, size, keep)
    _bend(shape, 1, size, new)
    cells.product_of(size, enter, new, new)
    cells.sum_of_product(size, keep, c, new, c)
    if look:
        cells.sum_of_product(size, look + run, c, leave, leave)
    _bend(shape, 0, size, leave)
    copy_floats(new, c, size)
    _bend(shape, 2, size, new)
    cells.product_of(size, leave, new, h)


@part
def _gru_of(shape, gates, inputs, product, h):
    """A GRU of any kind after its products; z and r are ready."""
    g = i8(shape)
    size = g[SIZE]
    if g[FLAG]:
        cells.product_of(size, gates + 4 * size, product, product)
    cells.sum_of(size, inputs, product, product)
    _bend(shape, 1, size, product)
    cells.blended(size, gates, product, h, h)


@part
def _is_over(lengths, i, t):
    """Whether row i has no step t."""
    return lengths != 0 and t >= f4(lengths)[i]


@part
def _rnn_step(n, shape, fields, t, lengths, gates, gates_step, h, panels, work, scratch):
    g = i8(shape)
    size = g[SIZE]
    _states(n, t, shape, fields, h, panels, gates, gates_step, work, size, scratch)
    for i in range(n):
        at = 4 * i * size
        if _is_over(lengths, i, t):
            continue
        if g[IS_PLAIN]:
            cells.tanh_of(size, work + at, h + at)
        else:
            _bend(shape, 0, size, work + at)
            copy_floats(h + at, work + at, size)


@part
def _lstm_step(n, shape, fields, t, lengths, gates, gates_step, h, c, panels, look, work, scratch):
    """work[n, 4 * size]."""
    g = i8(shape)
    size = g[SIZE]
    _states(n, t, shape, fields, h, panels, gates, gates_step, work, 4 * size, scratch)
    for i in range(n):
        at, base = 4 * i * size, work + 16 * i * size
        if _is_over(lengths, i, t):
            continue
        if g[IS_PLAIN]:
            cells.lstm(size, base, h + at, c + at)
        else:
            _lstm_of(shape, base, h + at, c + at, look)


@part
def _gru_step(n, shape, fields, t, lengths, gates, gates_step, h, panels, new_panels, bias, work, scratch):
    """work[n, 4 * size]: z and r, then r * h and the product with it, which is that with h and its bias where FLAG is set."""
    g = i8(shape)
    size = g[SIZE]
    product, reset = work + 8 * n * size, work + 12 * n * size
    _states(n, t, shape, fields, h, panels, gates, gates_step, work, 2 * size, scratch)
    if not g[IS_PLAIN]:
        _bend(shape, 0, 2 * n * size, work)
    if not g[FLAG]:
        for i in range(n):
            base, to = work + 8 * i * size, reset + 4 * i * size
            if g[IS_PLAIN]:
                cells.gru_reset(size, base, h + 4 * i * size, to)
            else:
                cells.product_of(size, base + 4 * size, h + 4 * i * size, to)
    _states(n, t, shape, fields, h if g[FLAG] else reset, new_panels, bias, 0, product, size, scratch)
    for i in range(n):
        base, inputs, new, state = (
            work + 8 * i * size,
            gates + 4 * (i * gates_step + 2 * size),
            product + 4 * i * size,
            h + 4 * i * size,
        )
        if _is_over(lengths, i, t):
            continue
        if not g[IS_PLAIN]:
            _gru_of(shape, base, inputs, new, state)
        elif g[FLAG]:
            cells.gru_linear(size, base, inputs, new, state)
        else:
            cells.gru(size, base, inputs, new, state)


@part
def _keep(n, size, t, lengths, h, y, y_row):
    """Writes the state as a step's output."""
    for i in range(n):
        if _is_over(lengths, i, t):
            out = f4(y + 4 * i * y_row)
            for j in range(size):
                out[j] = 0
        else:
            copy_floats(y + 4 * i * y_row, h + 4 * i * size, size)


@instruction
def recurrent_row(n, x, y, b, c, f, scratch):
    """Fields: the shape; panels and bias of the inputs; panels of the state; gates[n, steps up to BLOCK_STEPS, gates] and
    work[n, 4 * size + MORE]; peepholes; panels and bias of a GRU's new state; lengths. b and c are the states; y may be left out.
    """
    p = i8(f)
    g = i8(p[0])
    steps, size = g[STEPS], g[SIZE]
    columns = size * (1 if g[KIND] == RNN else 4 if g[KIND] == LSTM else 3)
    fields, done = p[5] + 16 * n * size, 0
    while done < steps:
        count = min(steps - done, BLOCK_STEPS)
        first = steps - done - count if g[IS_REVERSED] else done
        _inputs(n, count, p[0], fields, x + 4 * first * g[INPUTS], p[1], p[2], p[4], columns, scratch)
        for s in range(count):
            t = count - 1 - s if g[IS_REVERSED] else s
            gates = p[4] + 4 * t * columns
            if g[KIND] == LSTM:
                _lstm_step(n, p[0], fields, first + t, p[9], gates, count * columns, b, c, p[3], p[6], p[5], scratch)
            elif g[KIND] == GRU:
                _gru_step(n, p[0], fields, first + t, p[9], gates, count * columns, b, p[3], p[7], p[8], p[5], scratch)
            else:
                _rnn_step(n, p[0], fields, first + t, p[9], gates, count * columns, b, p[3], p[5], scratch)
            if y:
                _keep(n, size, first + t, p[9], b, y + 4 * (first + t) * g[Y_STEP], steps * g[Y_STEP])
        done += count
