"""Value by value work: binary operations with broadcasting, scale and shift, softmax, copies and gathers.

Every kernel takes n rows at float32 addresses; a row is contiguous, and its result does not depend on the others. What is
written lies apart from what is read: only then do the loops become vectors.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from esp.kernels.compile import instruction, part
from esp.kernels.functions import ZERO, exp, inlined
from esp.kernels.pointers import copy_floats, divide, f4, fma, from_bits, i8

ADD, SUB, MUL, DIV, REVERSED_SUB, REVERSED_DIV, MAX, MIN, PRELU = range(9)


def _pairwise(function):
    """A loop over numbers of two tensors, under a name of its own: linked kernels know loops by their names."""

    def loop(count, a, b, step, y):
        """y[j] = function(a[j], b[j * step]); step is 0 or 1."""
        u, v, w = f4(a), f4(b), f4(y)
        if step:
            for j in range(count):
                w[j] = function(u[j], v[j])
        else:
            one = v[0]
            for j in range(count):
                w[j] = function(u[j], one)

    loop.__name__ = loop.__qualname__ = "each" + function.__name__
    return part(loop)


@_pairwise
@inlined
def _add(a, b):
    return a + b


@_pairwise
@inlined
def _sub(a, b):
    return a - b


@_pairwise
@inlined
def _reversed_sub(a, b):
    return b - a


@_pairwise
@inlined
def _mul(a, b):
    return a * b


@_pairwise
@inlined
def _div(a, b):
    return divide(a, b)


@_pairwise
@inlined
def _reversed_div(a, b):
    return divide(b, a)


@_pairwise
@inlined
def _max(a, b):
    return a if a > b or a != a else b


@_pairwise
@inlined
def _min(a, b):
    return a if a < b or a != a else b


@_pairwise
@inlined
def _prelu(a, b):
    return a * b if a < ZERO else a


@part
def binary(n, kind, size, period, a, b, b_step, y):
    """y[n, size] = a[n, size] (op) b, where b repeats after ``period`` values within a row and rows of b are b_step floats apart."""
    run, step = (size, 0) if period == 1 else (period, 1)
    for i in range(n):
        other = b + 4 * i * b_step
        for at in range(4 * i * size, 4 * (i + 1) * size, 4 * run):
            if kind == ADD:
                _add(run, a + at, other, step, y + at)
            elif kind == MUL:
                _mul(run, a + at, other, step, y + at)
            elif kind == DIV:
                _div(run, a + at, other, step, y + at)
            elif kind == REVERSED_DIV:
                _reversed_div(run, a + at, other, step, y + at)
            elif kind == MAX:
                _max(run, a + at, other, step, y + at)
            elif kind == MIN:
                _min(run, a + at, other, step, y + at)
            elif kind == PRELU:
                _prelu(run, a + at, other, step, y + at)
            elif kind == REVERSED_SUB:
                _reversed_sub(run, a + at, other, step, y + at)
            else:
                _sub(run, a + at, other, step, y + at)


@part
def affine(rows, size, x, scale, shift, low, high, y):
    """y[rows, size] = x * scale[size] + shift[size] within low and high, NaN kept."""
    times, plus = f4(scale), f4(shift)
    for i in range(rows):
        source, target = f4(x + 4 * i * size), f4(y + 4 * i * size)
        for j in range(size):
            value = fma(source[j], times[j], plus[j])
            value = low if value < low else value
            target[j] = high if value > high else value


@part
def softmax(rows, size, x, y):
    """y[rows, size] = exp(x - max x) / its sum, in each row; a NaN makes its row NaN."""
    for i in range(rows):
        source, target = f4(x + 4 * i * size), f4(y + 4 * i * size)
        top, total = source[0], ZERO
        for j in range(1, size):
            value = source[j]
            top = value if value > top or value != value else top
        for j in range(size):
            target[j] = exp(source[j] - top)
        for j in range(size):
            total += target[j]
        for j in range(size):
            target[j] = divide(target[j], total)


@part
def copy(n, outer, inner, x, x_step, y, y_outer, y_step):
    """Copies n rows, x_step floats apart, of ``outer`` runs of ``inner`` floats; in y runs lie y_outer apart, rows y_step."""
    for i in range(n):
        for o in range(outer):
            copy_floats(y + 4 * (i * y_step + o * y_outer), x + 4 * (i * x_step + o * inner), inner)


@part
def gather(n, size, index, x, x_step, y):
    """y[n, size] = x[n, index]: any permutation or broadcast of a row's values."""
    at = i8(index)
    for i in range(n):
        source, target = f4(x + 4 * i * x_step), f4(y + 4 * i * size)
        for j in range(size):
            target[j] = source[at[j]]


@part
def gather_runs(n, runs, run, index, x, x_step, y):
    """y[n, runs, run] = x[n, index[r] : index[r] + run]: a gather of numbers that lie together."""
    at = i8(index)
    for i in range(n):
        for r in range(runs):
            copy_floats(y + 4 * (i * runs + r) * run, x + 4 * (i * x_step + at[r]), run)


@part
def gather_or(n, size, index, x, x_step, fill, y):
    """y[n, size] = x[n, index], ``fill`` where the index is below 0."""
    at = i8(index)
    for i in range(n):
        source, target = f4(x + 4 * i * x_step), f4(y + 4 * i * size)
        for j in range(size):
            target[j] = fill if at[j] < 0 else source[at[j]]


@instruction
def binary_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    binary(n, g[0], g[1], g[2], x, b, g[3], y)


@instruction
def affine_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    affine(n * g[0], g[1], x, g[2], g[3], from_bits(g[4]), from_bits(g[5]), y)


@instruction
def softmax_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    softmax(n * g[0], g[1], x, y)


@instruction
def copy_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    copy(n, g[0], g[1], x, g[2], y, g[3], g[4])


@instruction
def gather_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    gather(n, g[0], g[1], x, g[2], y)


@instruction
def gather_runs_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    gather_runs(n, g[0], g[1], g[2], x, g[3], y)


@instruction
def gather_or_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    gather_or(n, g[0], g[1], x, g[2], from_bits(g[3]), y)
