"""Matrix products over packed weights: rows found by address, so that GEMM and convolutions of any rank are one kernel."""

# mypy: allow-untyped-defs, allow-untyped-calls

import numpy as np
import numpy.typing as npt

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES, PANEL, TILE_ROWS
from esp.kernels.pointers import f4, fma, from_bits, i8
from esp.kernels.tile import make_tile

F4 = npt.NDArray[np.float32]
R0, R1, R2, R3 = TILE_ROWS
BLOCK_ROWS = 8 * R0  # rows that share a panel of weights while it is near
_8x2, _4x2, _2x2, _1x2 = (make_tile(rows, 2) for rows in TILE_ROWS)
_8x1, _4x1, _2x1, _1x1 = (make_tile(rows, 1) for rows in TILE_ROWS)
_1x8 = make_tile(1, 8)  # one row alone waits for its own sums: eight at once hide that


def padded(columns: int) -> int:
    """The columns that packed weights take: whole vectors."""
    return -(-columns // LANES) * LANES


def pack(weights: F4) -> F4:
    """w[k, m] -> panels of PANEL columns, [k, PANEL] each, and one of LANES where that many are left; zeros fill the last."""
    k, m = weights.shape
    wide = np.zeros((k, padded(m)), np.float32)
    wide[:, :m] = weights
    cuts = [wide[:, at : at + PANEL] for at in range(0, padded(m), PANEL)]
    return np.concatenate([np.ascontiguousarray(cut).reshape(-1) for cut in cuts])


@part
def _rows_2(rows, row_at, segments, segment_at, size, panel, bias, bias_step, out, out_step, columns, low, high):
    if rows == R0:
        _8x2(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)
    elif rows == R1:
        _4x2(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)
    elif rows == R2:
        _2x2(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)
    else:
        _1x2(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)


@part
def _rows_1(rows, row_at, segments, segment_at, size, panel, bias, bias_step, out, out_step, columns, low, high):
    if rows == R0:
        _8x1(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)
    elif rows == R1:
        _4x1(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)
    elif rows == R2:
        _2x1(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)
    else:
        _1x1(row_at, segments, segment_at, size, panel, 0, bias, bias_step, out, out_step, columns, low, high)


@part
def _block(count, row_at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high):
    """A block of rows over all columns: panel by panel, so that a panel stays near for all its rows, tile by tile."""
    k, at = segments * size, 0
    if count == 1:
        while columns - at >= 4 * PANEL:
            _1x8(row_at, segments, segment_at, size, panels + 4 * at * k, k * PANEL, bias + 4 * at, bias_step,
                 out + 4 * at, out_step, columns - at, low, high)  # fmt: skip
            at += 4 * PANEL
    while at < columns:
        panel, is_wide, done = panels + 4 * at * k, columns - at > LANES, 0
        while done < count:
            left = count - done
            rows = R0 if left >= R0 else R1 if left >= R1 else R2 if left >= R2 else R3
            first, target = bias + 4 * (at + done * bias_step), out + 4 * (at + done * out_step)
            if is_wide:
                _rows_2(rows, row_at + 8 * done, segments, segment_at, size, panel, first, bias_step, target, out_step,
                        columns - at, low, high)  # fmt: skip
            else:
                _rows_1(rows, row_at + 8 * done, segments, segment_at, size, panel, first, bias_step, target, out_step,
                        columns - at, low, high)  # fmt: skip
            done += rows
        at += PANEL if is_wide else LANES


@part
def multiply(
    n, per, x, x_step, at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high, scratch
):
    """out[n * per, columns] = bias + rows(x) @ w within low and high, NaN kept.

    Row i * per + p of A begins ``at[p]`` floats into ``x + i * x_step`` floats, and is made of ``segments`` runs of ``size``
    floats, ``segment_at`` floats from there; panels from ``pack``; bias has room for whole vectors; scratch holds
    BLOCK_ROWS addresses.
    """
    row_at, offsets = i8(scratch), i8(at)
    left, p, base = n * per, 0, x
    while left > 0:
        rows = min(left, BLOCK_ROWS)
        for r in range(rows):
            row_at[r] = base + 4 * offsets[p]
            p += 1
            if p == per:
                p = 0
                base += 4 * x_step
        _block(rows, scratch, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high)
        bias += 4 * rows * bias_step
        out += 4 * rows * out_step
        left -= rows


@part
def multiply_pairs(n, count, rows, inner, columns, a, a_step, b, b_step, y):
    """y[n, count, rows, columns] = a[n, count, rows, inner] @ b[n, count, inner, columns]; a step of 0 repeats a constant."""
    for i in range(n):
        for q in range(count):
            for r in range(rows):
                left, place = f4(a + 4 * (i * a_step + (q * rows + r) * inner)), ((i * count + q) * rows + r) * columns
                out = f4(y + 4 * place)
                for c in range(columns):
                    out[c] = 0
                for k in range(inner):
                    one, line = left[k], f4(b + 4 * (i * b_step + (q * inner + k) * columns))
                    for c in range(columns):
                        out[c] = fma(one, line[c], out[c])


@instruction
def multiply_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    low, high = from_bits(g[10]), from_bits(g[11])
    multiply(n, g[0], x, g[1], g[2], g[3], g[4], g[5], g[6], b, g[7], y, g[8], g[9], low, high, scratch)


@instruction
def multiply_pairs_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    multiply_pairs(n, g[0], g[1], g[2], g[3], x, g[4], b, g[5], y)
