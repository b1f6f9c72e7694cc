"""The activation functions that a recurrent op may name, with their alpha, beta and clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from esp.astore.ops.activations import elu, hard_sigmoid, leaky_relu, relu, sigmoid, softplus, softsign, thresholded_relu
from esp.astore.ops.row import Array, Attrs
from esp.errors import GraphError

Activation = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class _Row:
    """A function of (x, alpha, beta) and the defaults of those it takes (None: it takes none)."""

    function: Callable[[Array, float, float], Array]
    alpha: float | None = None
    beta: float | None = None


_TABLE: Mapping[str, _Row] = {
    "Relu": _Row(lambda x, a, b: relu(x)),
    "Tanh": _Row(lambda x, a, b: np.tanh(x)),
    "Sigmoid": _Row(lambda x, a, b: sigmoid(x)),
    "Softsign": _Row(lambda x, a, b: softsign(x)),
    "Softplus": _Row(lambda x, a, b: softplus(x)),
    "LeakyRelu": _Row(lambda x, a, b: leaky_relu(x, a), 0.01),
    "ThresholdedRelu": _Row(lambda x, a, b: thresholded_relu(x, a), 1.0),
    "Elu": _Row(lambda x, a, b: elu(x, a), 1.0),
    "HardSigmoid": _Row(hard_sigmoid, 0.2, 0.5),
    "Affine": _Row(lambda x, a, b: np.asarray(a * x + b), 1.0, 0.0),
    "ScaledTanh": _Row(lambda x, a, b: np.asarray(a * np.tanh(b * x)), 1.0, 1.0),
}
_BY_FOLDED_NAME = {name.lower(): row for name, row in _TABLE.items()}


def activations(attrs: Attrs, defaults: tuple[str, ...], directions: int) -> list[tuple[Activation, ...]]:
    """The functions of each direction. Alphas and betas go, in order, to the functions that take one.

    ``clip`` bounds what goes into the functions of gates, but not the cell state that goes into LSTM's third.
    Raises GraphError for an unknown name, too few names, or an alpha or beta left over.
    """
    names = attrs["activations"] or defaults * directions
    if len(names) != len(defaults) * directions:
        raise GraphError(
            f"{len(names)} activations given, {len(defaults) * directions} wanted", mend="name one a gate and direction"
        )
    alphas, betas = list(attrs["activation_alpha"] or ()), list(attrs["activation_beta"] or ())
    made = [_activation(name, alphas, betas, None if at % len(defaults) == 2 else attrs["clip"]) for at, name in enumerate(names)]
    if alphas or betas:
        raise GraphError("more activation_alpha or activation_beta than the activations take", mend="leave out what is not used")
    return [tuple(made[at : at + len(defaults)]) for at in range(0, len(made), len(defaults))]


def _activation(name: str, alphas: list[float], betas: list[float], clip: float | None) -> Activation:
    row = _BY_FOLDED_NAME.get(name.lower())
    if row is None:
        raise GraphError(f"unknown activation {name!r}", mend=f"use one of: {', '.join(_TABLE)}")
    alpha, beta = _take(row.alpha, alphas), _take(row.beta, betas)

    return lambda x: np.asarray(row.function(_clipped(x, clip), alpha, beta), dtype=x.dtype)


def _clipped(x: Array, clip: float | None) -> Array:
    return x if clip is None else np.clip(x, -clip, clip)


def _take(default: float | None, given: list[float]) -> float:
    if default is None:
        return 0.0
    return float(given.pop(0)) if given else default
