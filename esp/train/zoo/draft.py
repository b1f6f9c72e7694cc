"""A network of the zoo while it is written: layers are called on tensors, and what they share has a short name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from esp.errors import GraphError
from esp.train.layers import BN, Conv2d, DepthwiseConv2d, GlobalAveragePool, InputLayer, LayerSettings, OutputLayer, Res
from esp.train.layers.activations import ActivationName
from esp.train.layers.spatial import Padding, Size
from esp.train.network import Init, Made, Network, Tensor

Key = TypeVar("Key", int, str, float)
Choice = TypeVar("Choice")
Outputs = Mapping[str, Tensor]
DAMPED = 0.25  # where the scale of a residual branch starts, so that many of them do not add up to much


@dataclass(slots=True)
class Draft:
    """``draft(layer, *inputs)`` adds a layer, numbered within its kind, and gives the tensor that it makes."""

    net: Network
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, seed: int, init: Init) -> "Draft":
        return cls(Network(np.random.default_rng(seed), init=init))

    def __call__(self, layer: LayerSettings, *inputs: Tensor) -> Tensor:
        return self.block(type(layer).__name__, partial(layer.build, self.net, inputs), layer.name)

    def block(self, kind: str, build: Callable[[], Made], name: str = "") -> Made:
        """A layer of ``kind`` out of the nodes that ``build`` adds to ``net``."""
        word = kind.lower()
        self.counts[word] = self.counts.get(word, 0) + 1
        return self.net.add_layer(name or f"{word}_{self.counts[word]}", kind, build)

    def input(self, name: str, *shape: int, dtype: str = "") -> Tensor:
        """An input of rows of ``shape``, channels first."""
        return self(InputLayer(shape, channels_first=False, dtype=dtype, name=name))

    def conv(
        self,
        x: Tensor,
        filters: int,
        size: Size = 3,
        stride: Size = 1,
        activation: ActivationName = "relu",
        padding: Padding = "same",
        groups: int = 1,
    ) -> Tensor:
        """A convolution with bias and its activation."""
        return self(Conv2d(filters, size, stride, padding, groups=groups, activation=activation), x)

    def conv_bn(
        self,
        x: Tensor,
        filters: int,
        size: Size = 3,
        stride: Size = 1,
        activation: ActivationName = "relu",
        padding: Padding = "same",
        groups: int = 1,
        dilation: Size = 1,
        bias: bool = False,
        start: float = 1.0,
        epsilon: float = 1e-5,
    ) -> Tensor:
        """A convolution, batch normalisation, the activation."""
        spread: ActivationName = "linear" if activation == "linear" else "relu"
        x = self(Conv2d(filters, size, stride, padding, dilation, groups, bias=bias, start=spread), x)
        return self(BN(activation, epsilon=epsilon, start=start), x)

    def depthwise_bn(
        self,
        x: Tensor,
        size: Size = 3,
        stride: Size = 1,
        activation: ActivationName = "relu",
        padding: Padding = "same",
        epsilon: float = 1e-5,
    ) -> Tensor:
        """A convolution of each channel by itself, batch normalisation, the activation."""
        spread: ActivationName = "linear" if activation == "linear" else "relu"
        x = self(DepthwiseConv2d(size, stride, padding, bias=False, start=spread), x)
        return self(BN(activation, epsilon=epsilon), x)

    def residual(self, x: Tensor, y: Tensor, activation: ActivationName = "linear") -> Tensor:
        """The sum of two tensors, then the activation."""
        return self(Res(activation=activation), x, y)

    def classes(self, x: Tensor, classes: int, pooled: bool = True) -> Outputs:
        """The end of a classifier: global average pooling (unless ``pooled`` is false), a dense layer and a softmax."""
        if pooled:
            x = self(GlobalAveragePool(), x)
        return {"probabilities": self(OutputLayer(classes), x)}


def chosen(table: Mapping[Key, Choice], key: Key, setting: str) -> Choice:
    """The entry of a network's table. Raises GraphError where it has none."""
    if key not in table:
        raise GraphError(f"{setting} {key} is none of the paper's", mend=f"use one of {', '.join(map(str, table))}")
    return table[key]


def wide(filters: int, width: float) -> int:
    """``filters`` times ``width``, one at least."""
    return max(1, round(filters * width))


def divisible(filters: float, by: int = 8) -> int:
    """The multiple of ``by`` next to ``filters``, never below nine tenths of it (Sandler et al. 2018)."""
    near = max(by, int(filters + by / 2) // by * by)
    return near + by if near < 0.9 * filters else near
