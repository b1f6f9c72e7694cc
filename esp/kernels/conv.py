"""What convolutions need beside the tile: a padded copy of the input."""

# mypy: allow-untyped-defs, allow-untyped-calls

from esp.kernels.compile import instruction, part
from esp.kernels.pointers import copy_floats, f4, i8


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


@instruction
def pad_row(n, x, y, b, c, f, scratch):
    g = i8(f)
    pad(n, g[0], g[1], x, g[2], y, g[3])
