"""Networks of dense layers: the multilayer perceptron, the autoencoder, the factorization machine."""

from collections.abc import Sequence

import numpy as np

from esp.train.layers import Dense, OutputLayer, RegressionLayer
from esp.train.layers.activations import ActivationName
from esp.train.layers.layer import biases
from esp.train.network import Network, Tensor
from esp.train.zoo.draft import Draft, Outputs


def mlp(
    draft: Draft,
    *,
    features: int = 784,
    hidden: Sequence[int] = (128, 128),
    classes: int = 10,
    activation: ActivationName = "relu",
) -> Outputs:
    """A multilayer perceptron; ``classes`` of 0 makes it a regression of one number."""
    x = draft.input("x", features)
    for units in hidden:
        x = draft(Dense(units, activation), x)
    if not classes:
        return {"y": draft(RegressionLayer(1), x)}
    return {"probabilities": draft(OutputLayer(classes), x)}


def autoencoder(
    draft: Draft, *, features: int = 64, hidden: Sequence[int] = (32, 8, 32), activation: ActivationName = "tanh"
) -> Outputs:
    """A dense autoencoder: what comes in again, and the mean squared error of a row (an anomaly's measure)."""
    x = draft.input("x", features)
    y = x
    for units in hidden:
        y = draft(Dense(units, activation), y)
    y = draft(RegressionLayer(features), y)
    return {"reconstruction": y, "error": draft.block("Error", lambda: _squared_error(draft.net, x, y))}


def _squared_error(net: Network, x: Tensor, y: Tensor) -> Tensor:
    gap = net.add_node("Sub", [x, y])
    return net.add_node("ReduceMean", [net.add_node("Mul", [gap, gap]), net.add_constant([1])], keepdims=1)


def factorization_machine(draft: Draft, *, vocabulary: int = 2625, fields: int = 2, factors: int = 8) -> Outputs:
    """A factorization machine of second order (Rendle 2010) over one index a field, all numbered in one vocabulary.

    The sum over pairs of fields is half of (square of the sum - sum of the squares) of their factors.
    """
    indices = draft.input("indices", fields, dtype="int64")
    return {"y": draft.block("FactorizationMachine", lambda: _machine(draft.net, indices, vocabulary, factors))}


def _machine(net: Network, indices: Tensor, vocabulary: int, factors: int) -> Tensor:
    starts = np.zeros((vocabulary, factors)) if net.init == "zeros" else net.rng.normal(0.0, 0.3, (vocabulary, factors))
    chosen = net.add_node("Gather", [net.add_weight("factors", starts), indices], axis=0)  # [N, fields, factors]
    axis = net.add_constant([1])
    total = net.add_node("ReduceSum", [chosen, axis], keepdims=0)
    squares = net.add_node("ReduceSum", [net.add_node("Mul", [chosen, chosen]), axis], keepdims=0)
    pairs = net.add_node("Sub", [net.add_node("Mul", [total, total]), squares])
    pairs = net.add_node("Mul", [net.add_node("ReduceSum", [pairs, axis], keepdims=1), net.add_constant(0.5)])
    linear = net.add_node("Gather", [net.add_weight("linear", biases(net, vocabulary)), indices], axis=0)
    linear = net.add_node("ReduceSum", [linear, axis], keepdims=1)
    return net.add_node("Add", [net.add_node("Add", [pairs, linear]), net.add_weight("bias", biases(net, 1))])
