"""Depthwise convolution, channels last: sums of a few neighbouring pixels stay in registers while the taps go by."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from numba import types

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES
from esp.kernels.pointers import emitted, from_bits, i8
from esp.kernels.vector_ir import I64, entry, first_lanes, floats, fma, load, loop, spread, store, within

WIDE = 4  # vectors of channels that a pixel alone takes at once: one sum would wait for itself


def _emit(b: Any, pixels: int, vectors: int, is_masked: bool, args: Any) -> None:
    x, pixel_step, count, taps, first, end, tap_step, weights, bias, out, channels, low, high = args
    mask = first_lanes(b, channels) if is_masked else None
    grid = [(pixel, vector) for pixel in range(pixels) for vector in range(vectors)]

    def line(t: Any, sums: list[Any]) -> list[Any]:
        pair = b.mul(t, I64(2))
        source, filters = floats(b, x, entry(b, taps, pair)), floats(b, weights, entry(b, taps, b.add(pair, I64(1))))

        def tap(k: Any, sums: list[Any]) -> list[Any]:
            there, many = floats(b, source, b.mul(k, tap_step)), floats(b, filters, b.mul(k, channels))
            filter_ = [load(b, floats(b, many, I64(v * LANES)), mask) for v in range(vectors)]
            values = [load(b, floats(b, there, b.mul(pixel_step, I64(p)), I64(v * LANES)), mask) for p, v in grid]
            return [fma(b, value, filter_[v], sum_) for (_, v), value, sum_ in zip(grid, values, sums)]

        return loop(b, first, end, sums, tap)

    start = [load(b, floats(b, bias, I64(v * LANES)), mask) for v in range(vectors)]
    sums = loop(b, I64(0), count, [start[v] for _, v in grid], line)
    low, high = spread(b, low), spread(b, high)
    for (p, v), sum_ in zip(grid, sums):
        store(b, within(b, sum_, low, high), floats(b, out, b.mul(channels, I64(p)), I64(v * LANES)), mask)


def _make(pixels: int, vectors: int = 1, is_masked: bool = False) -> Any:
    """An intrinsic: neighbouring ``pixels`` x ``vectors * LANES`` channels (fewer, as many as there are, where masked).

    Lines of taps are ``count`` pairs in ``taps``: floats from x, and from weights, to where a line begins; of it go the
    taps ``first`` to before ``end``, tap_step floats apart in x, ``channels`` in weights; pixels lie pixel_step floats apart.
    """

    @emitted
    def tile(
        typingctx: Any, x: Any, pixel_step: Any, count: Any, taps: Any, first: Any, end: Any, tap_step: Any, weights: Any,
        bias: Any, out: Any, channels: Any, low: Any, high: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _emit(builder, pixels, vectors, is_masked, args)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 11, types.float32, types.float32), codegen

    return tile


_8, _1, _1_wide = _make(8), _make(1), _make(1, WIDE)
_8_few, _1_few = _make(8, is_masked=True), _make(1, is_masked=True)


@part
def _pixels(pixels, x, pixel_step, count, taps, first, end, tap_step, weights, bias, out, channels, low, high):
    """All channels of 8 pixels or 1; the last vector begins where it still fits."""
    at, wide = 0, LANES * WIDE if pixels == 1 and channels >= LANES * WIDE else LANES
    while at < channels:
        at = max(min(at, channels - wide), 0)
        source, filters, start, target = x + 4 * at, weights + 4 * at, bias + 4 * at, out + 4 * at
        if channels < LANES and pixels == 8:
            _8_few(source, pixel_step, count, taps, first, end, tap_step, filters, start, target, channels, low, high)
        elif channels < LANES:
            _1_few(source, pixel_step, count, taps, first, end, tap_step, filters, start, target, channels, low, high)
        elif pixels == 8:
            _8(source, pixel_step, count, taps, first, end, tap_step, filters, start, target, channels, low, high)
        elif wide == LANES:
            _1(source, pixel_step, count, taps, first, end, tap_step, filters, start, target, channels, low, high)
        else:
            _1_wide(source, pixel_step, count, taps, first, end, tap_step, filters, start, target, channels, low, high)
        at += wide


@part
def depthwise(n, shape, begin, taps, spans, x, x_step, weights, bias, low, high, y):
    """A filter a channel: y[p, c] = bias[c] + sum over taps t of p of x[t, c] * w[t, c], tap after tap, within low and high, NaN kept.

    ``shape``: lines of y, pixels of a line, channels, the first pixel that has all taps of a line of the kernel and the first
    after those, floats from pixel to pixel and from tap to tap, taps of a line. ``taps[begin[r] : begin[r + 1]]`` are the pairs of
    line r (see ``_make``), from the first pixel's first tap; ``spans[p]`` the first tap of pixel p that lies within, and the first after.
    """
    s, starts, span = i8(shape), i8(begin), i8(spans)
    lines, width, channels, left, right, pixel_step, tap_step, kernel = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
    for i in range(n):
        for r in range(lines):
            count, pairs, source = starts[r + 1] - starts[r], taps + 16 * starts[r], x + 4 * i * x_step
            target, p = y + 4 * (i * lines + r) * width * channels, 0
            while p < width:
                pixels, first, end = 1, span[2 * p], span[2 * p + 1]
                if left <= p < right and right - left >= 8:  # the last eight may overlap those before
                    pixels, first, end = 8, 0, kernel
                    p = min(p, right - pixels)
                _pixels(pixels, source + 4 * p * pixel_step, pixel_step, count, pairs, first, end, tap_step, weights, bias,
                        target + 4 * p * channels, channels, low, high)  # fmt: skip
                p += pixels


@instruction
def depthwise_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    depthwise(n, g[0], g[1], g[2], g[3], x, g[4], g[5], b, from_bits(g[6]), from_bits(g[7]), y)
