"""What a row of the gradient table is: a fast forward that keeps what its backward needs, and that backward."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Grads = list[Array | None]


@dataclass(slots=True)
class Call:
    """One run of an op: attributes (complete), inputs (None = left out), and what forward keeps for backward in ``saved``.

    ``wanted[i]`` says whether the gradient of input i is asked for; ``training`` turns on batch statistics and dropout.
    """

    attrs: Mapping[str, Any]
    inputs: Sequence[Array | None]
    outputs: int
    rng: np.random.Generator
    training: bool = True
    wanted: Sequence[bool] = ()
    saved: Any = None

    def input(self, index: int) -> Array:
        """An input that cannot be left out."""
        value = self.inputs[index]
        assert value is not None
        return value

    def optional(self, index: int) -> Array | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def wants(self, index: int) -> bool:
        return index < len(self.wanted) and self.wanted[index]


@dataclass(frozen=True, slots=True)
class Gradient:
    """``forward(call)`` gives the outputs; ``backward(call, grads)`` the gradients of the inputs (None = none, or not wanted).

    ``grads[i]`` is the gradient of output i, None where nothing depends on it. ``running`` maps an input that holds a
    running average to the output (beyond those the node names) that is its next value in training.
    """

    forward: Callable[[Call], list[Array]]
    backward: Callable[[Call, Sequence[Array | None]], Grads]
    running: Mapping[int, int] = field(default_factory=dict)


def only(grads: Sequence[Array | None]) -> Array:
    """The gradient of the one output."""
    grad = grads[0]
    assert grad is not None
    return grad


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sums a gradient over the axes along which an operand of that shape was broadcast."""
    extra = grad.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, size in enumerate(shape) if size == 1 and grad.shape[extra + i] != 1)
    return (grad.sum(axis=axes) if axes else grad).reshape(shape)
