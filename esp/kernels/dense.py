"""Matrix products over packed weights: rows found by address, so that GEMM and convolutions of any rank are one kernel."""

# mypy: allow-untyped-defs, allow-untyped-calls

from math import prod

import numpy as np
import numpy.typing as npt

from esp.kernels.compile import instruction, part
from esp.kernels.lanes import LANES, PANEL, TILE_ROWS
from esp.kernels.pointers import call_row, f4, fma, from_bits, i8
from esp.kernels.tile import make_tile

F4 = npt.NDArray[np.float32]
R0, R1, R2, _ = TILE_ROWS
BLOCK_ROWS = 16 * R0  # rows that share a panel of weights while it is near
BLOCK_K = 1024  # as many columns of a block of rows stay in the second cache, beside as many rows of a panel
SCRATCH = BLOCK_ROWS + 1  # int64 that ``multiply`` works with
LOW, HIGH = np.float32(-np.inf), np.float32(np.inf)
LOW_BITS, HIGH_BITS = 0xFF800000, 0x7F800000
FIELDS = 12  # of ``multiply_row``
_8x2, _4x2, _2x2, _1x2 = (make_tile(rows, 2) for rows in TILE_ROWS)
_8x1, _4x1, _2x1, _1x1 = (make_tile(rows, 1) for rows in TILE_ROWS)
# A few rows wait for their own sums: so many at once hide that.
_2x4, _1x4, _1x6, _1x8 = make_tile(2, 4), make_tile(1, 4), make_tile(1, 6), make_tile(1, 8)


