"""Work along an axis: sums, means, largest and smallest numbers, and normalisation by statistics of each row.

Sums are taken in double precision, those along what lies together SIZE at a time in a fixed order: a row's result depends neither
on the others nor on how wide the target's vectors are.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from functools import partial
from typing import Any

from esp.kernels.compile import instruction, part
from esp.kernels.functions import exp, log
from esp.kernels.pointers import from_bits, i8
from esp.kernels.vectors import (
    F32,
    F64,
    I64,
    WIDE,
    Extreme,
    Place,
    Vec,
    called,
    choose,
    filled,
    fma,
    folded,
    loop,
    narrow,
    near,
    routine,
    span,
    spread,
    total,
    wide,
)

SUM, MEAN, MAX, MIN = range(4)
Step = Callable[[Vec, list[Vec]], list[Vec]]


def _fold_run(b: Any, kind: Any, count: Any, x: Any, y: Any) -> None:
    """y[1] = one number out of x[count]."""
    target = b.inttoptr(y, F32.as_pointer())

    def summed(is_mean: bool) -> None:
        sum_ = _sum(b, count, lambda place: wide(place.load(x)))
        b.store(b.fptrunc(b.fdiv(sum_, b.sitofp(count, F64)) if is_mean else sum_, F32), target)

    def extreme(best: Extreme) -> None:
        state = span(b, count, lambda place, state: best.step(place.load(x, best.worst), state), *best.start(b))
        b.store(best.one(state), target)

    ways = [partial(summed, False), partial(summed, True), partial(extreme, Extreme(True)), partial(extreme, Extreme(False))]
    choose(b, kind, ways)


def _sum(b: Any, count: Any, number: Callable[[Place], Vec]) -> Any:
    """The sum of ``count`` numbers of double precision."""
    (sums,) = span(b, count, lambda place, state: [state[0] + place.only(number(place), 0.0)], filled(b, 0.0, WIDE))
    return folded(sums, total)


def _fold_lines(b: Any, kind: Any, count: Any, inner: Any, x: Any, y: Any) -> None:
    """y[inner] out of x[count, inner], line by line."""

    def lines(start: list[Vec], join: Step, last: Callable[[list[Vec]], Vec]) -> None:
        def columns(place: Place, state: list[Vec]) -> None:
            def line(j: Any, state: list[Vec]) -> list[Vec]:
                return join(place.load(b.add(x, b.mul(j, b.mul(inner, I64(4))))), state)

            place.store(last(loop(b, count, start, line)), y)

        span(b, inner, columns)

    def summed(last: Callable[[Vec], Vec]) -> None:
        lines([filled(b, 0.0, WIDE)], lambda value, state: [state[0] + wide(value)], lambda state: narrow(last(state[0])))

    def extreme(best: Extreme) -> None:
        lines(best.start(b), best.step, best.each)

    means = [lambda sums: sums, lambda sums: sums / spread(b, b.sitofp(count, F64))]
    choose(
        b,
        kind,
        [*(partial(summed, last) for last in means), *(partial(extreme, Extreme(is_largest)) for is_largest in (True, False))],
    )


fold_run, fold_lines = routine("iiii", _fold_run), routine("iiiii", _fold_lines)


@part
def fold(rows, kind, count, inner, x, y):
    """y[rows, inner] = the sum, mean, largest or smallest of x[rows, count, inner]; NaN if any is."""
    for i in range(rows):
        if inner == 1:
            fold_run(kind, count, x + 4 * i * count, y + 4 * i)
        else:
            fold_lines(kind, count, inner, x + 4 * i * count * inner, y + 4 * i * inner)


def _normalise(b: Any, size: Any, is_centred: Any, epsilon: Any, x: Any, y: Any) -> None:
    """y[size] = (x - mean) / sqrt(variance + epsilon); the mean is taken as 0 where it is not centred."""
    among = b.sitofp(size, F64)
    counted = b.select(b.icmp_signed("!=", is_centred, I64(0)), size, I64(0))
    mean = b.fdiv(_sum(b, counted, lambda place: wide(place.load(x))), among)

    def square(place: Place) -> Vec:
        away = wide(place.load(x)) - spread(b, mean)
        return away * away

    variance = b.fdiv(_sum(b, size, square), among)
    root = called("sqrt", spread(b, b.fadd(variance, b.fpext(epsilon, F64))))
    centre, scale = spread(b, b.fptrunc(mean, F32)), 1 / narrow(root)
    span(b, size, lambda place, state: place.store((place.load(x) - centre) * scale, y))


normalise_run = routine("iifii", _normalise)


@part
def normalise(rows, size, is_centred, epsilon, x, y):
    """Each row of x[rows, size] brought to mean 0, unless it is not centred, and deviation 1."""
    for i in range(rows):
        normalise_run(size, is_centred, epsilon, x + 4 * i * size, y + 4 * i * size)


def _near(b: Any, count: Any, before: Any, after: Any, alpha: Any, beta: Any, bias: Any, x: Any, y: Any) -> None:
    """y[count] = x / (bias + alpha * s) ** beta, s the squares of the numbers from ``before`` to ``after`` places on."""

    def step(place: Place, state: list[Vec]) -> None:
        def add(j: Any, state: list[Vec]) -> list[Vec]:
            other = near(place, b.sub(j, before), count).load(x)
            return [fma(other, other, state[0])]

        (squares,) = loop(b, b.add(b.add(before, after), I64(1)), [filled(b, 0.0)], add)
        power = log(fma(spread(b, alpha), squares, spread(b, bias))) * spread(b, b.fneg(beta))
        place.store(place.load(x) * exp(power), y)

    span(b, count, step)


normalise_near_run = routine("iiifffii", _near)


@part
def normalise_near(rows, channels, before, after, alpha, beta, bias, x, y):
    """Each of x[rows, channels] divided by what the channels near it come to."""
    for i in range(rows):
        at = 4 * i * channels
        normalise_near_run(channels, before, after, alpha, beta, bias, x + at, y + at)


@instruction
def fold_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    fold(n * g[0], g[1], g[2], g[3], x, y)


@instruction
def normalise_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    normalise(n * g[0], g[1], g[2], from_bits(g[3]), x, y)


@instruction
def normalise_near_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    normalise_near(n * g[0], g[1], g[2], g[3], from_bits(g[4]), from_bits(g[5]), from_bits(g[6]), x, y)
