"""Layers of vectors, and those that know no axes: dense, activation, normalisation, shapes, the ways in and out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.train.layers.activations import ActivationName, activate
from esp.train.layers.layer import LayerSettings, around, biases, learnt, only_input
from esp.train.network import Network, Tensor


@dataclass(frozen=True, slots=True)
class InputLayer(LayerSettings):
    """An input of the graph. ``shape`` is the event's, channels last: (8, 8, 1) becomes a tensor of 1 x 8 x 8.

    ``channels_first = false`` keeps the shape as it stands; ``dtype`` is the network's where left out.
    """

    shape: tuple[int, ...]
    channels_first: bool = True
    dtype: str = ""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        shape = (self.shape[-1], *self.shape[:-1]) if self.channels_first and len(self.shape) > 1 else self.shape
        return net.add_input(net.graph.scope, shape, self.dtype)


def gemm(net: Network, x: Tensor, units: int, activation: ActivationName, bias: bool) -> Tensor:
    """Flatten where x is no vector, then x @ weight + bias."""
    if len(x.dims) > 1:
        x = net.add_node("Flatten", [x], axis=1)
    width = x.dims[0]
    return net.add_node("Gemm", [x, *learnt(net, (width, units), width, units, activation, units if bias else 0)])


@dataclass(frozen=True, slots=True)
class Dense(LayerSettings):
    """A fully connected layer; what comes in as a picture or a sequence is flattened first."""

    units: int
    activation: ActivationName = "linear"
    bias: bool = True

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return activate(net, gemm(net, only_input(self, inputs), self.units, self.activation, self.bias), self.activation)


@dataclass(frozen=True, slots=True)
class OutputLayer(LayerSettings):
    """The way out of a classifier: a dense layer (left out where ``units`` is 0) and a softmax over the classes."""

    units: int = 0

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        return activate(net, gemm(net, x, self.units, "softmax", bias=True) if self.units else x, "softmax")


@dataclass(frozen=True, slots=True)
class Softmax(LayerSettings):
    """The softmax of what comes in, over the classes."""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return activate(net, only_input(self, inputs), "softmax")


@dataclass(frozen=True, slots=True)
class RegressionLayer(LayerSettings):
    """The way out of a regression: a dense layer without activation."""

    units: int = 1

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return gemm(net, only_input(self, inputs), self.units, "linear", bias=True)


@dataclass(frozen=True, slots=True)
class Activation(LayerSettings):
    """An activation by itself."""

    function: ActivationName

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return activate(net, only_input(self, inputs), self.function)


@dataclass(frozen=True, slots=True)
class BN(LayerSettings):
    """Batch normalisation over every axis but the channels'; running averages keep ``momentum`` of what they were.

    ``start`` is where the learnt scale starts: below 1 it damps a residual branch, above 1 it makes up for a gate.
    """

    activation: ActivationName = "linear"
    momentum: float = 0.9
    epsilon: float = 1e-5
    start: float = 1.0

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        channels = x.dims[0]
        starts = {"scale": (self.start, 0.2 * self.start), "bias": (0.0, 0.1), "mean": (0.0, 0.1), "variance": (1.0, 0.3)}
        tensors = [net.add_weight(name, around(net, channels, *start)) for name, start in starts.items()]
        x = net.add_node("BatchNormalization", [x, *tensors], epsilon=self.epsilon, momentum=self.momentum)
        return activate(net, x, self.activation)


@dataclass(frozen=True, slots=True)
class Dropout(LayerSettings):
    """Drops a share ``rate`` of the values while training; passes all on when scoring."""

    rate: float = 0.5

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return net.add_node("Dropout", [only_input(self, inputs), net.add_weight("ratio", np.array(self.rate))])


@dataclass(frozen=True, slots=True)
class Flatten(LayerSettings):
    """One vector a row, in the order channels, height, width."""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return net.add_node("Flatten", [only_input(self, inputs)], axis=1)


@dataclass(frozen=True, slots=True)
class Reshape(LayerSettings):
    """Each row in the shape ``shape``; one size may be -1."""

    shape: tuple[int, ...]

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return net.add_node("Reshape", [only_input(self, inputs), net.add_weight("shape", np.array([0, *self.shape]))])


@dataclass(frozen=True, slots=True)
class Permute(LayerSettings):
    """The axes of a row in another order, counted from 1 as Keras does."""

    order: tuple[int, ...]

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return net.add_node("Transpose", [only_input(self, inputs)], perm=(0, *self.order))


@dataclass(frozen=True, slots=True)
class Scale(LayerSettings):
    """A learnt factor and a learnt offset for each channel."""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        shape = (x.dims[0], *(1 for _ in x.dims[1:]))
        factor = net.add_weight("factor", around(net, shape[0], 1.0, 0.2).reshape(shape))
        offset = net.add_weight("offset", biases(net, shape[0]).reshape(shape))
        return net.add_node("Add", [net.add_node("Mul", [x, factor]), offset])
