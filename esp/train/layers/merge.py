"""Layers that join what several layers made."""

from collections.abc import Sequence
from dataclasses import dataclass

from esp.errors import GraphError
from esp.train.layers.activations import ActivationName, activate
from esp.train.layers.layer import LayerSettings
from esp.train.network import Network, Tensor


@dataclass(frozen=True, slots=True)
class Concat(LayerSettings):
    """Its inputs side by side along the channels."""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return net.add_node("Concat", inputs, axis=1)


@dataclass(frozen=True, slots=True)
class Res(LayerSettings):
    """The sum of its two inputs (a residual connection), then the activation."""

    activation: ActivationName = "linear"

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise GraphError(f"{type(self).__name__} takes two inputs, got {len(inputs)}", mend="name the two layers in inputs")
        return activate(net, net.add_node("Add", inputs), self.activation)


@dataclass(frozen=True, slots=True)
class Add(Res):
    """The sum of its two inputs, by Keras' name."""


@dataclass(frozen=True, slots=True)
class Multiply(LayerSettings):
    """The product of its two inputs; sizes of 1 meet any size."""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise GraphError(f"Multiply takes two inputs, got {len(inputs)}", mend="name the two layers in inputs")
        return net.add_node("Mul", inputs)
