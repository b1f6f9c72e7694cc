"""Layers that make pictures larger: transposed convolution, upsampling, zero padding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from esp.errors import GraphError
from esp.train.layers.activations import ActivationName, activate
from esp.train.layers.layer import LayerSettings, learnt, only_input
from esp.train.layers.spatial import Padding, Size, each, explicit_pads
from esp.train.network import Network, Tensor


@dataclass(frozen=True, slots=True)
class ConvTransposeNd(LayerSettings):
    """A transposed convolution; 'same' padding makes each axis ``stride`` times as long."""

    filters: int
    size: Size = 2
    stride: Size = 2
    padding: Padding = "same"
    activation: ActivationName = "linear"
    bias: bool = True
    start: ActivationName | None = None

    rank: ClassVar[int | None] = None

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        axes = len(x.dims) - 1
        if axes < 1 or self.rank not in (None, axes):
            raise GraphError(
                f"{type(self).__name__} does not fit an input of shape {x.dims}", mend="use ConvTransposeNd, or reshape"
            )
        kernel, strides = each(self.size, axes, "size"), each(self.stride, axes, "stride")
        taps = math.prod(kernel)
        fan_in = x.dims[0] * taps // math.prod(strides)  # the inputs that one output is made of
        shape = (x.dims[0], self.filters, *kernel)
        spread = self.start or self.activation
        tensors = [x, *learnt(net, shape, fan_in, self.filters * taps, spread, self.filters if self.bias else 0)]
        pads, more = _same(kernel, strides) if self.padding == "same" else (explicit_pads(self.padding, axes), (0,) * axes)
        y = net.add_node("ConvTranspose", tensors, kernel_shape=kernel, strides=strides, pads=pads, output_padding=more)
        return activate(net, y, self.activation)


def _same(kernel: Sequence[int], strides: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads and output padding that make an axis ``stride`` times as long, the odd pad at the end."""
    over = [size - stride for size, stride in zip(kernel, strides)]
    begins, ends = [max(extra, 0) // 2 for extra in over], [max(extra, 0) - max(extra, 0) // 2 for extra in over]
    return (*begins, *ends), tuple(max(-extra, 0) for extra in over)


@dataclass(frozen=True, slots=True)
class Conv2dTranspose(ConvTransposeNd):
    """A transposed convolution over a picture."""

    rank: ClassVar[int | None] = 2


@dataclass(frozen=True, slots=True)
class UpSampling(LayerSettings):
    """Each axis ``factor`` times as long, by the nearest value or a straight line between two (half-pixel centres)."""

    factor: Size = 2
    mode: Literal["nearest", "linear"] = "nearest"

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        factors = each(self.factor, len(x.dims) - 1, "factor")
        scales = net.add_constant(np.array([1, 1, *factors], np.float32), "float32")
        where = "asymmetric" if self.mode == "nearest" else "half_pixel"
        return net.add_node("Resize", [x, None, scales], mode=self.mode, coordinate_transformation_mode=where, nearest_mode="floor")


@dataclass(frozen=True, slots=True)
class ZeroPad(LayerSettings):
    """Zeros around each axis: one number for both ends, or all begins, then all ends."""

    padding: Size = 1

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        rank = len(x.dims) - 1
        pads = explicit_pads(self.padding, rank)
        return net.add_node("Pad", [x, net.add_constant(np.array([0, 0, *pads[:rank], 0, 0, *pads[rank:]]))])
