"""Optimisers and learning rates: settings that make a step function over named weights."""

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from esp.train.gradients.row import Array


class Optimizer(Protocol):
    """Changes weights in place along their gradients."""

    def step(self, weights: dict[str, Array], grads: dict[str, Array], rate: float) -> None: ...


@dataclass(slots=True)
class SGD:
    """Stochastic gradient descent; with ``momentum`` the steps gather speed (and with ``nesterov`` look ahead)."""

    momentum: float = 0.0
    nesterov: bool = False
    speed: dict[str, Array] = field(default_factory=dict)

    def step(self, weights: dict[str, Array], grads: dict[str, Array], rate: float) -> None:
        for name, grad in grads.items():
            move = grad
            if self.momentum:
                before = self.speed.get(name)
                self.speed[name] = move = grad.copy() if before is None else before * grad.dtype.type(self.momentum) + grad
                if self.nesterov:
                    move = grad + move * grad.dtype.type(self.momentum)
            weights[name] -= move * grad.dtype.type(rate)


@dataclass(slots=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1)."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    steps: int = 0
    moments: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def step(self, weights: dict[str, Array], grads: dict[str, Array], rate: float) -> None:
        self.steps += 1
        scale = rate / (1 - self.beta1**self.steps)
        correction = math.sqrt(1 - self.beta2**self.steps)
        for name, grad in grads.items():
            number = grad.dtype.type
            first, second = self.moments.get(name) or (np.zeros_like(grad), np.zeros_like(grad))
            first = first * number(self.beta1) + grad * number(1 - self.beta1)
            second = second * number(self.beta2) + grad * grad * number(1 - self.beta2)
            self.moments[name] = first, second
            weights[name] -= first * number(scale) / (np.sqrt(second) / number(correction) + number(self.epsilon))


Schedule = Literal["constant", "cosine", "step"]


def rate_at(rate: float, schedule: Schedule, progress: float) -> float:
    """The learning rate when a share ``progress`` (0 to 1) of the training is over; ``step`` divides by ten at 60 and 85 %.

    >>> [round(rate_at(1.0, "cosine", at), 3) for at in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    if schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "step":
        return rate * 0.1 ** ((progress >= 0.6) + (progress >= 0.85))
    return rate
