"""Value by value work: binary operations with broadcasting, scale and shift, softmax, copies and gathers.

Every kernel takes n rows at float32 addresses; a row is contiguous, and its result does not depend on the others.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from functools import partial
from typing import Any

from esp.kernels.compile import instruction, part
from esp.kernels.functions import exp_below, log
from esp.kernels.pointers import copy_floats, f4, from_bits, i8
from esp.kernels.vectors import (
    F32,
    I64,
    Extreme,
    Place,
    Vec,
    at_least,
    at_most,
    choose,
    filled,
    fma,
    folded,
    larger,
    routine,
    smaller,
    span,
    spread,
    total,
    where,
)

ADD, SUB, MUL, DIV, REVERSED_SUB, REVERSED_DIV, MAX, MIN, PRELU = range(9)
_OPERATIONS: tuple[Callable[[Vec, Vec], Vec], ...] = (  # in the order of the kinds
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: b - a,
    lambda a, b: b / a,
    larger,
    smaller,
    lambda a, b: where(a < 0, a * b, a),
)


def _pairwise(b: Any, count: Any, kind: Any, step: Any, first: Any, second: Any, y: Any) -> None:
    """y[j] = first[j] (op) second[j * step]; step is 0 or 1."""

    def one(operation: Callable[[Vec, Vec], Vec]) -> None:
        same = spread(b, b.load(b.inttoptr(second, F32.as_pointer()), typ=F32))
        each(lambda place: operation(place.load(first), same))

    def many(operation: Callable[[Vec, Vec], Vec]) -> None:
        each(lambda place: operation(place.load(first), place.load(second)))

    def each(make: Callable[[Place], Vec]) -> None:
        span(b, count, lambda place, state: place.store(make(place), y))

    ways = [partial(form, operation) for operation in _OPERATIONS for form in (one, many)]
    choose(b, b.add(b.mul(kind, I64(2)), step), ways)


pairwise = routine("iiiiii", _pairwise)


@part
def binary(n, kind, size, period, a, b, b_step, y):
    """y[n, size] = a[n, size] (op) b, where b repeats after ``period`` values within a row and rows of b are b_step floats apart."""
    run, step = (size, 0) if period == 1 else (period, 1)
    for i in range(n):
        other = b + 4 * i * b_step
        for at in range(4 * i * size, 4 * (i + 1) * size, 4 * run):
            pairwise(run, kind, step, a + at, other, y + at)


def _affine(b: Any, size: Any, x: Any, scale: Any, shift: Any, low: Any, high: Any, y: Any) -> None:
    """y[size] = x * scale[size] + shift[size] within low and high, NaN kept."""
    floor, ceiling = spread(b, low), spread(b, high)

    def step(place: Place, state: list[Vec]) -> None:
        value = fma(place.load(x), place.load(scale), place.load(shift))
        place.store(at_most(at_least(value, floor), ceiling), y)

    span(b, size, step)


affine = routine("iiiiffi", _affine)


def _softmax(b: Any, is_log: Any, size: Any, x: Any, y: Any) -> None:
    """y[size] = exp(x - max x) / its sum, or the logarithm of that; a NaN makes all NaN."""
    best = Extreme(is_largest=True)
    top = spread(b, best.one(span(b, size, lambda place, state: best.step(place.load(x, best.worst), state), *best.start(b))))

    def powers(keep: Callable[[Place, Vec], None]) -> Vec:
        """Their sum in every place."""

        def step(place: Place, state: list[Vec]) -> list[Vec]:
            power = exp_below(place.load(x, best.worst) - top)
            keep(place, power)
            return [state[0] + power]

        (sums,) = span(b, size, step, filled(b, 0.0))
        return spread(b, folded(sums, total))

    def shares() -> None:
        share = 1 / powers(lambda place, power: place.store(power, y))
        span(b, size, lambda place, state: place.store(place.load(y) * share, y))

    def logarithms() -> None:
        whole = log(powers(lambda place, power: None))
        span(b, size, lambda place, state: place.store(place.load(x) - top - whole, y))

    choose(b, is_log, [shares, logarithms])


softmax = routine("iiii", _softmax)


@part
def copy(n, outer, inner, x, x_step, y, y_outer, y_step):
    """Copies n rows, x_step floats apart, of ``outer`` runs of ``inner`` floats; in y runs lie y_outer apart, rows y_step."""
    if outer == 1 and x_step == y_step == inner:
        copy_floats(y, x, n * inner)
        return
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
    for i in range(n * g[0]):
        at = 4 * i * g[1]
        affine(g[1], x + at, g[2], g[3], from_bits(g[4]), from_bits(g[5]), y + at)


@instruction
def softmax_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    for i in range(n * g[0]):
        at = 4 * i * g[1]
        softmax(g[2], g[1], x + at, y + at)


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
