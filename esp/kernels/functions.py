"""exp, log, tanh, erf and their kin over vectors of float32: no branch, no table and no call.

At most 2 units in the last place off the true value (tested over all exponents). NaN stays NaN, infinities go to the limits.
Where the logistic function, expm1 + 1 or ``exp_below`` would be subnormal they may be 0: that saves their scaling a step.
Coefficients: minimax fits of our own; those of log are Cephes' (S. Moshier), logf.
"""

from dataclasses import dataclass

from esp.kernels.vectors import (
    MAGIC,
    Vec,
    at_least,
    at_most,
    bits_of,
    called,
    fma,
    from_whole,
    polynomial,
    power_of_two,
    times_power_of_two,
    where,
    whole,
)

LOG2E, LN2_HIGH, LN2_LOW = 1.44269504, -0.693359375, 2.12194440e-4  # the high part has few bits: its product is exact
EXPM1 = (1.3882395578548312e-3, 8.367180824279785e-3, 4.166722297668457e-2, 1.6666539013385773e-1, 4.999999701976776e-1)
HIGHEST, LOWEST = 89.0, -104.0  # exp is infinite above, 0 below
GONE = -87.9  # 2**-127 and so 0 in ``power_of_two``
LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
NORMAL, LIFT, LIFT_LOG = 1.1754943508222875e-38, 8388608.0, 23.0
HALF_ROOT = 0x3F3504F3  # the bits of half the root of two: below it a mantissa is doubled, so that it lies about 1
ERF_NEAR = (
    8.316794264828786e-05, -8.130018250085413e-4, 5.199907347559929e-3, -2.6858942583203316e-2, 1.1283687502145767e-1,
    -3.7612631916999817e-1, 1.2837916612625122e-1,
)  # fmt: skip
ERF_FAR = (
    1.0432905583002139e-05, -3.14856122713536e-4, 3.6103343591094017e-3, -2.369455061852932e-2, 1.061590313911438e-1,
    6.351980566978455e-1, 1.2863707542419434e-1,
)  # fmt: skip
ERF_TURN, ERF_ONE = 0.92, 4.0  # where the near form ends, and where erf is 1


@dataclass(frozen=True, slots=True)
class _Power:
    """e**x as (1 + ``rest``) * 2**k, ``shifted`` being MAGIC + k."""

    rest: Vec
    shifted: Vec


def _power(x: Vec) -> _Power:
    shifted = fma(x, LOG2E, MAGIC)
    count = shifted - MAGIC
    r = fma(count, LN2_LOW, fma(count, LN2_HIGH, x))
    return _Power(fma(r * r, polynomial(r, *EXPM1), r), shifted)


def exp(x: Vec) -> Vec:
    """e to the x, subnormal results included."""
    power = _power(at_least(at_most(x, HIGHEST), LOWEST))
    return times_power_of_two(power.rest + 1, power.shifted)


def exp_below(x: Vec) -> Vec:
    """e to the x for an x that is not above 0; 0 where that would be subnormal."""
    power = _power(at_least(x, GONE))
    scale = power_of_two(power.shifted)
    return fma(scale, power.rest, scale)


def expm1(x: Vec) -> Vec:
    """e to the x, less 1, of an x that is not above 0: without loss near 0."""
    power = _power(at_least(x, GONE))
    scale = power_of_two(power.shifted)
    return fma(scale, power.rest, scale - 1)


def tanh(x: Vec) -> Vec:
    """The hyperbolic tangent: with t = expm1(-2|x|) it is -t / (t + 2), each side rounded once."""
    power = _power(at_least(abs(x) * -2, GONE))
    scale = power_of_two(power.shifted)
    size = fma(scale, power.rest, scale - 1) / fma(scale, power.rest, scale + 1)
    return called("copysign", size, x)


def logistic(x: Vec) -> Vec:
    """1 / (1 + e to the -x): with e to the -|x| as u it is 1 - u / (1 + u) above 0, and u times that below."""
    power = _power(at_least(-abs(x), GONE))
    scale = power_of_two(power.shifted)
    raised = fma(scale, power.rest, scale)
    share, side = raised / fma(scale, power.rest, scale + 1), where(x < 0, raised, 1)
    return fma(-side, share, side)


def log(x: Vec) -> Vec:
    """The natural logarithm, of subnormal numbers too; -infinity of 0, NaN below."""
    is_small = x < NORMAL
    lifted, b = where(is_small, x * LIFT, x), x.b
    bits = bits_of(lifted)
    power = b.ashr(b.sub(bits, whole(HALF_ROOT)), whole(23))
    r = from_whole(b, b.sub(bits, b.shl(power, whole(23)))) - 1
    count = Vec(b, b.sitofp(power, x.v.type))
    count = where(is_small, count - LIFT_LOG, count)
    square = r * r
    value = fma(count, -LN2_LOW, polynomial(r, *LOG) * r * square)
    value = fma(count, -LN2_HIGH, r + fma(square, -0.5, value))
    value = where(x < 0, float("nan"), where(x > 0, value, float("-inf")))
    return where(x < float("inf"), value, x)


def log1p(x: Vec) -> Vec:
    """The logarithm of 1 + x for x from 0 to 2**24: without loss near 0."""
    total = x + 1
    return log(total) + (x - (total - 1)) / total


def softplus(x: Vec) -> Vec:
    """log(1 + e to the x)."""
    return at_least(x, 0) + log1p(exp(-abs(x)))


def erf(x: Vec) -> Vec:
    """The error function: an odd polynomial near 0, 1 - e to a polynomial beyond."""
    square, size = x * x, at_most(abs(x), ERF_ONE)
    near = fma(polynomial(square, *ERF_NEAR), x, x)
    far = 1 - exp_below(-fma(polynomial(size, *ERF_FAR), size, size))
    return where(size < ERF_TURN, near, called("copysign", far, x))
