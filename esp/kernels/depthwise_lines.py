"""Depthwise convolution by lines of three or five taps, stride 1 or 2: each pixel is read once for all sums that it goes into."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from numba import types

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES
from esp.kernels.pointers import emitted, from_bits, i8
from esp.kernels.vector_ir import I64, entry, floats, fma, load, loop, spread, store, within


def _emit(b: Any, pixels: int, kernel: int, stride: int, args: Any) -> None:
    x, before, behind, count, taps, weights, bias, out, channels, low, high = args
    spots = (pixels - 1) * stride + kernel
    there = {j: b.icmp_signed(">=", I64(j), before) for j in range(kernel // 2)}
    there |= {spots - 1 - j: b.icmp_signed(">=", I64(j), behind) for j in range(kernel // 2)}

    def line(t: Any, sums: list[Any]) -> list[Any]:
        pair, sums = b.mul(t, I64(2)), list(sums)
        source, filters = floats(b, x, entry(b, taps, pair)), floats(b, weights, entry(b, taps, b.add(pair, I64(1))))
        many = [load(b, floats(b, filters, b.mul(channels, I64(k)))) for k in range(kernel)]
        for j in range(spots):
            place = floats(b, source, b.mul(channels, I64(j)))
            value = load(b, b.select(there[j], place, filters) if j in there else place)
            for p in range(pixels):
                if 0 <= j - p * stride < kernel:
                    sum_ = fma(b, value, many[j - p * stride], sums[p])
                    sums[p] = b.select(spread(b, there[j]), sum_, sums[p]) if j in there else sum_
        return sums

    sums = loop(b, I64(0), count, [load(b, floats(b, bias))] * pixels, line)
    low, high = spread(b, low), spread(b, high)
    for p, sum_ in enumerate(sums):
        store(b, within(b, sum_, low, high), floats(b, out, b.mul(channels, I64(p))))


def _make(pixels: int, kernel: int, stride: int) -> Any:
    """An intrinsic: LANES channels of neighbouring ``pixels``.

    Their windows begin at x; the first ``before`` and the last ``behind`` of the pixels that they cover (at most half a
    window each) lie outside the picture and are left out. Pairs of taps as in ``depthwise._make``.
    """

    @emitted
    def tile(
        typingctx: Any, x: Any, before: Any, behind: Any, count: Any, taps: Any, weights: Any, bias: Any, out: Any,
        channels: Any, low: Any, high: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _emit(builder, pixels, kernel, stride, args)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9, types.float32, types.float32), codegen

    return tile


def _depthwise(kernel: int, stride: int) -> Any:
    """The kernel for one shape of window."""
    _8, _4, _2 = (_make(pixels, kernel, stride) for pixels in (8, 4, 2))

    def depthwise(n, shape, begin, taps, spans, x, x_step, weights, bias, low, high, y):
        """As ``depthwise.depthwise``, for at least two pixels a line and LANES channels; groups at the ends overlap those before."""
        s, starts, span = i8(shape), i8(begin), i8(spans)
        lines, width, channels = s[0], s[1], s[2]
        most = 8 if width >= 8 else 4 if width >= 4 else 2
        for i in range(n):
            for r in range(lines):
                count, pairs, source = starts[r + 1] - starts[r], taps + 16 * starts[r], x + 4 * i * x_step
                target, p = y + 4 * (i * lines + r) * width * channels, 0
                while p < width:
                    pixels = 4 if most == 8 and width - p <= 4 else most
                    p = min(p, width - pixels)
                    before, behind = span[2 * p], kernel - span[2 * (p + pixels) - 1]
                    at, place, end = 0, source + 4 * p * stride * channels, target + 4 * p * channels
                    while at < channels:
                        at = min(at, channels - LANES)
                        here, filters, first, out = place + 4 * at, weights + 4 * at, bias + 4 * at, end + 4 * at
                        if pixels == 8:
                            _8(here, before, behind, count, pairs, filters, first, out, channels, low, high)
                        elif pixels == 4:
                            _4(here, before, behind, count, pairs, filters, first, out, channels, low, high)
                        else:
                            _2(here, before, behind, count, pairs, filters, first, out, channels, low, high)
                        at += LANES
                    p += pixels

    depthwise.__qualname__ = depthwise.__name__ = f"depthwise_{kernel}_{stride}"
    return part(depthwise)


_3_1, _3_2, _5_1, _5_2 = (_depthwise(kernel, stride) for kernel in (3, 5) for stride in (1, 2))


@instruction
def depthwise_3_1_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    _3_1(n, g[0], g[1], g[2], g[3], x, g[4], g[5], b, from_bits(g[6]), from_bits(g[7]), y)


@instruction
def depthwise_3_2_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    _3_2(n, g[0], g[1], g[2], g[3], x, g[4], g[5], b, from_bits(g[6]), from_bits(g[7]), y)


@instruction
def depthwise_5_1_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    _5_1(n, g[0], g[1], g[2], g[3], x, g[4], g[5], b, from_bits(g[6]), from_bits(g[7]), y)


@instruction
def depthwise_5_2_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    _5_2(n, g[0], g[1], g[2], g[3], x, g[4], g[5], b, from_bits(g[6]), from_bits(g[7]), y)
