"""Convolutions of any rank, and where the windows of convolutions and pools lie; 'same' padding becomes explicit pads."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from esp.errors import GraphError
from esp.train.layers.activations import ActivationName, activate
from esp.train.layers.layer import LayerSettings, learnt, only_input
from esp.train.network import Network, Tensor

Size = int | tuple[int, ...]
Padding = Literal["same", "valid"] | Size  # numbers: of both ends of each axis, or all begins, then all ends


def each(size: Size, rank: int, what: str) -> tuple[int, ...]:
    """One number an axis."""
    if isinstance(size, int):
        return (size,) * rank
    if len(size) != rank:
        raise GraphError(f"{what} has {len(size)} numbers for {rank} axes", mend=f"give one number, or {rank}")
    return size


def same_pads(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """The pads that give ceil(size / stride) outputs an axis, the odd one at the end (as Keras does): begins, then ends."""
    totals = [
        max((math.ceil(size / stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        for size, width, stride, dilation in zip(sizes, kernel, strides, dilations)
    ]
    return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))


def explicit_pads(padding: Padding, rank: int) -> tuple[int, ...]:
    """Pads given as numbers; none for 'valid'."""
    if isinstance(padding, str):
        return (0,) * (2 * rank)
    if isinstance(padding, tuple) and len(padding) == 2 * rank:
        return padding
    return each(padding, rank, "padding") * 2


@dataclass(frozen=True, slots=True)
class Windowed:
    """Where a kernel goes: the attributes that ONNX's convolutions and pools share."""

    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]

    @classmethod
    def of(cls, x: Tensor, size: Size, stride: Size, padding: Padding, dilations: tuple[int, ...] = ()) -> "Windowed":
        sizes = x.dims[1:]
        rank = len(sizes)
        if rank < 1:
            raise GraphError(f"wanted channels and at least one axis, got shape {x.dims}", mend="feed it a sequence or a picture")
        kernel, strides = each(size, rank, "size"), each(stride, rank, "stride")
        if padding == "same":
            return cls(kernel, strides, same_pads(sizes, kernel, strides, dilations or (1,) * rank))
        return cls(kernel, strides, explicit_pads(padding, rank))


@dataclass(frozen=True, slots=True)
class ConvNd(LayerSettings):
    """A convolution over as many axes as its input has; ``groups`` splits the channels.

    ``start`` is the activation that its first weights are spread for, where another layer makes it.
    """

    filters: int
    size: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    groups: int = 1
    activation: ActivationName = "linear"
    bias: bool = True
    start: ActivationName | None = None

    rank: ClassVar[int | None] = None

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        if self.rank not in (None, len(x.dims) - 1):
            raise GraphError(
                f"{type(self).__name__} wants {self.rank} axes and channels, got shape {x.dims}", mend="use ConvNd, or reshape"
            )
        if self.filters < 1:
            raise GraphError(f"{self.filters} filters make nothing", mend="give 1 or more; a small width may round to none")
        if x.dims[0] % self.groups or self.filters % self.groups:
            raise GraphError(f"{self.groups} groups do not divide {x.dims[0]} channels and {self.filters} filters")
        dilations = each(self.dilation, len(x.dims) - 1, "dilation")
        where = Windowed.of(x, self.size, self.stride, self.padding, dilations)
        shape = (self.filters, x.dims[0] // self.groups, *where.kernel_shape)
        taps = math.prod(where.kernel_shape)
        fans, spread = (shape[1] * taps, self.filters // self.groups * taps), self.start or self.activation
        weights = learnt(net, shape, *fans, spread, self.filters if self.bias else 0)
        y = net.add_node("Conv", [x, *weights], **asdict(where), dilations=dilations, group=self.groups)
        return activate(net, y, self.activation)


@dataclass(frozen=True, slots=True)
class Conv1d(ConvNd):
    """A convolution over time."""

    rank: ClassVar[int | None] = 1


@dataclass(frozen=True, slots=True)
class Conv2d(ConvNd):
    """A convolution over a picture."""

    rank: ClassVar[int | None] = 2


@dataclass(frozen=True, slots=True)
class Conv3d(ConvNd):
    """A convolution over a volume."""

    rank: ClassVar[int | None] = 3


@dataclass(frozen=True, slots=True)
class DepthwiseConv2d(LayerSettings):
    """A convolution of each channel by itself, ``multiplier`` filters a channel."""

    size: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    multiplier: int = 1
    activation: ActivationName = "linear"
    bias: bool = True
    start: ActivationName | None = None

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        channels = only_input(self, inputs).dims[0]
        conv = Conv2d(
            channels * self.multiplier,
            self.size,
            self.stride,
            self.padding,
            self.dilation,
            channels,
            self.activation,
            self.bias,
            self.start,
        )
        return conv.build(net, inputs)


@dataclass(frozen=True, slots=True)
class SeparableConv2d(LayerSettings):
    """A convolution of each channel by itself, then one of 1 x 1 over the channels."""

    filters: int
    size: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    multiplier: int = 1
    activation: ActivationName = "linear"
    bias: bool = True
    start: ActivationName | None = None

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        depthwise = DepthwiseConv2d(self.size, self.stride, self.padding, multiplier=self.multiplier, bias=False)
        pointwise = Conv2d(self.filters, 1, activation=self.activation, bias=self.bias, start=self.start)
        return pointwise.build(net, [depthwise.build(net, inputs)])