def padded(columns: int) -> int:
    """The columns that packed weights take: whole vectors."""
    return -(-columns // LANES) * LANES


def pack(weights: F4) -> F4:
    """w[k, m] -> panels of PANEL columns, [k, PANEL] each, and one of LANES where that many are left; zeros fill the last."""
    panels = np.zeros(len(weights) * padded(weights.shape[1]), np.float32)
    pack_into(panels, weights)
    return panels


def pack_into(panels: F4, weights: F4) -> None:
    """``pack`` into zeroed memory; the axes of the weights before the last are k's."""
    *lead, m = weights.shape
    for at in range(0, padded(m), PANEL):
        cut, width = weights[..., at : at + PANEL], min(PANEL, padded(m) - at)
        begin, size = at * prod(lead), width * prod(lead)
        panels[begin : begin + size].reshape(*lead, width)[..., : cut.shape[-1]] = cut


@part
def _panel(count, row_at, segments, segment_at, size, panel, bias, bias_step, out, out_step, columns, low, high):
    """All rows by one panel, tile by tile."""
    done, is_wide = 0, columns > LANES
    while done < count:
        left = min(count - done, R0)
        rows, first, target = row_at + 8 * done, bias + 4 * done * bias_step, out + 4 * done * out_step
        if is_wide:
            if left > R1:
                _8x2(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
            elif left > R2:
                _4x2(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
            elif left == R2:
                _2x2(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
            else:
                _1x2(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
        elif left > R1:
            _8x1(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
        elif left > R2:
            _4x1(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
        elif left == R2:
            _2x1(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
        else:
            _1x1(left, rows, segments, segment_at, size, panel, 0, first, bias_step, target, out_step, columns, low, high)
        done += R0 if left > R1 else R1


@part
def _few(count, row_at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high):
    """One or two rows by the panels that can be taken several at once; gives the columns done."""
    k, at, whole = segments * size, 0, (columns + LANES - 1) // PANEL  # whole: panels of full width
    while whole > 1:
        panel, step, first, target, left = panels + 4 * at * k, k * PANEL, bias + 4 * at, out + 4 * at, columns - at
        if count == 2:
            _2x4(2, row_at, segments, segment_at, size, panel, step, first, bias_step, target, out_step, left, low, high)
            taken = 2
        elif whole > 3:
            _1x8(1, row_at, segments, segment_at, size, panel, step, first, bias_step, target, out_step, left, low, high)
            taken = 4
        elif whole == 3:
            _1x6(1, row_at, segments, segment_at, size, panel, step, first, bias_step, target, out_step, left, low, high)
            taken = 3
        else:
            _1x4(1, row_at, segments, segment_at, size, panel, step, first, bias_step, target, out_step, left, low, high)
            taken = 2
        at, whole = at + taken * PANEL, whole - taken
    return at


@part
def _block(count, row_at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high):
    """A block of rows over all columns: panel by panel, so that a panel stays near for all its rows."""
    at = 0
    if count <= 2:
        at = _few(count, row_at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high)
    while at < columns:
        _panel(count, row_at, segments, segment_at, size, panels + 4 * at * segments * size, bias + 4 * at, bias_step,
               out + 4 * at, out_step, columns - at, low, high)  # fmt: skip
        at += PANEL if columns - at > LANES else LANES


@part
def _blocks(count, row_at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high):
    """``_block`` with the sums left in ``out`` between blocks of k, each of which stays near for all columns."""
    whole, k_all = columns - columns % (PANEL if columns % PANEL > LANES else LANES), segments * size  # columns of full panels
    cuts = (size + BLOCK_K - 1) // BLOCK_K  # of one segment; where that is 1, several segments are taken at once
    step, group = (size + cuts - 1) // cuts, max(1, BLOCK_K // size)
    shift = i8(row_at + 8 * BLOCK_ROWS)
    s = 0
    while s < segments:
        many = min(group, segments - s)
        for cut in range(0, size, step):
            run, is_last = min(step, size - cut), s + many == segments and cut + step >= size
            offsets = segment_at + 8 * s
            if many == 1:
                shift[0] = i8(offsets)[0] + cut
                offsets = row_at + 8 * BLOCK_ROWS
            floor, ceiling, at = low if is_last else LOW, high if is_last else HIGH, 0
            begin, begin_step = out, out_step
            if s == 0 and cut == 0:
                begin, begin_step = bias, bias_step
            while at < whole:
                width = PANEL if whole - at > LANES else LANES
                panel = panels + 4 * (at * k_all + (s * size + cut) * width)
                _panel(
                    count,
                    row_at,
                    many,
                    offsets,
                    run,
                    panel,
                    begin + 4 * at,
                    begin_step,
                    out + 4 * at,
                    out_step,
                    width,
                    floor,
                    ceiling,
                )
                at += width
            if is_last and at < columns:
                _block(count, row_at, segments, segment_at, size, panels + 4 * at * k_all, bias + 4 * at, bias_step,
                       out + 4 * at, out_step, columns - at, low, high)  # fmt: skip
        s += many


@part
def _finish(rows, columns, add, out, step, low, high):
    """out[rows, columns] + add[rows, columns] within low and high, NaN kept; rows of both are ``step`` floats apart."""
    for r in range(rows):
        target, more = f4(out + 4 * r * step), f4(add + 4 * r * step)
        for c in range(columns):
            value = target[c] + more[c]
            value = low if value < low else value
            target[c] = high if value > high else value


@part
def multiply(
    n, per, x, x_step, at, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, low, high, scratch, add=0
):
    """out[n * per, columns] = bias + rows(x) @ w, to which ``add`` is added where it is no 0, within low and high, NaN kept.

    Row i * per + p of A begins ``at[p]`` floats into ``x + i * x_step`` floats, and is made of ``segments`` runs of ``size``
    floats, ``segment_at`` floats from there; panels from ``pack``; bias has room for whole vectors; scratch holds
    SCRATCH int64.
    """
    row_at, offsets = i8(scratch), i8(at)
    left, p, base = n * per, 0, x
    floor, ceiling = (LOW, HIGH) if add else (low, high)
    while left > 0:
        rows = min(left, BLOCK_ROWS)
        for r in range(rows):
            row_at[r] = base + 4 * offsets[p]
            p += 1
            if p == per:
                p = 0
                base += 4 * x_step
        for r in range(rows, min(rows + R0, BLOCK_ROWS)):
            row_at[r] = row_at[rows - 1]
        if rows > R0 and segments * size > BLOCK_K:
            _blocks(rows, scratch, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, floor, ceiling)
        else:
            _block(rows, scratch, segments, segment_at, size, panels, bias, bias_step, out, out_step, columns, floor, ceiling)
        if add:  # while the block is near
            _finish(rows, columns, add, out, out_step, low, high)
            add += 4 * rows * out_step
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
    multiply(n, g[0], x, g[1], g[2], g[3], g[4], g[5], g[6], b, g[7], y, g[8], g[9], low, high, scratch, c)


@part
def multiply_at(address, fields, n, per, x, x_step, at, size, panels, bias, bias_step, out, out_step, columns, scratch):
    """``multiply`` of one run of ``size`` floats without bounds, by the address of ``multiply_row``: its caller is compiled without it.

    ``fields`` is room for FIELDS int64.
    """
    g = i8(fields)
    g[0], g[1], g[2], g[3], g[4], g[5], g[6] = per, x_step, at, 1, at, size, panels
    g[7], g[8], g[9], g[10], g[11] = bias_step, out_step, columns, LOW_BITS, HIGH_BITS
    call_row(address, n, x, out, bias, 0, fields, scratch)


@instruction
def multiply_pairs_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    multiply_pairs(n, g[0], g[1], g[2], g[3], x, g[4], b, g[5], y)
