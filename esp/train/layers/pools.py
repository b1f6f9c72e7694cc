"""Pools of any rank, of windows and of all; each is the ONNX op of its name."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from esp.train.layers.layer import LayerSettings, only_input
from esp.train.layers.spatial import Padding, Size, Windowed
from esp.train.network import Network, Tensor


@dataclass(frozen=True, slots=True)
class _Pool(LayerSettings):
    """One value for each window; ``stride`` is ``size`` where left out."""

    size: Size = 2
    stride: Size = 0
    padding: Padding = "valid"

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        where = Windowed.of(x, self.size, self.stride or self.size, self.padding)
        return net.add_node(type(self).__name__, [x], **asdict(where))


@dataclass(frozen=True, slots=True)
class MaxPool(_Pool):
    """The largest value of each window; ``stride`` is ``size`` where left out."""


@dataclass(frozen=True, slots=True)
class AveragePool(_Pool):
    """The mean of each window, without the padding; ``stride`` is ``size`` where left out."""


@dataclass(frozen=True, slots=True)
class _GlobalPool(LayerSettings):
    """One value a channel, as one vector a row; with ``keep_axes`` every axis stays, of size 1."""

    keep_axes: bool = False

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        y = net.add_node(type(self).__name__, [only_input(self, inputs)])
        return y if self.keep_axes else net.add_node("Flatten", [y], axis=1)


@dataclass(frozen=True, slots=True)
class GlobalAveragePool(_GlobalPool):
    """The mean of each channel, as one vector a row; with ``keep_axes`` every axis stays, of size 1."""


@dataclass(frozen=True, slots=True)
class GlobalMaxPool(_GlobalPool):
    """The largest value of each channel, as one vector a row; with ``keep_axes`` every axis stays, of size 1."""
