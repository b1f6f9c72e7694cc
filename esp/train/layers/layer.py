"""What every layer has: a name, what it is fed by, a builder; and the activations and initial weights they share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from esp.errors import GraphError
from esp.train.network import FloatArray, Network, Tensor

ActivationName = Literal["linear", "relu", "leaky_relu", "tanh", "sigmoid", "softmax"]

_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "leaky_relu": "LeakyRelu", "softmax": "Softmax"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSettings:
    """A layer: ``inputs`` names the layers that feed it (none = the one before it), ``name`` is made up where left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # for layers read from a recipe

    name: str = ""
    inputs: tuple[str, ...] = ()

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        """Appends the layer's nodes and gives the tensor that it makes."""
        raise GraphError(f"a layer of kind {type(self).__name__} cannot be built", mend="use a kind of LAYERS")


def activate(net: Network, x: Tensor, activation: ActivationName) -> Tensor:
    """The activation as a node of its own; ``linear`` adds none."""
    if activation == "linear":
        return x
    if activation == "leaky_relu":
        return net.add_node("LeakyRelu", [x], alpha=0.01)
    if activation == "softmax":
        return net.add_node("Softmax", [x], axis=-1 if len(x.dims) == 1 else 1)
    return net.add_node(_ACTIVATIONS[activation], [x])


def initial(net: Network, shape: tuple[int, ...], fan_in: int, fan_out: int, activation: ActivationName) -> FloatArray:
    """He's normal weights before a rectifier, Glorot's uniform ones elsewhere (He et al. 2015, Glorot and Bengio 2010)."""
    if activation in ("relu", "leaky_relu"):
        return net.rng.normal(0.0, math.sqrt(2.0 / fan_in), shape)
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return net.rng.uniform(-limit, limit, shape)


def only_input(layer: LayerSettings, inputs: Sequence[Tensor]) -> Tensor:
    """The one tensor that a layer of one input is fed by."""
    if len(inputs) != 1:
        raise GraphError(f"{type(layer).__name__} takes one input, got {len(inputs)}", mend="join them with Concat or Add first")
    return inputs[0]


def zeros(size: int) -> FloatArray:
    return np.zeros(size)
