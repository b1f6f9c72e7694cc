"""How wide the vectors of the target are: the tile of the matrix kernels follows from it."""

from typing import Any

import numba
from llvmlite import binding


def _features() -> frozenset[str]:
    """The features of Numba's target, which may be narrower than the host."""
    config: Any = numba.config
    if config.CPU_NAME or config.CPU_FEATURES:
        return frozenset(part[1:] for part in (config.CPU_FEATURES or "").split(",") if part.startswith("+"))
    return frozenset(name for name, has in binding.get_host_cpu_features().items() if has)


def _is_arm() -> bool:
    return str(binding.get_process_triple()).startswith(("aarch64", "arm64"))


FEATURES = _features()
LANES = 16 if "avx512f" in FEATURES else 8 if "avx2" in FEATURES else 4  # floats in one vector
HAS_FMA = "fma" in FEATURES or _is_arm()
TILE_ROWS = (8, 4, 2, 1) if LANES == 16 or _is_arm() else (6, 4, 2, 1)  # sums fill the vector registers: 32, or 16
PANEL = 2 * LANES  # columns of a tile, and of a packed panel of weights
