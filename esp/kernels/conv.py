"""What convolutions need beside the tile: a padded copy of the input, and the depthwise case."""

# mypy: allow-untyped-defs, allow-untyped-calls

from esp.kernels.compile import instruction, part
from esp.kernels.pointers import copy_floats, f4, fma, from_bits, i8


@part
def pad(n, runs, run, x, index, y, y_step):
    """Zeros y[n, y_step], then copies each row's ``runs`` runs of ``run`` floats to ``index[r]`` floats in."""
    at = i8(index)
    for i in range(n):
        target = f4(y + 4 * i * y_step)
        for j in range(y_step):
            target[j] = 0
        for r in range(runs):
            copy_floats(y + 4 * (i * y_step + at[r]), x + 4 * (i * runs + r) * run, run)


@part
def depthwise(n, pixels, channels, starts, taps, weight_at, x, x_step, weights, bias, low, high, y):
    """A filter a channel, channels last: y[p, c] = bias[c] + sum over taps t of p of x[taps[t], c] * w[weight_at[t], c].

    ``starts[p] : starts[p + 1]`` are the taps of pixel p that lie within the picture; y is held within low and high, NaN kept.
    """
    begin, tap, which, first = i8(starts), i8(taps), i8(weight_at), f4(bias)
    for i in range(n):
        for p in range(pixels):
            out = f4(y + 4 * (i * pixels + p) * channels)
            for c in range(channels):
                out[c] = first[c]
            for t in range(begin[p], begin[p + 1]):
                source, w = f4(x + 4 * (i * x_step + tap[t] * channels)), f4(weights + 4 * which[t] * channels)
                for c in range(channels):
                    out[c] = fma(source[c], w[c], out[c])
            for c in range(channels):
                value = low if out[c] < low else out[c]
                out[c] = high if value > high else value


@instruction
def pad_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    pad(n, g[0], g[1], x, g[2], y, g[3])


@instruction
def depthwise_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    depthwise(n, g[0], g[1], g[2], g[3], g[4], x, g[5], g[6], b, from_bits(g[7]), from_bits(g[8]), y)
