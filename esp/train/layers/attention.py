"""Layers of sequences as transformers have them, time x features: embedding, layer normalisation, attention."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.errors import GraphError
from esp.train.layers.activations import ActivationName, activate
from esp.train.layers.layer import LayerSettings, around, biases, initial, only_input
from esp.train.network import Network, Tensor


@dataclass(frozen=True, slots=True)
class Embedding(LayerSettings):
    """A learnt vector of ``units`` for each of ``vocabulary`` whole numbers: [time] becomes [time, units]."""

    vocabulary: int
    units: int

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        shape = (self.vocabulary, self.units)
        table = np.zeros(shape, net.dtype) if net.init == "zeros" else net.rng.uniform(-1.0, 1.0, shape)
        return net.add_node("Gather", [net.add_weight("table", table), only_input(self, inputs)], axis=0)


@dataclass(frozen=True, slots=True)
class LayerNorm(LayerSettings):
    """Normalisation over the last axis, with a learnt scale and bias."""

    epsilon: float = 1e-5

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        scale = net.add_weight("scale", around(net, x.dims[-1], 1.0, 0.2))
        bias = net.add_weight("bias", biases(net, x.dims[-1]))
        return net.add_node("LayerNormalization", [x, scale, bias], axis=-1, epsilon=self.epsilon)


@dataclass(frozen=True, slots=True)
class TimeDense(LayerSettings):
    """A dense layer over the last axis, the same at each step of the axes before it."""

    units: int
    activation: ActivationName = "linear"
    bias: bool = True

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return activate(net, project(net, only_input(self, inputs), self.units, self.activation, self.bias), self.activation)


@dataclass(frozen=True, slots=True)
class MultiHeadAttention(LayerSettings):
    """Attention of a sequence to itself, or of the first input to the second (Vaswani et al. 2017).

    [time, features] in and out; ``heads`` divide the features.
    """

    heads: int

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        asks, told = inputs[0], inputs[-1]
        if len(inputs) > 2 or len(asks.dims) != 2 or asks.dims[1] % self.heads:
            what = f"wanted one or two sequences of features that {self.heads} heads divide, got shape {asks.dims}"
            raise GraphError(what, mend="feed it time x features")
        width = asks.dims[1]
        query, key, value = (self._split(net, project(net, x, width), axes) for x, axes in _heads(asks, told))
        scores = net.add_node("MatMul", [query, key])
        scaled = net.add_node("Div", [scores, net.add_constant((width // self.heads) ** 0.5)])
        mixed = net.add_node("MatMul", [net.add_node("Softmax", [scaled], axis=-1), value])
        joined = net.add_node("Transpose", [mixed], perm=(0, 2, 1, 3))
        y = net.add_node("Reshape", [joined, net.add_constant([0, asks.dims[0], width])])
        return project(net, y, width)

    def _split(self, net: Network, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """[time, features] by heads, the axes in the order ``axes``."""
        time, width = x.dims
        split = net.add_node("Reshape", [x, net.add_constant([0, time, self.heads, width // self.heads])])
        return net.add_node("Transpose", [split], perm=axes)


def _heads(asks: Tensor, told: Tensor) -> tuple[tuple[Tensor, tuple[int, ...]], ...]:
    """Query and value as [batch, heads, time, features], the key as [batch, heads, features, time]."""
    return (asks, (0, 2, 1, 3)), (told, (0, 2, 3, 1)), (told, (0, 2, 1, 3))


def project(net: Network, x: Tensor, units: int, activation: ActivationName = "linear", bias: bool = True) -> Tensor:
    """x @ weight + bias over the last axis."""
    width = x.dims[-1]
    y = net.add_node("MatMul", [x, net.add_weight("weight", initial(net, (width, units), width, units, activation))])
    return net.add_node("Add", [y, net.add_weight("bias", biases(net, units))]) if bias else y
