"""One node over arrays, and how the random ones are drawn; what the laws of the op table (test_ops.py) are tried on."""

from dataclasses import dataclass, field

import numpy as np

BATCH = 7


@dataclass
class Case:
    """A node over arrays. ``fed[i]`` is the batch axis of input i where it is fed; the others are weights.

    ``judge`` = False: onnxruntime has no kernel for it, so that it is judged by hand or by the conformance cases alone.
    """

    op: str
    inputs: list
    attrs: dict = field(default_factory=dict)
    fed: dict = field(default_factory=lambda: {0: 0})
    outputs: int = 1
    judge: bool = True


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def sizes(rng, rank, high=5):
    return [int(size) for size in rng.integers(1, high, rank)]


def flip(rng):
    return bool(rng.integers(2))


def whole(rng, dtype, *shape):
    """Numbers away from 0, so that integer division is defined."""
    return (rng.integers(1, 9, shape) * rng.choice([-1, 1], shape)).astype(dtype)
