"""What every layer has: a name, what it is fed by, a builder; and the initial weights they share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict

from esp.errors import GraphError
from esp.train.layers.activations import RECTIFIERS, ActivationName
from esp.train.network import FloatArray, Network, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSettings:
    """A layer: ``inputs`` names the layers that feed it (none = the one before it), ``name`` is made up where left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # for layers read from a recipe

    name: str = ""
    inputs: tuple[str, ...] = ()

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        """Appends the layer's nodes and gives the tensor that it makes."""
        raise GraphError(f"a layer of kind {type(self).__name__} cannot be built", mend="use a kind of LAYERS")


def initial(net: Network, shape: tuple[int, ...], fan_in: int, fan_out: int, activation: ActivationName) -> FloatArray:
    """He's normal weights before a rectifier, Glorot's uniform ones elsewhere (He et al. 2015, Glorot and Bengio 2010).

    Where all numbers are drawn, normal ones of those spreads, in the network's own type: large ones take half the time.
    """
    if net.init == "zeros":
        return np.zeros(shape, net.dtype)
    is_he = activation in RECTIFIERS
    if net.init == "drawn":
        drawn: FloatArray = net.rng.standard_normal(shape, np.dtype(net.dtype).type)
        drawn *= math.sqrt(2.0 / fan_in if is_he else 2.0 / (fan_in + fan_out))
        return drawn
    if is_he:
        return net.rng.normal(0.0, math.sqrt(2.0 / fan_in), shape)
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return net.rng.uniform(-limit, limit, shape)


def around(net: Network, size: int, value: float, spread: float) -> FloatArray:
    """``size`` numbers that start at ``value``; where the network's are drawn, evenly spread about it."""
    fresh = np.full(size, value)
    return fresh + net.rng.uniform(-spread, spread, size) if net.init == "drawn" else fresh


def biases(net: Network, size: int) -> FloatArray:
    """Biases of 0, or drawn ones."""
    return around(net, size, 0.0, 0.1)


def learnt(net: Network, shape: tuple[int, ...], fan_in: int, fan_out: int, activation: ActivationName, bias: int) -> list[Tensor]:
    """A layer's weight, and its biases, as many as ``bias``, where there are any."""
    weight = net.add_weight("weight", initial(net, shape, fan_in, fan_out, activation))
    return [weight, net.add_weight("bias", biases(net, bias))] if bias else [weight]


def only_input(layer: LayerSettings, inputs: Sequence[Tensor]) -> Tensor:
    """The one tensor that a layer of one input is fed by."""
    if len(inputs) != 1:
        raise GraphError(f"{type(layer).__name__} takes one input, got {len(inputs)}", mend="join them with Concat or Add first")
    return inputs[0]
