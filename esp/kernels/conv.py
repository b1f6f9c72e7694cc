"""What convolutions need beside the tile: a padded copy of the input."""

# mypy: allow-untyped-defs, allow-untyped-calls

from esp.kernels.compile import instruction, part
from esp.kernels.pointers import copy_floats, f4, i8


@part
def _zero(first, end):
    """Zeros from one address to another."""
    target = f4(first)
    for j in range((end - first) >> 2):
        target[j] = 0


@part
def pad(n, runs, run, x, index, y, y_step):
    """Copies each row's ``runs`` runs of ``run`` floats to ``index[r]`` (ascending) floats into y[n, y_step], zeros between them."""
    at = i8(index)
    for i in range(n):
        row = y + 4 * i * y_step
        end = row
        for r in range(runs):
            place = row + 4 * at[r]
            _zero(end, place)
            copy_floats(place, x + 4 * (i * runs + r) * run, run)
            end = place + 4 * run
        _zero(end, row + 4 * y_step)


@instruction
def pad_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    pad(n, g[0], g[1], x, g[2], y, g[3])
