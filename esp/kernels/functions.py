"""exp, log, tanh, erf and their kin of float32: no branch and no call, so that loops over them become vectors.

Units in the last place off the true value, at most (tested): exp, log and erf 2, expm1 and log1p 3, tanh, the logistic function and
softplus 4, erfc 5 (exp of a square, its coefficient and their product). NaN stays NaN, infinities go to the limits.
Coefficients: minimax polynomials of Cephes (S. Moshier), expf, logf, tanhf and ndtrf.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from esp.kernels.pointers import divide, exponent, fma, mantissa, times_power_of_two, whole

LOG2E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(-0.693359375), np.float32(2.12194440e-4)
E0, E1, E2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
E3, E4, E5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
T0, T1, T2 = np.float32(-5.70498872745e-3), np.float32(2.06390887954e-2), np.float32(-5.37397155531e-2)
T3, T4 = np.float32(1.33314422036e-1), np.float32(-3.33332819422e-1)
L0, L1, L2 = np.float32(7.0376836292e-2), np.float32(-1.1514610310e-1), np.float32(1.1676998740e-1)
L3, L4, L5 = np.float32(-1.2420140846e-1), np.float32(1.4249322787e-1), np.float32(-1.6668057665e-1)
L6, L7, L8 = np.float32(2.0000714765e-1), np.float32(-2.4999993993e-1), np.float32(3.3333331174e-1)
N0, N1, N2 = np.float32(7.853861353153693e-5), np.float32(-8.010193625184903e-4), np.float32(5.188327685732524e-3)
N3, N4, N5 = np.float32(-2.685381193529856e-2), np.float32(1.128358514861418e-1), np.float32(-3.761262582423300e-1)
N6 = np.float32(1.283791670955126e-1)  # the series of erf begins with x + N6 x
P0, P1, P2 = np.float32(2.326819970068386e-2), np.float32(-1.387039388740657e-1), np.float32(3.687424674597105e-1)
P3, P4, P5 = np.float32(-5.824733027278666e-1), np.float32(6.210004621745983e-1), np.float32(-4.944515323274145e-1)
P6, P7, P8 = np.float32(3.404879937665872e-1), np.float32(-2.741127028184656e-1), np.float32(5.638259427386472e-1)
R0, R1, R2 = np.float32(-1.047766399936249e1), np.float32(1.297719955372516e1), np.float32(-7.495518717768503)
R3, R4, R5 = np.float32(2.921019019210786), np.float32(-1.015265279202700), np.float32(4.218463358204948e-1)
R6, R7 = np.float32(-2.820767439740514e-1), np.float32(5.641895067754075e-1)
NORMAL, LIFT, LIFT_LOG = np.float32(1.17549435e-38), np.float32(8388608), np.float32(23)
LN2_BIG, LN2_REST, FAR = np.float32(0.693359375), np.float32(-2.12194440e-4), np.float32(10.1)
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
HIGHEST, LOWEST, SMALL, INF = np.float32(88.72283), np.float32(-103.97), np.float32(0.625), np.float32(np.inf)


def inlined(function: Callable[..., Any]) -> Any:
    """Marks a part that becomes the body of every loop that calls it: a call in a loop would keep it from becoming vectors."""
    compiled: Any = numba.njit(nogil=True, forceinline=True)(function)
    return compiled


@inlined
def exp(x):
    """e to the x, subnormal results included."""
    y = x if x < HIGHEST else HIGHEST
    y = y if y > LOWEST else LOWEST
    shift = y * LOG2E
    n = whole(shift + (HALF if shift > ZERO else -HALF))
    count = np.float32(n)
    r = fma(count, LN2_LOW, fma(count, LN2_HIGH, y))
    p = fma(fma(fma(fma(fma(E0, r, E1), r, E2), r, E3), r, E4), r, E5)
    p = fma(p * r, r, r) + ONE
    value = times_power_of_two(p, n)
    value = value if x <= HIGHEST else INF
    value = value if not x < LOWEST else ZERO
    return value if x == x else x


@inlined
def tanh(x):
    """The hyperbolic tangent."""
    size = x if x > ZERO else -x
    square = x * x
    near = fma(fma(fma(fma(fma(T0, square, T1), square, T2), square, T3), square, T4) * square, x, x)
    far = ONE - divide(TWO, exp(size + size) + ONE)
    far = far if x > ZERO else -far
    return near if size < SMALL else far


@inlined
def logistic(x):
    """1 / (1 + e to the -x)."""
    return divide(ONE, ONE + exp(-x))


@inlined
def expm1(x):
    """e to the x, less 1, of an x that is not above 0: without loss near 0."""
    y = x if x < ZERO else ZERO
    y = y if y > LOWEST else LOWEST
    n = whole(y * LOG2E - HALF)
    count = np.float32(n)
    r = fma(count, LN2_LOW, fma(count, LN2_HIGH, y))
    p = fma(fma(fma(fma(fma(E0, r, E1), r, E2), r, E3), r, E4), r, E5)
    value = times_power_of_two(fma(p * r, r, r), n) + (times_power_of_two(ONE, n) - ONE)
    return value if x == x else x


@inlined
def log(x):
    """The natural logarithm, of subnormal numbers too; -infinity of 0, NaN below."""
    lifted = x * LIFT if x < NORMAL else x
    count = exponent(lifted) - LIFT_LOG if x < NORMAL else exponent(lifted)
    r = mantissa(lifted) - ONE
    square = r * r
    p = fma(fma(fma(fma(fma(fma(fma(fma(L0, r, L1), r, L2), r, L3), r, L4), r, L5), r, L6), r, L7), r, L8)
    value = fma(count, LN2_REST, p * r * square)
    value = fma(count, LN2_BIG, r + fma(-HALF, square, value))
    value = value if x > ZERO else (-INF if x == ZERO else np.float32(np.nan))
    return value if x < INF or x != x else x


@inlined
def log1p(x):
    """The logarithm of 1 + x for x of 0 and above: without loss near 0."""
    total = ONE + x
    return log(total) + divide(x - (total - ONE), total)


@inlined
def softplus(x):
    """log(1 + e to the x)."""
    size = x if x > ZERO else -x
    return (x if x > ZERO else ZERO) + log1p(exp(-size))


@inlined
def _erf_near(x):
    """erf for a size below 1."""
    square = x * x
    p = fma(fma(fma(fma(fma(fma(N0, square, N1), square, N2), square, N3), square, N4), square, N5), square, N6)
    return fma(p, x, x)


@inlined
def _erfc_far(size):
    """1 - erf for a size of 1 and above."""
    size = size if size < FAR else FAR
    one = divide(ONE, size)
    square, y = size * size, one * one
    rest = fma(size, size, -square)  # what rounding took from the square
    near = fma(fma(fma(fma(fma(fma(fma(fma(P0, y, P1), y, P2), y, P3), y, P4), y, P5), y, P6), y, P7), y, P8)
    far = fma(fma(fma(fma(fma(fma(fma(R0, y, R1), y, R2), y, R3), y, R4), y, R5), y, R6), y, R7)
    power = exp(-square)
    return fma(power, -rest, power) * one * (near if size < TWO else far)


@inlined
def erf(x):
    """The error function."""
    size = x if x > ZERO else -x
    far = ONE - _erfc_far(size)
    far = far if x > ZERO else -far
    value = _erf_near(x) if size < ONE else far
    return value if x == x else x


@inlined
def erfc(x):
    """1 less the error function, without loss where that is nearly 1."""
    size = x if x > ZERO else -x
    far = _erfc_far(size)
    far = far if x > ZERO else TWO - far
    value = ONE - _erf_near(x) if size < ONE else far
    return value if x == x else x
