"""Convolutions and pools of any rank; 'same' padding becomes explicit pads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from esp.errors import GraphError
from esp.train.layers.layer import ActivationName, LayerSettings, activate, initial, only_input, zeros
from esp.train.network import Network, Tensor

Padding = Literal["same", "valid"]
Size = int | tuple[int, ...]


def _each(size: Size, rank: int, what: str) -> tuple[int, ...]:
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


@dataclass(frozen=True, slots=True)
class _Windowed:
    """Where a kernel goes: the attributes that ONNX's convolutions and pools share."""

    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]

    @classmethod
    def of(cls, x: Tensor, size: Size, stride: Size, padding: Padding, dilations: tuple[int, ...] = ()) -> "_Windowed":
        sizes = x.dims[1:]
        rank = len(sizes)
        if rank < 1:
            raise GraphError(f"wanted channels and at least one axis, got shape {x.dims}", mend="feed it a sequence or a picture")
        kernel, strides = _each(size, rank, "size"), _each(stride, rank, "stride")
        pads = same_pads(sizes, kernel, strides, dilations or (1,) * rank) if padding == "same" else (0,) * (2 * rank)
        return cls(kernel, strides, pads)


@dataclass(frozen=True, slots=True)
class ConvNd(LayerSettings):
    """A convolution over as many axes as its input has; ``groups`` splits the channels."""

    filters: int
    size: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    groups: int = 1
    activation: ActivationName = "linear"
    bias: bool = True

    rank: ClassVar[int | None] = None

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        if self.rank not in (None, len(x.dims) - 1):
            raise GraphError(
                f"{type(self).__name__} wants {self.rank} axes and channels, got shape {x.dims}", mend="use ConvNd, or reshape"
            )
        if x.dims[0] % self.groups or self.filters % self.groups:
            raise GraphError(f"{self.groups} groups do not divide {x.dims[0]} channels and {self.filters} filters")
        dilations = _each(self.dilation, len(x.dims) - 1, "dilation")
        where = _Windowed.of(x, self.size, self.stride, self.padding, dilations)
        shape = (self.filters, x.dims[0] // self.groups, *where.kernel_shape)
        taps = math.prod(where.kernel_shape)
        value = initial(net, shape, shape[1] * taps, self.filters // self.groups * taps, self.activation)
        tensors = [x, net.add_weight("weight", value)]
        if self.bias:
            tensors.append(net.add_weight("bias", zeros(self.filters)))
        y = net.add_node(
            "Conv",
            tensors,
            kernel_shape=where.kernel_shape,
            strides=where.strides,
            pads=where.pads,
            dilations=dilations,
            group=self.groups,
        )
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
class _Pool(LayerSettings):
    """One value for each window; ``stride`` is ``size`` where left out."""

    op: ClassVar[str]
    size: Size = 2
    stride: Size = 0
    padding: Padding = "valid"

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        where = _Windowed.of(x, self.size, self.stride or self.size, self.padding)
        return net.add_node(self.op, [x], kernel_shape=where.kernel_shape, strides=where.strides, pads=where.pads)


@dataclass(frozen=True, slots=True)
class MaxPool(_Pool):
    """The largest value of each window; ``stride`` is ``size`` where left out."""

    op: ClassVar[str] = "MaxPool"


@dataclass(frozen=True, slots=True)
class AveragePool(_Pool):
    """The mean of each window, without the padding; ``stride`` is ``size`` where left out."""

    op: ClassVar[str] = "AveragePool"


@dataclass(frozen=True, slots=True)
class GlobalAveragePool(LayerSettings):
    """The mean of each channel, as one vector a row."""

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        return net.add_node("Flatten", [net.add_node("GlobalAveragePool", [only_input(self, inputs)])], axis=1)
